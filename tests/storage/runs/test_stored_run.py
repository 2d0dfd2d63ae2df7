"""A run as readers see it: live up to the last call that returned, sealed, resumed, damaged."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import mltrack
from mltrack.errors import CorruptionError, InvalidPathError, NotFoundError
from mltrack.storage.runs.stored_run import StoredRun
from tests.support.recording import all_points, points_by_writer


@pytest.fixture
def run(tmp_path: Path) -> mltrack.Run:
    mltrack.set_store(tmp_path / "s")
    return mltrack.start_run(run_name="r")


def test_a_live_run_is_read_up_to_the_last_call_that_returned(run: mltrack.Run) -> None:
    stored = run.stored()
    for step in range(3000):
        run.log_metric("a", step, step)
        if step % 300 == 0:
            assert stored.metrics("a").column("step").to_pylist() == list(range(step + 1))
            assert stored.summaries["a"].count == step + 1
            run.set_tag("step", step)
            run.log_param(f"p{step}", step)
            stored.refresh()
            assert stored.tags["step"] == str(step)
            assert stored.params[f"p{step}"] == str(step)
    run.log_metric("new name", 1.0)
    assert stored.metrics("new name").column("value").to_pylist() == [1.0]
    assert (stored.info.status, stored.info.live) == ("RUNNING", True)


def test_a_reader_that_was_open_during_the_seal_continues(run: mltrack.Run) -> None:
    stored = run.stored()
    for step in range(6000):
        run.log_metric("a", step, step)
    assert stored.summaries["a"].count == 6000
    pieces = stored.read_points()
    first = next(pieces)[1]
    run.end()
    assert len(first) + sum(len(piece) for _, piece in pieces) == 6000
    stored.refresh()
    assert stored.summaries["a"].count == 6000
    assert stored.metrics("a").num_rows == 6000
    assert stored.head().points == 6000
    assert (stored.info.status, stored.info.live, stored.info.crashed) == ("FINISHED", False, False)


def test_metrics_are_tables_in_the_order_of_logging(run: mltrack.Run) -> None:
    run.log_metrics({"a": math.nan, "b": math.inf}, step=5)
    run.log_metrics({"a": -0.0, "b": 1.0}, step=-3)
    table = run.metrics()
    assert table.column_names == ["metric", "step", "time", "value"]
    assert table.column("metric").to_pylist() == ["a", "b", "a", "b"]
    assert table.column("step").to_pylist() == [5, 5, -3, -3]
    assert run.metrics("b").column_names == ["step", "time", "value"]
    assert str(run.metrics("b").schema.field("time").type) == "timestamp[ns, tz=UTC]"
    assert list(run.metrics("b").to_pandas()["value"]) == [math.inf, 1.0]
    with pytest.raises(NotFoundError, match="no metric 'c'"):
        run.metrics("c")


def test_a_run_without_points_has_an_empty_table(run: mltrack.Run) -> None:
    assert run.metrics().num_rows == 0
    assert run.get_metrics() == {}
    assert run.data.metrics == {}


def test_get_metrics_gives_a_number_or_a_list(run: mltrack.Run) -> None:
    run.log_metric("once", 1.5)
    run.log_series("often", [1.0, 2.0, 3.0])
    assert run.get_metrics() == {"once": 1.5, "often": [1.0, 2.0, 3.0]}
    assert run.get_metrics("often") == {"often": [1.0, 2.0, 3.0]}


def test_latest_is_by_step_then_time_then_value(run: mltrack.Run) -> None:
    for step, value in ((5, 1.0), (9, 2.0), (3, 7.0)):
        run.log_metric("a", value, step, timestamp=1000)
    for value in (1.0, 4.0, 2.0, math.nan):
        run.log_metric("b", value, 1, timestamp=1000)
    assert run.data.metrics == {"a": 2.0, "b": 4.0}
    summary = run.stored().summaries["a"]
    assert (summary.min, summary.max, summary.count, summary.step, summary.time) == (1.0, 7.0, 3, 9, 1_000_000_000)


def test_points_of_several_writers_are_put_in_order_of_time(run: mltrack.Run) -> None:
    run.log_metric("a", 1.0, timestamp=1)
    run.log_metric("a", 3.0, timestamp=3)
    run.end()
    with mltrack.start_run(run.run_id) as again:
        again.log_metric("a", 2.0, timestamp=2)
        again.log_metric("a", 4.0, timestamp=4)
    stored = mltrack.get_run(run.run_id)
    assert stored.metrics("a").column("value").to_pylist() == [1.0, 2.0, 3.0, 4.0]
    assert len(points_by_writer(stored)) == 2


def test_positions_let_a_reader_continue_where_it_was(run: mltrack.Run) -> None:
    run.log_series("a", np.arange(100.0))
    run.set_tag("t", "1")
    [writer] = run.stored().writers()
    before = writer.position
    run.log_series("a", np.arange(100.0, 110.0))
    run.set_tag("t", "2")
    stored = run.stored()
    later = [piece.values.tolist() for _, piece in stored.read_points({writer.writer: before.points})]
    assert later == [list(np.arange(100.0, 110.0))]
    events = stored.read_events({writer.writer: before.events})
    assert [(event.type, event.fields["value"]) for event in events] == [("tag", "2")]
    assert stored.writers()[0].position == (before.events + 1, before.points + 10)
    run.end()
    sealed = [piece.values.tolist() for _, piece in run.stored().read_points({writer.writer: before.points})]
    assert sealed == later


def test_damage_in_one_file_is_reported_and_the_rest_is_read(run: mltrack.Run) -> None:
    for step in range(6000):
        run.log_metric("a", 1.0, step)
    run.end()
    with mltrack.start_run(run.run_id) as again:
        again.log_metric("b", 2.0)
    stored = mltrack.get_run(run.run_id)
    [segment] = stored.folder.segments.iterdir()
    segment.write_bytes(segment.read_bytes()[:-10])
    with pytest.raises(CorruptionError) as caught:
        stored.metrics("a")
    assert caught.value.path == str(segment)
    found = StoredRun(stored.folder)
    assert found.data.metrics == {"b": 2.0}
    assert found.damage[0].path == str(segment)


def test_artifacts_are_found_by_name_inside_the_run(run: mltrack.Run) -> None:
    run.log_text("hello", "notes/a.txt")
    stored = run.stored()
    assert stored.artifact_path("notes/a.txt").read_text() == "hello"
    with pytest.raises(NotFoundError):
        stored.artifact_path("notes/b.txt")
    with pytest.raises(InvalidPathError):
        stored.artifact_path("../events")


def test_a_run_without_a_start_event_does_not_exist(tmp_path: Path, run: mltrack.Run) -> None:
    run.end()
    for path in run.stored().folder.events.iterdir():
        path.unlink()
    with pytest.raises(NotFoundError):
        mltrack.get_run(run.run_id)


def test_a_copied_run_is_the_same_run(tmp_path: Path, run: mltrack.Run) -> None:
    import shutil

    for step in range(6000):
        run.log_metric("a", step, step)
    run.log_text("x", "a.txt")
    run.end()
    before = mltrack.get_run(run.run_id)
    mltrack.set_store(tmp_path / "other")
    folder = mltrack.get_store().layout.run(run.run_id).path
    shutil.copytree(before.folder.path, folder)
    copy = mltrack.get_run(run.run_id)
    assert all_points(copy) == all_points(before)
    assert (copy.data, copy.artifacts, copy.info.status) == (before.data, before.artifacts, before.info.status)
    assert copy.artifact_path("a.txt").is_relative_to(tmp_path / "other")
