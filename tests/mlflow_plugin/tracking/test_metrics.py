"""The history of metrics: whole, by pages, in bulk, and sampled for charts, on both stores."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import flask
import numpy as np
import pytest
from mlflow.entities import Metric

import mltrack
from mltrack.drawing.sampling import sample
from mltrack.mlflow_plugin.tracking import TrackingStore
from tests.support.plugin.codes import raises

NO_RUN = "0" * 32


@pytest.fixture
def run_id(tracking: Any) -> str:
    return new_run(tracking)


def new_run(tracking: Any) -> str:
    return str(tracking.create_run("0", "me", 0, [], None).info.run_id)


def log(tracking: Any, run_id: str, *points: tuple[float, int, int], key: str = "a") -> None:
    """Points of (value, time, step)."""
    for start in range(0, len(points), 1000):
        tracking.log_batch(run_id, [Metric(key, *point) for point in points[start : start + 1000]], [], [])


def rows(metrics: Any) -> list[tuple[float, int, int]]:
    return [(m.value, m.timestamp, m.step) for m in metrics]


# --- for MLflow's pages ---


def test_graphql_alone_is_answered_without_infinities(tracking: Any, run_id: str, kind: str) -> None:
    log(tracking, run_id, (math.inf, 1, 1), key="above")
    log(tracking, run_id, (-math.inf, 1, 1), key="below")
    log(tracking, run_id, (math.nan, 1, 1), key="diverged")
    greatest = sys.float_info.max
    with flask.Flask("server").test_request_context("/graphql"):
        latest = tracking.get_run(run_id).data.metrics
        assert (latest["above"], latest["below"]) == (greatest, -greatest)
        assert math.isnan(latest["diverged"])
        assert rows(tracking.get_metric_history_bulk_interval([run_id], "above", 10, None, None)) == [(greatest, 1, 1)]
    assert tracking.get_run(run_id).data.metrics["above"] == (math.inf if kind == "mltrack" else greatest)


# --- whole ---


def test_a_history_is_ordered_by_time_then_step_then_value(tracking: Any, run_id: str) -> None:
    points = [(1.0, 5, 2), (2.0, 5, 1), (9.0, 1, 7), (3.0, 5, 1), (-1.0, 7, -4)]
    log(tracking, run_id, *points)
    found = tracking.get_metric_history(run_id, "a")
    assert rows(found) == [(9.0, 1, 7), (2.0, 5, 1), (3.0, 5, 1), (1.0, 5, 2), (-1.0, 7, -4)]
    assert {m.key for m in found} == {"a"}
    assert found.token is None
    assert all(type(m.value) is float and type(m.timestamp) is int and type(m.step) is int for m in found)


def test_equal_points_are_one(tracking: Any, run_id: str) -> None:
    for _ in range(2):
        log(tracking, run_id, (1.0, 5, 2), (1.0, 5, 2), (math.nan, 5, 2), (math.nan, 5, 2), (0.0, 5, 2))
    found = rows(tracking.get_metric_history(run_id, "a"))
    assert len(found) == 3
    assert sum(math.isnan(value) for value, _, _ in found) == 1
    assert {value for value, _, _ in found if value == value} == {0.0, 1.0}


def test_a_history_of_nothing_is_empty(tracking: Any, run_id: str) -> None:
    log(tracking, run_id, (1.0, 5, 2))
    assert tracking.get_metric_history(run_id, "b") == []
    assert tracking.get_metric_history(NO_RUN, "a") == []
    assert tracking.get_metric_history_bulk([run_id, NO_RUN], "b", 10) == []
    assert tracking.get_metric_history_bulk_interval([run_id, NO_RUN], "b", 10, None, None) == []
    assert tracking.get_metric_history_bulk_interval_from_steps(NO_RUN, "a", [1], 10) == []
    assert tracking.get_max_step_for_metric(NO_RUN, "a") == tracking.get_max_step_for_metric(run_id, "b") == 0


def test_non_finite_values_are_kept(tracking: Any, run_id: str, kind: str) -> None:
    log(tracking, run_id, (math.nan, 1, 1), (math.inf, 2, 2), (-math.inf, 3, 3), (-0.0, 4, 4))
    values = [value for value, _, _ in rows(tracking.get_metric_history(run_id, "a"))]
    assert math.isnan(values[0])
    # the SQL store puts the greatest finite numbers in the place of infinities
    greatest = math.inf if kind == "mltrack" else 1.7976931348623157e308
    assert values[1:] == [greatest, -greatest, 0.0]


def test_a_history_remains_after_the_end_and_deletion_of_its_run(tracking: Any, run_id: str) -> None:
    log(tracking, run_id, *((n / 7, n, n) for n in range(5_000)))  # enough to be sealed
    tracking.update_run_info(run_id, 3, 9, None)
    log(tracking, run_id, (0.5, 6_000, 6_000))
    tracking.delete_run(run_id)
    found = rows(tracking.get_metric_history(run_id, "a"))
    assert found == [*((n / 7, n, n) for n in range(5_000)), (0.5, 6_000, 6_000)]


def test_pages_are_consecutive(tracking: Any, run_id: str) -> None:
    log(tracking, run_id, *((float(n), n, n) for n in range(25)))
    found, token, sizes = [], None, []
    while True:
        page = tracking.get_metric_history(run_id, "a", max_results=10, page_token=token)
        found += rows(page)
        sizes.append(len(page))
        token = page.token
        if token is None:
            break
    assert sizes == [10, 10, 5]
    assert found == [(float(n), n, n) for n in range(25)]
    assert tracking.get_metric_history(run_id, "a", max_results=25).token is None
    with raises("INVALID_PARAMETER_VALUE"):
        tracking.get_metric_history(run_id, "a", page_token="nonsense")


# --- of several runs ---


def test_histories_of_several_runs_are_grouped_by_run(tracking: Any) -> None:
    ids = sorted(new_run(tracking) for _ in range(3))
    for number, run_id in enumerate(ids):
        log(tracking, run_id, *((float(number), time, 10 - time) for time in range(3)))
    found = tracking.get_metric_history_bulk(ids[::-1], "a", 100)
    assert [(m.run_id, *row) for m, row in zip(found, rows(found), strict=True)] == [
        (run_id, float(number), time, 10 - time) for number, run_id in enumerate(ids) for time in range(3)
    ]
    assert [m.run_id for m in tracking.get_metric_history_bulk(ids, "a", 4)] == [*[ids[0]] * 3, ids[1]]


def test_points_at_given_steps_are_ordered_by_step(tracking: Any, run_id: str) -> None:
    log(tracking, run_id, (1.0, 9, 3), (2.0, 1, 3), (3.0, 5, -1), (4.0, 5, 7), (5.0, 5, 2))
    found = tracking.get_metric_history_bulk_interval_from_steps(run_id, "a", [3, -1, 99], 10)
    assert rows(found) == [(3.0, 5, -1), (2.0, 1, 3), (1.0, 9, 3)]
    assert {m.run_id for m in found} == {run_id}
    assert len(tracking.get_metric_history_bulk_interval_from_steps(run_id, "a", [3, -1, 99], 2)) == 2


def test_the_greatest_step_is_returned(tracking: Any, run_id: str) -> None:
    log(tracking, run_id, (1.0, 9, 3), (2.0, 1, 7), (3.0, 5, -1))
    assert tracking.get_max_step_for_metric(run_id, "a") == 7


# --- sampled ---


def test_a_short_history_is_returned_whole_by_step(tracking: Any, run_id: str) -> None:
    points = [(1.0, 5, 2), (2.0, 4, 1), (9.0, 1, -7), (3.0, 3, 1)]
    log(tracking, run_id, *points)
    found = tracking.get_metric_history_bulk_interval([run_id], "a", 10, None, None)
    assert rows(found) == [(9.0, 1, -7), (3.0, 3, 1), (2.0, 4, 1), (1.0, 5, 2)]
    assert {m.run_id for m in found} == {run_id}


@pytest.mark.parametrize("count", [1_000, 1_017])
@pytest.mark.parametrize("most", [2, 3, 10, 100, 320])
def test_a_long_history_is_sampled_evenly_with_its_ends(tracking: Any, run_id: str, count: int, most: int) -> None:
    log(tracking, run_id, *((math.sin(n), n, n - 300) for n in range(count)))
    steps = [m.step for m in tracking.get_metric_history_bulk_interval([run_id], "a", most, None, None)]
    assert steps == sorted(set(steps))
    assert (steps[0], steps[-1]) == (-300, count - 301)
    assert most // 2 <= len(steps) <= most
    gaps = np.diff(steps)
    assert gaps.max() <= 2.5 * count / max(1, most - 2) + 2


def test_a_sample_of_one_point_is_the_last(tracking: Any, run_id: str) -> None:
    log(tracking, run_id, *((float(n), n, n) for n in range(10)))
    for most in (1, 0, -5):
        found = tracking.get_metric_history_bulk_interval([run_id], "a", most, None, None)
        assert rows(found) == [(9.0, 9, 9)]


def test_a_range_of_steps_is_sampled_separately(tracking: Any, run_id: str) -> None:
    log(tracking, run_id, *((float(n), n, n) for n in range(1_000)))
    found = tracking.get_metric_history_bulk_interval([run_id], "a", 20, 100, 299)
    assert (found[0].step, found[-1].step) == (100, 299)
    assert 10 <= len(found) <= 20
    few = tracking.get_metric_history_bulk_interval([run_id], "a", 20, 100, 105)
    assert [m.step for m in few] == list(range(100, 106))
    for bounds in ((1, None), (None, 1)):
        with raises("INVALID_PARAMETER_VALUE"):
            tracking.get_metric_history_bulk_interval([run_id], "a", 20, *bounds)


def test_many_points_at_one_step_do_not_exceed_the_requested_number(tracking: Any, run_id: str) -> None:
    log(tracking, run_id, *((float(n), n, 0) for n in range(2_000)))
    found = rows(tracking.get_metric_history_bulk_interval([run_id], "a", 50, None, None))
    assert 25 <= len(found) <= 50
    assert (found[0], found[-1]) == ((0.0, 0, 0), (1_999.0, 1_999, 0))


def test_each_run_is_sampled_separately_in_the_requested_order(tracking: Any) -> None:
    ids = [new_run(tracking) for _ in range(2)]
    for run_id, length in zip(ids, (500, 5), strict=True):
        log(tracking, run_id, *((float(n), n, n) for n in range(length)))
    found = tracking.get_metric_history_bulk_interval(ids, "a", 20, None, None)
    assert list(dict.fromkeys(m.run_id for m in found)) == ids
    assert sum(m.run_id == ids[1] for m in found) == 5


def test_every_peak_is_kept(tmp_path: Path) -> None:
    """Where a chart of MLflow's SQL store shows a flat line."""
    store = TrackingStore(f"mltrack://{tmp_path}/.mltrack")
    mltrack.set_store(tmp_path / ".mltrack")
    values = np.full(100_000, 1.0)
    up, down = [123, 40_007, 77_777], [5_011, 60_013]
    values[up], values[down] = 50.0, -50.0
    values[::1_000] = np.nan
    with mltrack.start_run() as run:
        run.log_series("a", values)
    mltrack.set_store(None)
    found = store.get_metric_history_bulk_interval([run.run_id], "a", 320, None, None)
    assert len(found) <= 320
    assert [m.step for m in found if m.value == 50.0] == up
    assert [m.step for m in found if m.value == -50.0] == down


@pytest.mark.parametrize("most", range(1, 40))
def test_a_sample_never_exceeds_the_requested_number_and_has_both_ends_and_the_extremes(most: int) -> None:
    values = np.random.default_rng(most).normal(size=1_003)
    chosen = sample(values, most)
    assert len(chosen) <= most
    assert (np.diff(chosen) > 0).all()
    assert chosen[-1] == 1_002
    if most > 1:
        assert chosen[0] == 0
    if most >= 6:
        assert {int(values.argmin()), int(values.argmax())} <= set(chosen.tolist())


def test_a_sample_of_nothing_but_nan_is_a_sample() -> None:
    assert len(sample(np.full(1_000, np.nan), 50)) <= 50


# --- a live run, polled ---


def test_a_second_query_of_a_live_run_reads_only_what_is_new(tmp_path: Path) -> None:
    store = TrackingStore(f"mltrack://{tmp_path}/.mltrack")
    run_id = new_run(store)
    log(store, run_id, *((float(n), n, n) for n in range(3_000)))
    assert store.get_run(run_id).data.metrics == {"a": 2_999.0}
    (points,) = (tmp_path / ".mltrack" / "runs" / run_id / "points").glob("*.0.points")
    with open(points, "r+b") as file:  # damage what was read already: nobody looks there again
        file.seek(64)
        file.write(b"\0" * 32)
    log(store, run_id, (-1.0, 5_000, 5_000))
    assert store.get_run(run_id).data.metrics == {"a": -1.0}
    store._pool.close_all()
