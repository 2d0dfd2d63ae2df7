"""A continuous push to a lake makes at most one commit a table and minute, however much happens in the store."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from deltalake import DeltaTable

import mltrack
from mltrack.store import Store
from mltrack_sync import Remotes, push
from mltrack_sync.daemon.loop import Trigger, watch
from mltrack_sync.remotes.kind import rest_after_push_s
from mltrack_sync.report import PushReport

CYCLES = 3


class Minutes(threading.Event):
    """An event, waiting for which takes no time, but counts how long it would have."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def wait(self, timeout: float | None = None) -> bool:
        self.now += timeout or 0.0
        return self.is_set()


class Woken(Trigger):
    """Is woken all the time, as by runs that begin one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = self.stop = Minutes()

    def wait(self, seconds: float) -> None:
        pass


@pytest.mark.slow
def test_a_minute_is_between_two_commits_to_a_table(tmp_path: Path) -> None:
    mltrack.set_store(tmp_path / "store")
    trigger = Woken()
    began: list[float] = []
    commits: list[int] = []

    def one_cycle(stop: threading.Event) -> PushReport:
        began.append(trigger.clock.now)
        with mltrack.start_run() as run:
            run.log({"loss": 0.5}, len(began))
        report = push(store, remote)
        commits.append(DeltaTable(str(tmp_path / "lake" / "points")).version())
        if len(began) == CYCLES:
            trigger.end()
        return report

    store = Store.create(tmp_path / "store")
    remote = Remotes(store).add("lake", f"delta:{tmp_path / 'lake'}")
    rest_s = rest_after_push_s(remote)
    watch(
        store,
        one_cycle,
        on_cycle=lambda report: None,
        on_trouble=lambda error: None,
        interval_s=5,
        rest_s=rest_s,
        trigger=trigger,
    )
    mltrack.set_store(None)
    assert began == [60.0 * number for number in range(CYCLES)]
    assert commits == [1, 2, 3]
