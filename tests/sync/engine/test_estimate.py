"""How long a push may take is found before it starts, by the rate measured before."""

from __future__ import annotations

import pytest

from mltrack.recording import current_store, fluent
from mltrack.store import Store
from mltrack_sync import Remote, Remotes, Selection, push
from mltrack_sync.engine.estimate import POINTS_PER_S, SAMPLE, estimate_push
from mltrack_sync.remotes.ledgers import read_ledger
from tests.support.fake_mlflow import FakeMlflow

EVERYTHING = Selection()


@pytest.fixture
def there(store: Store) -> Remote:
    return Remotes(store).add("fake", "http://fake")


def record(store: Store, points: int, history: int | None = None) -> None:
    current_store.set_store(store.path)
    with fluent.start_run(history=history) as run:
        run.log_series("m", range(points))
    current_store.set_store(None)


def test_pending_points_are_counted_and_timed_at_the_usual_rate(store: Store, there: Remote) -> None:
    record(store, 60_000)
    estimate = estimate_push(store, there, EVERYTHING)
    assert (estimate.points, estimate.measured) == (60_000, False)
    assert estimate.seconds == pytest.approx(60_000 / POINTS_PER_S)
    assert estimate.sampled_seconds is None
    proposed = estimate_push(store, there, EVERYTHING, worth_s=1.0)
    assert proposed.sampled_seconds == pytest.approx(2 * SAMPLE / POINTS_PER_S)


def test_a_sampled_history_needs_no_estimate(store: Store, there: Remote) -> None:
    record(store, 20_000)
    assert estimate_push(store, there, EVERYTHING, history=500).seconds == 0
    sampled = Remotes(store).configure("fake", ["history=500"])
    assert estimate_push(store, sampled, EVERYTHING).seconds == 0
    assert estimate_push(store, sampled, EVERYTHING, history=0).points == 20_000


def test_a_run_that_asks_for_a_sample_itself_is_left_out_of_the_estimate(store: Store, there: Remote) -> None:
    record(store, 20_000, history=500)
    record(store, 30_000, history=0)
    assert estimate_push(store, there, EVERYTHING).points == 30_000
    assert estimate_push(store, there, EVERYTHING, history=0).points == 50_000


def test_the_rate_of_the_last_push_that_sent_enough_counts(store: Store, there: Remote) -> None:
    fake = FakeMlflow()
    record(store, 3_000)
    report = push(store, there, http=fake)
    state = read_ledger(store, there)
    assert state.points_per_s == pytest.approx(3_000 / report.seconds, rel=0.05)
    record(store, 5)
    push(store, there, http=fake)
    assert read_ledger(store, there).points_per_s == state.points_per_s
    compacted = state.__class__()
    for line in read_ledger(store, there).compacted():
        compacted.apply(line)
    assert compacted.points_per_s == state.points_per_s
    record(store, 1_200)
    estimate = estimate_push(store, there, EVERYTHING)
    assert (estimate.points, estimate.measured) == (1_200, True)
    assert estimate.seconds == pytest.approx(1_200 / state.points_per_s)
