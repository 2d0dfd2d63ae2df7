"""Runs: made, read, changed, deleted, restored, and what is logged to them, on both stores."""

from __future__ import annotations

import json
import math
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelInput,
    LoggedModelOutput,
    Metric,
    Param,
    RunStatus,
    RunTag,
    ViewType,
)
from mlflow.exceptions import MlflowException
from mlflow.models import Model

import mltrack
from mltrack.mlflow_plugin import run_pool
from mltrack.mlflow_plugin.run_pool import RunPool
from mltrack.mlflow_plugin.tracking import TrackingStore
from mltrack.storage.check.check import check_store
from mltrack.store import Store
from tests.support.plugin.codes import raises

NO_RUN = "0" * 32


def new_run(tracking: Any, experiment_id: str = "0", **tags: str) -> str:
    made = tracking.create_run(experiment_id, "me", 1_700_000_000_000, [RunTag(*tag) for tag in tags.items()], None)
    return str(made.info.run_id)


def metric(key: str, value: float, step: int = 0, time: int = 1_700_000_000_000) -> Metric:
    return Metric(key, value, time, step)


# --- making and reading ---


def test_a_run_of_no_experiment_is_refused(tracking: Any) -> None:
    with pytest.raises(MlflowException):
        tracking.create_run(experiment_id="", user_id="me", start_time=1, tags=[], run_name="none")


def test_a_run_is_returned_as_created(tracking: Any) -> None:
    made = tracking.create_run("0", "ada", 1_700_000_000_123, [RunTag("team", "vision")], "brave")
    found = tracking.get_run(made.info.run_id)
    for run in (made, found):
        info = run.info
        assert re.fullmatch("[0-9a-f]{32}", info.run_id)
        assert (info.experiment_id, info.run_name, info.status) == ("0", "brave", "RUNNING")
        assert (info.start_time, info.end_time, info.lifecycle_stage) == (1_700_000_000_123, None, "active")
        assert info.user_id == "ada"
        assert info.artifact_uri.endswith(f"/{info.run_id}/artifacts")
        assert run.data.tags == {"team": "vision", "mlflow.runName": "brave"}
        assert (run.data.metrics, run.data.params) == ({}, {})
        assert run.inputs.dataset_inputs == []


def test_a_run_without_a_name_gets_one(tracking: Any) -> None:
    run = tracking.create_run("0", "me", 0, [], None)
    assert re.fullmatch(r"[a-z]+-[a-z]+-\d+", run.info.run_name)
    assert run.data.tags == {"mlflow.runName": run.info.run_name}


def test_the_name_tag_names_a_run(tracking: Any) -> None:
    run = tracking.create_run("0", "me", 0, [RunTag("mlflow.runName", "brave")], None)
    assert run.info.run_name == "brave"
    with raises("INVALID_PARAMETER_VALUE"):
        tracking.create_run("0", "me", 0, [RunTag("mlflow.runName", "brave")], "other")


def test_a_run_needs_an_experiment(tracking: Any) -> None:
    with raises("RESOURCE_DOES_NOT_EXIST"):
        tracking.create_run("12345", "me", 0, [], None)
    with raises("INVALID_PARAMETER_VALUE"):
        tracking.create_run("abc", "me", 0, [], None)


@pytest.mark.parametrize("run_id", [NO_RUN, "abc"])
def test_a_missing_run_is_not_found(tracking: Any, run_id: str) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: tracking.get_run(run_id),
        lambda: tracking.delete_run(run_id),
        lambda: tracking.restore_run(run_id),
        lambda: tracking.update_run_info(run_id, RunStatus.FINISHED, 1, None),
        lambda: tracking.log_metric(run_id, metric("a", 1.0)),
        lambda: tracking.log_param(run_id, Param("a", "1")),
        lambda: tracking.set_tag(run_id, RunTag("a", "1")),
        lambda: tracking.delete_tag(run_id, "a"),
        lambda: tracking.log_batch(run_id, [], [], []),
        lambda: tracking.log_inputs(run_id, []),
        lambda: tracking.log_outputs(run_id, []),
        lambda: tracking._hard_delete_run(run_id),
    ]
    for call in calls:
        with raises("RESOURCE_DOES_NOT_EXIST", match="not found$"):  # MLflow's page of a run looks how it ends
            call()


# --- status, name, stage ---


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
def test_a_run_ends_with_a_status_and_a_time(tracking: Any, status: str) -> None:
    run_id = new_run(tracking)
    info = tracking.update_run_info(run_id, RunStatus.from_string(status), 1_700_000_001_000, None)
    assert (info.status, info.end_time) == (status, 1_700_000_001_000)
    found = tracking.get_run(run_id).info
    assert (found.status, found.end_time) == (status, 1_700_000_001_000)


def test_an_ended_run_accepts_everything_and_stays_ended(tracking: Any) -> None:
    run_id = new_run(tracking)
    tracking.update_run_info(run_id, RunStatus.FINISHED, 1_700_000_001_000, None)
    tracking.log_metric(run_id, metric("late", 1.0))
    tracking.log_param(run_id, Param("late", "1"))
    tracking.set_tag(run_id, RunTag("late", "1"))
    run = tracking.get_run(run_id)
    assert (run.data.metrics, run.data.params, run.data.tags["late"]) == ({"late": 1.0}, {"late": "1"}, "1")
    assert (run.info.status, run.info.end_time) == ("FINISHED", 1_700_000_001_000)


def test_a_run_is_resumed_and_ends_again(tracking: Any) -> None:
    run_id = new_run(tracking)
    tracking.log_metric(run_id, metric("a", 1.0, step=1))
    tracking.update_run_info(run_id, RunStatus.FAILED, 1_700_000_001_000, None)
    assert tracking.update_run_info(run_id, RunStatus.RUNNING, None, None).status == "RUNNING"
    tracking.log_metric(run_id, metric("a", 2.0, step=2))
    assert tracking.get_run(run_id).info.status == "RUNNING"
    tracking.update_run_info(run_id, RunStatus.FINISHED, 1_700_000_002_000, None)
    run = tracking.get_run(run_id)
    assert (run.info.status, run.info.end_time, run.data.metrics) == ("FINISHED", 1_700_000_002_000, {"a": 2.0})


def test_a_resumed_run_has_no_end(tracking: Any, kind: str) -> None:
    run_id = new_run(tracking)
    tracking.update_run_info(run_id, RunStatus.FAILED, 1_700_000_001_000, None)
    tracking.update_run_info(run_id, RunStatus.RUNNING, None, None)
    # the SQL store keeps the end of before
    assert tracking.get_run(run_id).info.end_time == (None if kind == "mltrack" else 1_700_000_001_000)


def test_a_scheduled_run_stays_scheduled_until_it_runs(tracking: Any) -> None:
    run_id = new_run(tracking)
    tracking.update_run_info(run_id, RunStatus.SCHEDULED, None, None)
    tracking.log_metric(run_id, metric("a", 1.0))
    assert tracking.get_run(run_id).info.status == "SCHEDULED"
    tracking.update_run_info(run_id, RunStatus.RUNNING, None, None)
    assert tracking.get_run(run_id).info.status == "RUNNING"


def test_the_end_time_can_be_set_alone(tracking: Any) -> None:
    run_id = new_run(tracking)
    tracking.update_run_info(run_id, RunStatus.FINISHED, 1_700_000_001_000, None)
    assert tracking.update_run_info(run_id, None, 1_700_000_009_000, None).status == "FINISHED"
    assert tracking.get_run(run_id).info.end_time == 1_700_000_009_000
    tracking.update_run_info(run_id, RunStatus.KILLED, None, None)
    assert tracking.get_run(run_id).info.end_time == 1_700_000_009_000


def test_times_in_nanoseconds_are_refused_and_change_nothing(tmp_path: Path) -> None:
    tracking = TrackingStore(f"mltrack://{Store.create(tmp_path / 'store').path}")
    with raises("INVALID_PARAMETER_VALUE", "milliseconds"):
        tracking.create_run("0", "me", 1_700_000_000_000_000_000, [], None)
    assert list((tmp_path / "store" / "runs").glob("*")) == []
    run_id = new_run(tracking)
    with raises("INVALID_PARAMETER_VALUE", "milliseconds"):
        tracking.update_run_info(run_id, RunStatus.FINISHED, 1_700_000_000_000_000_000, "renamed")
    assert tracking.get_run(run_id).info.status == "RUNNING"
    assert tracking.get_run(run_id).info.run_name != "renamed"
    assert check_store(tmp_path / "store").sound


def test_a_run_is_renamed_in_three_ways(tracking: Any) -> None:
    run_id = new_run(tracking)
    assert tracking.update_run_info(run_id, None, None, "one").run_name == "one"
    assert tracking.get_run(run_id).data.tags["mlflow.runName"] == "one"
    tracking.set_tag(run_id, RunTag("mlflow.runName", "two"))
    assert tracking.get_run(run_id).info.run_name == "two"
    tracking.log_batch(run_id, [], [], [RunTag("mlflow.runName", "three"), RunTag("a", "b")])
    run = tracking.get_run(run_id)
    assert (run.info.run_name, run.data.tags) == ("three", {"mlflow.runName": "three", "a": "b"})
    tracking.update_run_info(run_id, None, None, "")
    assert tracking.get_run(run_id).info.run_name == "three"


def test_a_deleted_run_refuses_everything_until_it_is_restored(tracking: Any) -> None:
    run_id = new_run(tracking)
    tracking.log_metric(run_id, metric("a", 1.0))
    tracking.delete_run(run_id)
    tracking.delete_run(run_id)
    assert tracking.get_run(run_id).info.lifecycle_stage == "deleted"
    calls: list[Callable[[], Any]] = [
        lambda: tracking.update_run_info(run_id, RunStatus.FINISHED, 1, None),
        lambda: tracking.log_metric(run_id, metric("a", 2.0)),
        lambda: tracking.log_param(run_id, Param("a", "1")),
        lambda: tracking.set_tag(run_id, RunTag("a", "1")),
        lambda: tracking.delete_tag(run_id, "mlflow.runName"),
        lambda: tracking.log_batch(run_id, [metric("a", 2.0)], [], []),
        lambda: tracking.log_inputs(run_id, []),
        lambda: tracking.log_outputs(run_id, []),
        lambda: tracking.record_logged_model(run_id, Model(artifact_path="m", run_id=run_id)),
    ]
    for call in calls:
        with raises("INVALID_PARAMETER_VALUE", match="active"):
            call()
    tracking.restore_run(run_id)
    tracking.log_metric(run_id, metric("a", 3.0, step=1))
    run = tracking.get_run(run_id)
    assert (run.info.lifecycle_stage, run.info.status, run.data.metrics) == ("active", "RUNNING", {"a": 3.0})


def test_deleted_runs_are_removed_permanently(tracking: Any) -> None:
    kept, gone = new_run(tracking), new_run(tracking)
    tracking.log_metric(gone, metric("a", 1.0))
    assert tracking._get_deleted_runs() == []
    tracking.delete_run(gone)
    assert tracking._get_deleted_runs() == [gone]
    assert tracking._get_deleted_runs(older_than=3_600_000) == []
    tracking._hard_delete_run(gone)
    assert tracking._get_deleted_runs() == []
    assert tracking.get_metric_history(gone, "a") == []
    with raises("RESOURCE_DOES_NOT_EXIST"):
        tracking.get_run(gone)
    with raises("RESOURCE_DOES_NOT_EXIST"):
        tracking.log_metric(gone, metric("a", 1.0))
    assert [run.info.run_id for run in tracking.search_runs(["0"], "", ViewType.ALL)] == [kept]


# --- params and tags ---


def test_a_param_keeps_its_first_value(tracking: Any) -> None:
    run_id = new_run(tracking)
    tracking.log_param(run_id, Param("lr", "0.1"))
    tracking.log_param(run_id, Param("lr", "0.1"))
    tracking.log_param(run_id, Param("empty", ""))
    with raises("INVALID_PARAMETER_VALUE", match="Changing param values"):
        tracking.log_param(run_id, Param("lr", "0.2"))
    assert tracking.get_run(run_id).data.params == {"lr": "0.1", "empty": ""}


@pytest.mark.parametrize("key", [None, "", "a//b", "/a", "../a", "a%b", "a@b", "x" * 251, "."])
def test_an_invalid_name_is_refused_everywhere(tracking: Any, key: Any) -> None:
    run_id = new_run(tracking)
    calls: list[Callable[[], Any]] = [
        lambda: tracking.log_param(run_id, Param(key, "1")),
        lambda: tracking.set_tag(run_id, RunTag(key, "1")),
        lambda: tracking.log_metric(run_id, metric(key, 1.0)),
        lambda: tracking.log_batch(run_id, [metric(key, 1.0)], [], []),
        lambda: tracking.log_batch(run_id, [], [Param(key, "1")], []),
        lambda: tracking.log_batch(run_id, [], [], [RunTag(key, "1")]),
    ]
    for call in calls:
        with raises("INVALID_PARAMETER_VALUE"):
            call()
    assert set(tracking.get_run(run_id).data.tags) == {"mlflow.runName"}


@pytest.mark.parametrize("key", ["größe", "模型/acc", "a b:c.d-e_f/g"])
def test_names_of_any_letters_are_accepted(tracking: Any, key: str) -> None:
    run_id = new_run(tracking)
    tracking.log_batch(run_id, [metric(key, 1.0)], [Param(key, "größe\n模型")], [RunTag(key, "x\ty")])
    data = tracking.get_run(run_id).data
    assert (data.metrics, data.params, data.tags[key]) == ({key: 1.0}, {key: "größe\n模型"}, "x\ty")


def test_long_values_are_cut_or_refused_as_mlflow_is_set(tracking: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = new_run(tracking)
    tracking.log_batch(run_id, [], [Param("p", "x" * 6_001)], [RunTag("t", "x" * 8_001)])
    data = tracking.get_run(run_id).data
    assert (len(data.params["p"]), len(data.tags["t"])) == (6_000, 8_000)
    monkeypatch.setenv("MLFLOW_TRUNCATE_LONG_VALUES", "false")
    with raises("INVALID_PARAMETER_VALUE"):
        tracking.log_param(run_id, Param("q", "x" * 6_001))
    with raises("INVALID_PARAMETER_VALUE"):
        tracking.set_tag(run_id, RunTag("u", "x" * 8_001))


def test_tags_are_changed_and_deleted(tracking: Any) -> None:
    run_id = new_run(tracking, a="1")
    tracking.set_tag(run_id, RunTag("a", "2"))
    tracking.set_tag(run_id, RunTag("b", ""))
    assert tracking.get_run(run_id).data.tags.items() >= {"a": "2", "b": ""}.items()
    tracking.delete_tag(run_id, "a")
    assert "a" not in tracking.get_run(run_id).data.tags
    with raises("RESOURCE_DOES_NOT_EXIST"):
        tracking.delete_tag(run_id, "a")


# --- batches ---


def test_a_batch_logs_everything(tracking: Any) -> None:
    run_id = new_run(tracking)
    tracking.log_batch(
        run_id,
        [metric("loss", 0.5, step=1), metric("loss", 0.25, step=2), metric("acc", 0.9)],
        [Param("lr", "0.1"), Param("opt", "adam")],
        [RunTag("a", "1"), RunTag("a", "2")],
    )
    data = tracking.get_run(run_id).data
    assert data.metrics == {"loss": 0.25, "acc": 0.9}
    assert data.params == {"lr": "0.1", "opt": "adam"}
    assert data.tags["a"] == "2"


@pytest.mark.parametrize(
    ("metrics", "params", "tags"), [(1_001, 0, 0), (0, 101, 0), (0, 0, 101), (901, 100, 0)], ids=str
)
def test_a_batch_has_a_limit_and_then_nothing_is_logged(tracking: Any, metrics: int, params: int, tags: int) -> None:
    run_id = new_run(tracking)
    with raises("INVALID_PARAMETER_VALUE"):
        tracking.log_batch(
            run_id,
            [metric(f"m{n}", 1.0) for n in range(metrics)],
            [Param(f"p{n}", "1") for n in range(params)],
            [RunTag(f"t{n}", "1") for n in range(tags)],
        )
    data = tracking.get_run(run_id).data
    assert (data.metrics, data.params, set(data.tags)) == ({}, {}, {"mlflow.runName"})


def test_a_batch_with_anything_wrong_in_it_logs_nothing(tracking: Any) -> None:
    run_id = new_run(tracking)
    tracking.log_param(run_id, Param("lr", "0.1"))
    good = metric("a", 1.0)
    bad: Any = Metric  # called with what it is not made for
    for metrics, params, tags in (
        ([good, bad("b", "x", 0, 0)], [], []),
        ([good, bad("b", None, 0, 0)], [], []),
        ([good, bad("b", True, 0, 0)], [], []),
        ([good, bad("b", 1.0, -1, 0)], [], []),
        ([good, bad("b", 1.0, None, 0)], [], []),
        ([good, bad("b", 1.0, 0, None)], [], []),
        ([good, bad("b", 1.0, 0, "1")], [], []),
        ([good], [Param("p", "1"), Param("lr", "0.2")], []),
        ([good], [Param("p", "1"), Param("p", "2")], []),
        ([good], [Param("p", "1"), Param("p", "1")], []),
        ([good], [Param("p", "1")], [RunTag("a%", "1")]),
    ):
        with raises("INVALID_PARAMETER_VALUE"):
            tracking.log_batch(run_id, metrics, params, tags)
    data = tracking.get_run(run_id).data
    assert (data.metrics, data.params, set(data.tags)) == ({}, {"lr": "0.1"}, {"mlflow.runName"})


def test_an_invalid_run_id_is_refused_by_a_batch(tracking: Any) -> None:
    with raises("INVALID_PARAMETER_VALUE"):
        tracking.log_batch("/", [], [], [])


def test_numbers_of_other_types_are_accepted(tracking: Any) -> None:
    import numpy as np

    run_id = new_run(tracking)
    tracking.log_batch(run_id, [Metric("a", 3, 1, 2), Metric("b", np.float64(0.5), 1, 2)], [], [])
    tracking.log_metric(run_id, Metric("c", 7, 1, 2))
    assert tracking.get_run(run_id).data.metrics == {"a": 3.0, "b": 0.5, "c": 7.0}


def test_the_latest_point_is_the_greatest_by_step_then_time_then_value(tracking: Any) -> None:
    run_id = new_run(tracking)
    tracking.log_batch(run_id, [metric("a", 9.0, 1, 5), metric("a", 1.0, 2, 1), metric("a", 5.0, -3, 9)], [], [])
    tracking.log_metric(run_id, metric("b", 1.0, 1, 2))
    tracking.log_metric(run_id, metric("b", 9.0, 1, 1))
    tracking.log_metric(run_id, metric("c", 9.0, 1, 1))
    tracking.log_metric(run_id, metric("c", 1.0, 1, 1))
    data = tracking.get_run(run_id).data
    assert data.metrics == {"a": 1.0, "b": 1.0, "c": 9.0}
    assert {(m.key, m.step, m.timestamp) for m in data._metric_objs} == {("a", 2, 1), ("b", 1, 2), ("c", 1, 1)}


def test_a_non_finite_metric_is_kept(tracking: Any) -> None:
    run_id = new_run(tracking)
    tracking.log_metric(run_id, metric("nan", math.nan))
    assert math.isnan(tracking.get_run(run_id).data.metrics["nan"])


# --- models, inputs and outputs ---


def test_a_model_is_recorded_in_a_tag(tracking: Any) -> None:
    run_id = new_run(tracking)
    for path in ("one", "two"):
        tracking.record_logged_model(run_id, Model(artifact_path=path, run_id=run_id))
    noted = json.loads(tracking.get_run(run_id).data.tags["mlflow.log-model.history"])
    assert [model["artifact_path"] for model in noted] == ["one", "two"]
    with pytest.raises(TypeError):
        tracking.record_logged_model(run_id, {"artifact_path": "three"})


def dataset(name: str, digest: str = "d1", **tags: str) -> DatasetInput:
    about = Dataset(name, digest, "http", '{"url": "http://x"}', schema='{"a": 1}', profile='{"rows": 3}')
    return DatasetInput(about, [InputTag(*tag) for tag in tags.items()])


def test_datasets_are_inputs_of_a_run(tracking: Any) -> None:
    run_id = new_run(tracking)
    used = [dataset("train", **{"mlflow.data.context": "training"}), dataset("test"), dataset("train", context="again")]
    tracking.log_inputs(run_id, used)
    tracking.log_inputs(run_id, [dataset("train", context="later"), dataset("train", "d2")])
    inputs = {(d.dataset.name, d.dataset.digest): d for d in tracking.get_run(run_id).inputs.dataset_inputs}
    assert set(inputs) == {("train", "d1"), ("test", "d1"), ("train", "d2")}
    first = inputs["train", "d1"]
    assert [(tag.key, tag.value) for tag in first.tags] == [("mlflow.data.context", "training")]
    assert first.dataset == used[0].dataset
    (found,) = tracking.search_runs(["0"], "", ViewType.ALL)
    assert {d.dataset.name for d in found.inputs.dataset_inputs} == {"train", "test"}


def test_an_invalid_dataset_is_refused(tracking: Any) -> None:
    run_id = new_run(tracking)
    nothing: Any = None
    for bad in (
        DatasetInput(nothing, []),
        dataset("x" * 501),
        dataset("x", "d" * 37),
        DatasetInput(Dataset("x", "d", nothing, "s"), []),
        dataset("x", **{"k" * 256: "v"}),
        dataset("x", k="v" * 501),
    ):
        with raises("INVALID_PARAMETER_VALUE"):
            tracking.log_inputs(run_id, [bad])
    with pytest.raises(TypeError):
        tracking.log_inputs(run_id, dataset("x"))
    assert tracking.get_run(run_id).inputs.dataset_inputs == []


def test_datasets_of_experiments_are_listed(tracking: Any) -> None:
    other = tracking.create_experiment("other")
    for experiment_id in ("0", "0", other):
        run_id = new_run(tracking, experiment_id)
        tracking.log_inputs(run_id, [dataset("train", **{"mlflow.data.context": "training"}), dataset("test")])
    listed = tracking._search_datasets(["0"])
    assert {(d.experiment_id, d.name, d.digest, d.context) for d in listed} == {
        ("0", "train", "d1", "training"),
        ("0", "test", "d1", None),
    }
    assert len(listed) == 2
    assert len(tracking._search_datasets(["0", other])) == 4
    assert tracking._search_datasets(["77"]) == tracking._search_datasets([]) == []


def test_models_are_inputs_and_outputs_of_a_run(tracking: Any) -> None:
    run_id = new_run(tracking)
    ids = [f"m-{n:032x}" for n in range(3)]
    tracking.log_inputs(run_id, models=[LoggedModelInput(ids[0])])
    tracking.log_outputs(run_id, [LoggedModelOutput(ids[1], step=3), LoggedModelOutput(ids[2], step=4)])
    run = tracking.get_run(run_id)
    assert [model.model_id for model in run.inputs.model_inputs] == ids[:1]
    assert {(model.model_id, model.step) for model in run.outputs.model_outputs} == {(ids[1], 3), (ids[2], 4)}


def test_the_same_output_twice_is_once(tracking: Any, kind: str) -> None:
    run_id = new_run(tracking)
    output = LoggedModelOutput("m-" + "1" * 32, step=3)
    tracking.log_outputs(run_id, [output])
    if kind == "mltrack":  # the SQL store refuses it
        tracking.log_outputs(run_id, [output])
    else:
        with raises("BAD_REQUEST"):
            tracking.log_outputs(run_id, [output])
    assert len(tracking.get_run(run_id).outputs.model_outputs) == 1


# --- what lies under it ---


def test_a_store_is_made_only_in_a_folder_that_exists(tmp_path: Path) -> None:
    with pytest.raises(MlflowException, match="there is no folder"):
        TrackingStore(f"mltrack://{tmp_path}/no/such/place/.mltrack")
    assert list(tmp_path.iterdir()) == []
    assert TrackingStore(f"mltrack://{tmp_path}/.mltrack").get_experiment("0").name == "Default"


def test_a_moved_store_keeps_working(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    store = TrackingStore(f"mltrack://{tmp_path}/one/.mltrack")
    run_id = new_run(store)
    store.log_metric(run_id, metric("a", 1.0))
    run_pool.of(store._store).close_all()
    (tmp_path / "one").rename(tmp_path / "two")

    moved = TrackingStore(f"mltrack://{tmp_path}/two/.mltrack")
    moved.log_metric(run_id, metric("a", 2.0, step=1))
    run = moved.get_run(run_id)
    assert run.info.artifact_uri == f"{tmp_path}/two/.mltrack/runs/{run_id}/artifacts"
    assert (run.data.metrics, run.info.status) == ({"a": 2.0}, "RUNNING")
    assert moved.get_experiment("0").artifact_location.startswith(f"{tmp_path}/two/")
    run_pool.of(moved._store).close_all()


def test_a_deleted_run_is_removed_once_other_processes_have_released_it(tmp_path: Path) -> None:
    store = TrackingStore(f"mltrack://{tmp_path}/.mltrack")
    other = RunPool(store._store.layout)  # as in a worker of a server
    start = {"run_name": "one", "experiment_id": "0", "experiment_name": "Default", "start_time": 1}
    run_id = other.create(start)
    store.delete_run(run_id)
    removing = threading.Thread(target=store._hard_delete_run, args=(run_id,))
    removing.start()
    other.pulse()
    removing.join()
    assert not (tmp_path / ".mltrack" / "runs" / run_id).exists()


def test_a_live_run_that_is_not_deleted_is_not_removed_and_stays_unchanged(tmp_path: Path) -> None:
    store = TrackingStore(f"mltrack://{tmp_path}/.mltrack")
    other = RunPool(store._store.layout)
    run_id = other.create({"run_name": "one", "experiment_id": "0", "experiment_name": "Default", "start_time": 1})
    with raises("INVALID_PARAMETER_VALUE"):
        store._hard_delete_run(run_id)
    assert store.get_run(run_id).info.lifecycle_stage == "active"
    other.close_all()


def test_what_mltrack_records_shows_in_mlflow_and_the_reverse(tmp_path: Path) -> None:
    store = TrackingStore(f"mltrack://{tmp_path}/.mltrack")
    mltrack.set_store(tmp_path / ".mltrack")
    with mltrack.start_run() as run:
        run.log_metric("loss", 0.5, step=3)
        run.log_param("lr", 0.1)
        store.log_metric(run.run_id, metric("acc", 0.9))  # an edit by the side: the run is the other's
    found = store.get_run(run.run_id)
    assert found.data.metrics == {"loss": 0.5, "acc": 0.9}
    assert (found.info.status, found.data.params) == ("FINISHED", {"lr": "0.1"})
    run_pool.of(store._store).close_all()
    native = mltrack.get_run(run.run_id)
    mltrack.set_store(None)
    assert native.data.metrics == {"loss": 0.5, "acc": 0.9}
    assert native.info.status == "FINISHED"
