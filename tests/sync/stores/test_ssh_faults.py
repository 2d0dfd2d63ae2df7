"""Connections through a real ssh that are cut, and a process on the other machine that is killed.

After each fault what is on either side is valid, nothing is in it twice, and the next pass finishes it.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mltrack.errors import RemoteError
from mltrack.storage.check.check import check_store
from mltrack.store import Store
from mltrack_sync import Remote, Remotes, pull, push
from mltrack_sync.engine.verify import verify
from mltrack_sync.http.rate_limit import RateLimiter
from mltrack_sync.report import PullReport, PushReport
from tests.support.cutting_relay import CuttingRelay
from tests.support.ssh_server import NO_SSHD, SshServer, has_ssh, stand_in
from tests.support.store_copies import assert_same_runs
from tests.support.written_runs import write_run

pytestmark = pytest.mark.slow

POINTS = 8_000
Copy = Callable[..., PushReport | PullReport]
DIRECTIONS = pytest.mark.parametrize("copy", [push, pull], ids=["push", "pull"])


def full_store(path: Path, runs: int = 4) -> Store:
    """A store with runs of 250 kB."""
    store = Store.create(path)
    for number in range(runs):
        write_run(store, name=f"run {number}", metrics={"loss": [(step, step / 3) for step in range(POINTS)]})
    return store


def sides(tmp_path: Path, copy: Copy) -> tuple[Store, Store]:
    """The store here and the one on the other machine, of which the one that is copied from has runs."""
    first, second = tmp_path / "here", tmp_path / "cluster"
    if copy is push:
        return full_store(first), Store.create(second)
    return Store.create(first), full_store(second)


def findings(store: Store) -> list[str]:
    return [str(finding) for finding in check_store(store.path).findings if finding.severity != "note"]


def assert_finished(here: Store, there: Store, remote: Remote, copy: Copy) -> None:
    """Another pass brings the rest, and then there is nothing left to bring."""
    copy(here, remote)
    assert copy(here, remote).bytes == 0
    assert_same_runs(here, there)
    for run_id in there.run_ids():
        assert len(there.run(run_id).metrics()) == POINTS
    assert verify(here, remote).same


class Line:
    """A line to sshd: each of the next connections is cut after that many bytes."""

    def __init__(self, folder: Path) -> None:
        self.budgets: list[int] = []
        self.relay = CuttingRelay(0, self._next)
        self.server = SshServer(folder / "server", via_port=self.relay.port)
        self.relay.send_to(self.server.port)

    def _next(self) -> int | None:
        return self.budgets.pop() if self.budgets else None


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    """Such a line, to "cluster"."""
    if not has_ssh():
        pytest.skip(NO_SSHD)
    line = Line(tmp_path / "line")
    monkeypatch.setenv("MLTRACK_SSH", line.server.ssh)
    try:
        yield line
    finally:
        line.relay.close()
        line.server.close()


@DIRECTIONS
def test_a_line_that_is_cut_again_and_again_brings_everything_once(tmp_path: Path, line: Line, copy: Copy) -> None:
    here, there = sides(tmp_path, copy)
    remote = Remotes(here).add("cluster", f"ssh://cluster{there.path}")
    chance = random.Random(3)
    for most in (5_000, 60_000, 400_000):  # while ssh greets, while runs are listed, in the middle of files
        line.budgets = [chance.randrange(most) for _ in range(3)]
        with contextlib.suppress(RemoteError):
            copy(here, remote)
        assert (findings(here), findings(there)) == ([], [])
    assert line.relay.cuts > 3
    line.budgets = []
    assert_finished(here, there, remote, copy)


@DIRECTIONS
def test_a_killed_process_on_the_other_machine_costs_nothing_that_arrived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copy: Copy
) -> None:
    here, there = sides(tmp_path, copy)
    monkeypatch.setenv("MLTRACK_SSH", stand_in(tmp_path / "ssh"))
    pids = tmp_path / "pids"
    started = tmp_path / "mltrack"
    started.write_text(f'#!/bin/sh\necho $$ >>{pids}\nexec mltrack "$@"\n')
    started.chmod(0o755)
    remotes = Remotes(here)
    remotes.add("cluster", f"ssh://cluster{there.path}")
    remote = remotes.configure("cluster", [f"command={started}"])
    enough, chance, kills = threading.Event(), random.Random(5), [0]

    def kill() -> None:
        seen = 0
        while not enough.wait(0.05) and kills[0] < 4:
            running = pids.read_text().split() if pids.exists() else []
            if len(running) > seen:
                seen = len(running)
                enough.wait(chance.uniform(0.8, 2.5))  # it takes about a second to start
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(running[-1]), signal.SIGKILL)
                    kills[0] += 1

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        for _ in range(3):
            with contextlib.suppress(RemoteError):
                copy(here, remote, pace=RateLimiter(200_000))
            assert (findings(here), findings(there)) == ([], [])
    finally:
        enough.set()
        killer.join()
    assert kills[0] > 0
    assert_finished(here, there, remote, copy)
