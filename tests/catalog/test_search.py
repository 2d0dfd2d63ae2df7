"""search_runs: pages, views, experiments, the data frame, and what is refused."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from mltrack.catalog.filter_parser import ATTRIBUTES, parse_filter
from mltrack.catalog.filter_sql import Parameters, compile_filter
from mltrack.entities import Dataset, DatasetInput, ModelOutput
from mltrack.errors import FilterError, NotFoundError, UsageError
from mltrack.journal.recorder import Recorder
from mltrack.store import Store
from mltrack.values.datasets import dataset_event, model_input_event, model_output_event
from tests.support.written_runs import START_MS, write_run


@contextlib.contextmanager
def edited(store: Store, run_id: str) -> Iterator[Callable[..., None]]:
    """Adds events to a run that is there."""
    recorder = Recorder(store.layout, store.layout.run(run_id), "edit", not_before=(START_MS + 9) * 1_000_000)
    yield recorder.emit
    recorder.close()


def found(store: Store, text: str = "", **more: object) -> list[str]:
    return [run.info.run_name for run in store.search_runs(filter_string=text, **more)]  # type: ignore[arg-type]


def test_a_record_has_everything_an_mlflow_run_has(empty_store: Store) -> None:
    run_id = write_run(
        empty_store, name="one", params={"p": "1"}, tags={"mlflow.user": "ann"}, metrics={"loss": [(0, 2.0), (1, 1.0)]}
    )
    record = empty_store.search_runs()[0]
    assert record.run_id == record.info.run_id == run_id
    assert record.info == empty_store.run(run_id).info
    assert record.data == empty_store.run(run_id).data


def test_a_record_has_the_datasets_and_the_models_of_its_run(empty_store: Store) -> None:
    datasets = [
        DatasetInput(
            Dataset("b", "1", "http", "{}", "{}", '{"rows": 5}'), {"mlflow.data.context": "test", "k": "größe"}
        ),
        DatasetInput(Dataset("a", "2", "local", "x")),
    ]
    run_id = write_run(empty_store, datasets=datasets)
    other = write_run(empty_store, start_ms=START_MS + 1)
    assert [record.datasets for record in empty_store.search_runs()] == [(), tuple(datasets)]
    with edited(empty_store, run_id) as emit:
        emit(dataset_event(Dataset("a", "3", "local", "x\ud800"), {"k": "x\ud800"}), model_input_event("m-2"))
        emit(model_input_event("m-1"), model_output_event("m-9", 3), model_output_event("m-3"))
    records = {record.run_id: record for record in empty_store.search_runs()}
    record = records[run_id]
    assert record.datasets == (*datasets, DatasetInput(Dataset("a", "3", "local", "x\\ud800"), {"k": "x\\ud800"}))
    assert record.model_inputs == ("m-2", "m-1")
    assert record.model_outputs == (ModelOutput("m-9", 3), ModelOutput("m-3", 0))
    assert (records[other].datasets, records[other].model_inputs, records[other].model_outputs) == ((), (), ())


def test_datasets_are_searched_while_the_run_is_live(empty_store: Store) -> None:
    run_id = write_run(
        empty_store, datasets=[DatasetInput(Dataset("a", "1", "local", ""), {"mlflow.data.context": "train"})]
    )
    assert found(empty_store, "dataset.name = 'b'") == []
    with edited(empty_store, run_id) as emit:
        for name in ("b", "c"):
            emit(dataset_event(Dataset(name, "2", "local", ""), {}))
            assert found(empty_store, f"dataset.name = '{name}' and datasets.digest = '1'") == ["a run"]
        assert found(empty_store, "dataset.context != 'train'") == []


def test_artifact_uris_have_the_requested_prefix_in_records_and_filters(empty_store: Store) -> None:
    run_id = write_run(empty_store)
    assert empty_store.search_runs()[0].info.artifact_uri == f"{empty_store.layout.runs}/{run_id}/artifacts"
    there = f"scheme:///a/runs/{run_id}/artifacts"
    [record] = empty_store.search_runs(filter_string=f"artifact_uri = '{there}'", artifact_root="scheme:///a/runs")
    assert record.info.artifact_uri == there
    assert empty_store.search_runs(filter_string=f"artifact_uri = '{there}'") == []


def test_or_and_parentheses_are_supported(empty_store: Store) -> None:
    for number in range(6):
        write_run(empty_store, name=str(number), metrics={"a": [(0, number)]}, tags={"t": str(number % 2)})
    assert sorted(found(empty_store, "metrics.a < 1 or metrics.a > 4")) == ["0", "5"]
    assert sorted(found(empty_store, "(metrics.a < 1 or metrics.a > 3) and tags.t = '0'")) == ["0", "4"]
    assert sorted(found(empty_store, "metrics.a < 1 or metrics.a > 3 and tags.t = '1'")) == ["0", "5"]


@pytest.mark.slow
def test_pages_neither_repeat_nor_skip_a_run_while_others_are_added_and_deleted(empty_store: Store) -> None:
    for number in range(10):
        value = math.nan if number == 3 else number // 2
        write_run(
            empty_store, name=f"{number}", metrics={"a": [(0, value)]} if number % 5 else {}, start_ms=START_MS + number
        )
    for order in ([], ["metrics.a DESC", "start_time"], ["params.none"]):
        whole = found(empty_store, order_by=order)
        page = empty_store.search_runs(max_results=4, order_by=order)
        seen = [run.info.run_name for run in page]
        while page.token is not None:
            write_run(empty_store, name="new", metrics={"a": [(0, -1e9)]}, start_ms=START_MS - 1)
            write_run(empty_store, name="new", metrics={"a": [(0, 1e9)]}, start_ms=START_MS + 99)
            page = empty_store.search_runs(max_results=4, order_by=order, page_token=page.token)
            seen += [run.info.run_name for run in page]
        assert [name for name in seen if name != "new"] == [name for name in whole if name != "new"]


def test_a_last_page_that_is_full_has_no_token(empty_store: Store) -> None:
    for _ in range(4):
        write_run(empty_store)
    assert empty_store.search_runs(max_results=4).token is None
    assert empty_store.search_runs(max_results=3).token is not None
    assert empty_store.search_runs(filter_string="metrics.none > 1").token is None


@pytest.mark.parametrize("token", ["x", "", "!!!", "bm9wZQ==", "W10="])
def test_a_token_of_another_search_is_refused(empty_store: Store, token: str) -> None:
    for _ in range(3):
        write_run(empty_store)
    token = token or str(empty_store.search_runs(max_results=1, order_by=["run_id"]).token)
    with pytest.raises(UsageError, match="page_token"):
        empty_store.search_runs(page_token=token)


def test_deleted_runs_are_found_only_on_request(empty_store: Store) -> None:
    write_run(empty_store, name="active")
    write_run(empty_store, name="deleted", stage="deleted")
    assert found(empty_store) == ["active"]
    for view in ("DELETED_ONLY", 2):
        assert found(empty_store, run_view_type=view) == ["deleted"]
    for view in ("ALL", 3):
        assert sorted(found(empty_store, run_view_type=view)) == ["active", "deleted"]


def test_runs_are_found_by_experiment(empty_store: Store) -> None:
    one, two = empty_store.workspace.create("one"), empty_store.workspace.create("two")
    write_run(empty_store, name="a", experiment=(one.experiment_id, "one"))
    write_run(empty_store, name="b", experiment=(two.experiment_id, "two"))
    write_run(empty_store, name="c", experiment=("77", "copied in"))
    assert found(empty_store, experiment_ids=[one.experiment_id]) == ["a"]
    assert found(empty_store, experiment_names=["two"]) == ["b"]
    assert found(empty_store, experiment_names=["copied in"]) == ["c"]
    assert found(empty_store, experiment_ids=[]) == []
    assert found(empty_store, experiment_ids=["nope"]) == []
    with pytest.raises(NotFoundError, match="'three'"):
        found(empty_store, experiment_names=["three"])


def test_runs_of_deleted_experiments_are_left_out_unless_named(empty_store: Store) -> None:
    gone = empty_store.workspace.create("gone")
    write_run(empty_store, name="a", experiment=(gone.experiment_id, "gone"))
    empty_store.workspace.set_stage(gone.experiment_id, "deleted")
    assert found(empty_store) == []
    assert found(empty_store, experiment_ids=[gone.experiment_id]) == ["a"]
    assert found(empty_store, experiment_names=["gone"]) == ["a"]


def test_infinities_and_nan_are_found_as_they_are(empty_store: Store) -> None:
    for name, value in {"up": math.inf, "down": -math.inf, "nan": math.nan, "one": 1.0}.items():
        write_run(empty_store, name=name, metrics={"a": [(0, value)]})
    assert sorted(found(empty_store, "metrics.a > 0")) == ["one", "up"]
    assert sorted(found(empty_store, "metrics.a != 1")) == ["down", "nan", "up"]
    assert found(empty_store, order_by=["metrics.a"]) == ["down", "one", "up", "nan"]
    assert found(empty_store, order_by=["metrics.a DESC"]) == ["up", "one", "down", "nan"]


def test_values_are_bound_and_never_part_of_the_statement() -> None:
    evil = "x'; DROP TABLE base.runs; --"
    node = parse_filter(f'params.`{evil}` = "{evil}" and tags."{evil}" LIKE "{evil}"')
    assert node is not None
    parameters = Parameters()
    assert "DROP" not in compile_filter(node, parameters, {name: name for name in ATTRIBUTES})
    assert list(parameters.values.values()) == [evil] * 4


def test_the_data_frame_has_mlflows_shape(empty_store: Store) -> None:
    one = write_run(empty_store, name="one", params={"p": "1"}, metrics={"b": [(0, 1.5)]}, start_ms=START_MS + 5)
    two = write_run(empty_store, name="two", tags={"t": "x"}, metrics={"a": [(0, 2)], "b": [(0, 3)]}, end_ms=None)
    frame = empty_store.search_runs_frame()
    fixed = ["run_id", "experiment_id", "status", "artifact_uri", "start_time", "end_time"]
    assert list(frame.columns) == [*fixed, "metrics.a", "metrics.b", "params.p", "tags.t"]
    assert frame["run_id"].tolist() == [one, two]
    assert frame["metrics.b"].tolist() == [1.5, 3.0]
    assert np.isnan(frame["metrics.a"][0])
    assert frame["params.p"][0] == "1" and frame["params.p"].isna().tolist() == [False, True]
    assert str(frame["start_time"].dtype).endswith("UTC]")
    assert frame["start_time"][0].timestamp() * 1000 == START_MS + 5
    assert empty_store.search_runs_frame(filter_string="metrics.none = 1").shape == (0, 6)


def test_a_run_is_resolved_by_id_by_its_first_digits_and_by_name(empty_store: Store) -> None:
    one = write_run(empty_store, name="one")
    write_run(empty_store, name="twice")
    write_run(empty_store, name="twice")
    assert empty_store.resolve(one) == empty_store.resolve(one[:12]) == empty_store.resolve("one") == one
    with pytest.raises(UsageError, match="2 runs match 'twice'"):
        empty_store.resolve("twice")
    with pytest.raises(NotFoundError, match="no run '@lats'") as caught:
        empty_store.resolve("@lats")
    assert "@last" in caught.value.hint
    with pytest.raises(NotFoundError, match="no run 'nobody'"):
        empty_store.resolve("nobody")


@pytest.mark.parametrize(
    ("text", "at", "what"),
    [
        ("metrics.loss == 1", 14, "can't be compared by =="),
        ("metrics.loss > '1'", 16, "is not a number"),
        ("metrics.loss / 2 > 1", 14, "unexpected '/'"),
        ("params.lr = 0.1", 13, "is not a quoted text"),
        ("params.lr = '0.1", 13, "never closed"),
        ("loss < 1", 1, "no attribute 'loss'"),
        ("params.a = 'x' metrics.b > 1", 16, "AND or OR was expected"),
        ("metrics.a >", 12, "what metric 'a' is compared with is missing"),
        ("metrics.a > 1 and", 18, "a name was expected, not the end"),
        ("(metrics.a > 1", 15, "closing parenthesis"),
        ("metrics. > 1", 10, "dot without a name"),
        ("metrics.`` > 1", 9, "empty name"),
        ("metrics.a.`b c` > 1", 11, "quoted in part"),
        ("dataset.schema = 'x'", 1, "a dataset can't be searched for by 'schema'"),
        ("dataset.name > 'x'", 14, "can't be compared by >"),
        ("model.x = 1", 1, "a run has no 'model'"),
        ("run_id IN ('a' 'b')", 19, "a comma was expected"),
        ("status", 7, "a comparison was expected, not the end"),
    ],
)
def test_a_bad_filter_is_reported_with_its_place_and_the_fix(empty_store: Store, text: str, at: int, what: str) -> None:
    with pytest.raises(FilterError, match=re.escape(what)) as error:
        empty_store.search_runs(filter_string=text)
    assert f"at character {at}:" in str(error.value)
    assert "\n" not in str(error.value) and error.value.hint


@pytest.mark.parametrize(
    "arguments",
    [
        {"filter_string": 5},
        {"order_by": "metrics.a"},
        {"order_by": [5]},
        {"order_by": ["metrics.a DOWN"]},
        {"order_by": ["run_id", "run_id"]},
        {"order_by": ["dataset.name"]},
        {"run_view_type": "SOME"},
        {"max_results": 0},
        {"max_results": "5"},
        {"experiment_ids": "0"},
        {"experiment_names": "Default"},
    ],
)
def test_bad_arguments_are_refused(empty_store: Store, arguments: dict[str, object]) -> None:
    with pytest.raises(UsageError) as error:
        empty_store.search_runs(**arguments)  # type: ignore[arg-type]
    assert error.value.hint


def test_times_are_compared_with_dates_as_well_as_with_milliseconds(empty_store: Store) -> None:
    write_run(empty_store, name="early", start_ms=1_000_000_000_000)  # 2001-09-09 01:46:40 UTC
    write_run(empty_store, name="late", start_ms=1_700_000_000_000)
    assert found(empty_store, "start_time > '2020-01-01'") == ["late"]
    assert found(empty_store, "start_time = '2001-09-09T01:46:40Z'") == ["early"]
    assert found(empty_store, "attributes.start_time < 1500000000000") == ["early"]
    with pytest.raises(FilterError, match="is not a date") as error:
        found(empty_store, "end_time < 'yesterday'")
    assert "'2026-01-31'" in error.value.hint


def test_runs_are_found_by_their_parent(empty_store: Store) -> None:
    parent = write_run(empty_store, name="parent")
    write_run(empty_store, name="child", tags={"mlflow.parentRunId": parent})
    assert found(empty_store, f"parent_run_id = '{parent}'") == ["child"]
    assert found(empty_store, f"parent_run_id IN ('{parent}')") == ["child"]
    assert found(empty_store, "parent_run_id IS NULL") == ["parent"]
    assert found(empty_store, "parent_run_id IS NOT NULL") == ["child"]


def test_a_run_that_waits_to_be_recorded_has_no_duration_yet(empty_store: Store) -> None:
    write_run(empty_store, name="waits", status="SCHEDULED", end_ms=None)
    write_run(empty_store, name="lasted")
    assert found(empty_store, "duration >= 0") == ["lasted"]


def test_runs_are_found_and_ordered_by_how_many_points_and_alerts_they_have(empty_store: Store) -> None:
    write_run(empty_store, name="few", metrics={"a": [(0, 1.0)], "b": [(0, 1.0)]})
    write_run(empty_store, name="many", metrics={"a": [(step, 1.0) for step in range(5)]})
    write_run(empty_store, name="none", tags={"mltrack.alert.nan": "a is NaN", "mltrack.alert.up": "a > 1"})
    assert found(empty_store, "points > 2") == ["many"]
    assert found(empty_store, "attributes.points = 0 and alerts >= 2") == ["none"]
    for most in (1, 10):
        names: list[str] = []
        token: str | None = None
        while token is not None or not names:
            page = empty_store.search_runs(order_by=["points DESC"], max_results=most, page_token=token)
            names += [run.info.run_name for run in page]
            token = page.token
        assert names == ["many", "few", "none"]
