"""Curves of runs: read once, then what is new, whether points or bounds."""

from __future__ import annotations

import numpy as np
import pytest

from mltrack.recording import current_store, fluent
from mltrack.recording.run import Run
from mltrack.store import Store
from mltrack.top.curves import Curve, RunCurves


@pytest.fixture
def live(empty_store: Store) -> Run:
    current_store.set_store(empty_store.path)
    return fluent.start_run()


def values(curve: Curve | None) -> list[float]:
    assert curve is not None
    return list(curve.values.tolist())


def test_a_live_run_is_read_on_from_where_it_was(empty_store: Store, live: Run) -> None:
    live.log({"loss": 3.0, "acc": 0.1}, step=0)
    found = RunCurves(empty_store.run(live.run_id))
    first = found.curve("loss")
    assert values(first) == [3.0]
    assert not found.poll()
    live.log({"loss": 2.0, "new": 7.0}, step=1)
    assert found.poll()
    assert values(found.curve("loss")) == [3.0, 2.0]
    assert values(found.curve("acc")) == [0.1]
    assert values(found.curve("new")) == [7.0]
    assert values(first) == [3.0]  # what was handed out stays as it was
    assert found.keys() == ["acc", "loss", "new"]
    assert found.curve("nothing") is None


def test_a_rewind_takes_back_what_no_longer_counts(empty_store: Store, live: Run) -> None:
    for step in range(5):
        live.log({"loss": float(step)}, step=step)
    found = RunCurves(empty_store.run(live.run_id))
    assert len(values(found.curve("loss"))) == 5
    live.rewind(2)
    live.log({"loss": 9.0}, step=3)
    assert found.poll()
    assert values(found.curve("loss")) == [0.0, 1.0, 2.0, 9.0]


def test_of_many_points_the_bounds_are_read_first_and_the_points_where_they_are_needed(
    empty_store: Store, live: Run
) -> None:
    logged = np.sin(np.arange(100_000) / 100)
    logged[77_777] = 5.0
    logged[5] = np.nan
    live.log_series("loss", logged, steps=np.arange(100_000))
    live.log_series("other", np.full(10, -9.0))
    live.end()
    found = RunCurves(empty_store.run(live.run_id), small_points=1_000, large_points=50_000)
    curve = found.curve("loss")
    assert curve is not None
    assert curve.bounds is not None
    assert curve.count == 100_000
    assert (np.nanmin(curve.bounds.low), np.nanmax(curve.bounds.high)) == (np.nanmin(logged), 5.0)
    assert (curve.bounds.step_min.min(), curve.bounds.step_max.max()) == (0, 99_999)
    exact = found.curve("loss", exact=True)
    assert exact is not None
    assert exact.bounds is None
    np.testing.assert_array_equal(exact.values, logged)
    assert values(found.curve("other")) == [-9.0] * 10


def test_a_large_run_that_is_resumed_shows_what_it_gets(empty_store: Store, live: Run) -> None:
    live.log_series("loss", np.zeros(30_000))
    live.end()
    found = RunCurves(empty_store.run(live.run_id), small_points=1_000, large_points=20_000)
    assert found.curve("loss").bounds is not None  # type: ignore[union-attr]
    with fluent.start_run(run_id=live.run_id) as again:
        again.log({"loss": 4.0}, step=30_000)
        assert found.poll()
        assert values(found.curve("loss"))[-1] == 4.0
