"""What is rejected and tried again: killed at any request, nothing is lost, sent twice, or miscounted."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

import mltrack
from mltrack.store import Store
from mltrack_sync import Remote, push
from mltrack_sync.ledger.ledger import LedgerState
from mltrack_sync.remotes.ledgers import ledger_path
from tests.support.both_sides import assert_equal
from tests.support.proxy import Answer, Fault, FaultyProxy, LoseAnswer, Seen
from tests.support.server import MlflowServer
from tests.support.syncers import Syncers

REFUSED = Answer(400, b'{"error_code":"INVALID_PARAMETER_VALUE","message":"no odd ones"}')


def record(steps: int) -> str:
    with mltrack.start_run() as run:
        for step in range(steps):
            mltrack.log_metrics({"odd": step, "good": -step}, step=step)
        return run.run_id


def no_odd_ones(seen: Seen) -> Fault:
    return REFUSED if b'"key":"odd"' in seen.body else None


def no_odd_step_7(seen: Seen) -> Fault:
    return REFUSED if b'"key":"odd"' in seen.body and b'"step":7}' in seen.body else None


def rejected(store: Store, remote: Remote) -> list[tuple[str, str, int]]:
    rejected = LedgerState.read(ledger_path(store, remote)).rejected.values()
    return sorted((item.kind, item.key, item.points) for item in rejected)


class KilledAt:
    """The syncer dies while the n-th request is on its way; the server gets that one all the same."""

    def __init__(self, count: int, further: Callable[[Seen], Fault]) -> None:
        self.reached, self.gone = threading.Event(), threading.Event()
        self._left = count
        self._further = further

    def fault(self, seen: Seen) -> Fault:
        self._left -= 1
        if self._left:
            return self._further(seen)
        self.reached.set()
        self.gone.wait(30)
        return self._further(seen) or LoseAnswer()


def killed_retry(
    syncers: Syncers, store: Store, remote: Remote, proxy: FaultyProxy, count: int, further: Callable[[Seen], Fault]
) -> bool:
    """A retry killed at its n-th request; whether it got that far."""
    moment = KilledAt(count, further)
    proxy.fault = moment.fault
    syncers.start(store, remote, retry_rejected=True)
    while not moment.reached.wait(0.01) and not syncers.ended.is_set():
        pass
    killed = syncers.kill()
    moment.gone.set()
    proxy.wait_idle()
    proxy.fault = lambda seen: None
    return killed


@pytest.mark.slow
def test_a_retry_killed_at_any_request_forgets_nothing_and_duplicates_nothing(
    store: Store, server: MlflowServer, proxy: FaultyProxy, spoiled: Remote, experiment: str, syncers: Syncers
) -> None:
    record(2400)
    proxy.fault = no_odd_ones
    push(store, spoiled)
    count = 0
    while True:
        count += 1
        if not killed_retry(syncers, store, spoiled, proxy, count, lambda seen: None):
            break
        assert rejected(store, spoiled) == [("metric", "odd", 2400)]
        assert push(store, spoiled).requests == 0
    assert count > 4
    assert rejected(store, spoiled) == []
    assert_equal(store, server, experiment)
    assert proxy.points_taken == 4800
    assert push(store, spoiled).requests == 0


@pytest.mark.slow
def test_a_retry_killed_while_some_points_are_still_refused_counts_each_point_once(
    store: Store, server: MlflowServer, proxy: FaultyProxy, spoiled: Remote, experiment: str, syncers: Syncers
) -> None:
    record(40)
    proxy.fault = no_odd_ones
    push(store, spoiled)
    for count in (4, 6, 9):
        assert killed_retry(syncers, store, spoiled, proxy, count, no_odd_step_7)
        assert push(store, spoiled).points == 0
    proxy.fault = no_odd_step_7
    push(store, spoiled, retry_rejected=True)
    assert rejected(store, spoiled) == [("point", "odd", 1)]
    assert proxy.points_taken == 79
    proxy.fault = lambda seen: None
    assert push(store, spoiled, retry_rejected=True).complete
    assert_equal(store, server, experiment)
    assert proxy.points_taken == 80


@pytest.mark.slow
def test_a_metric_about_to_be_rejected_when_the_syncer_died_is_rejected_by_the_next(
    store: Store, proxy: FaultyProxy, spoiled: Remote, syncers: Syncers
) -> None:
    with mltrack.start_run():
        for step in range(2400):
            mltrack.log_metric("good", step, step=step)
            if step < 100:
                mltrack.log_metric("no such name \U0001f600", step, step=step)
    moment = KilledAt(1, lambda seen: None)
    proxy.fault = lambda seen: moment.fault(seen) if seen.path.endswith("log-batch") and seen.number == 2 else None
    syncers.start(store, spoiled)
    moment.reached.wait(30)
    assert syncers.kill()
    moment.gone.set()
    proxy.wait_idle()
    proxy.fault = lambda seen: None
    push(store, spoiled)
    assert rejected(store, spoiled) == [("metric", "no such name \U0001f600", 100)]
    assert proxy.points_taken == 2400
