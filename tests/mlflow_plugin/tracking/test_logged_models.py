"""Logged models through MLflow's interface: made, changed, deleted, and refused as by MLflow's SQL store."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import LoggedModel, Metric
from mlflow.entities.logged_model_parameter import LoggedModelParameter
from mlflow.entities.logged_model_status import LoggedModelStatus
from mlflow.entities.logged_model_tag import LoggedModelTag
from mlflow.exceptions import MlflowException

from mltrack.mlflow_plugin.tracking import TrackingStore

NO_MODEL = "m-" + "0" * 32


def tags(**entries: str) -> list[LoggedModelTag]:
    return [LoggedModelTag(*entry) for entry in entries.items()]


def params(**entries: str) -> list[LoggedModelParameter]:
    return [LoggedModelParameter(*entry) for entry in entries.items()]


def refused(code: str, call: Callable[..., Any], *args: Any, **options: Any) -> None:
    with pytest.raises(MlflowException) as error:
        call(*args, **options)
    assert error.value.error_code == code


@pytest.fixture
def model(tracking: Any) -> Any:
    return tracking.create_logged_model("0", "spirals", None, tags(a="1"), params(p="1"), "agent")


@pytest.fixture
def run_id(tracking: Any) -> str:
    return str(tracking.create_run("0", "me", 0, [], "r").info.run_id)


@pytest.fixture
def ours(tmp_path: Path) -> Any:
    """An empty mltrack store."""
    return TrackingStore(f"mltrack://{tmp_path}/.mltrack")


def log(tracking: Any, run_id: str, *metrics: Metric) -> None:
    tracking._log_model_metrics(run_id=run_id, experiment_id="0", metrics=list(metrics))


def contents(model: LoggedModel) -> list[tuple[Any, ...]]:
    found = [(m.key, m.value, m.timestamp, m.step, m.run_id, m.dataset_name, m.model_id) for m in model.metrics or ()]
    return sorted(found, key=str)


# --- making and looking ---


def test_a_model_is_returned_as_created(tracking: Any, model: LoggedModel) -> None:
    assert (model.name, model.experiment_id, model.model_type) == ("spirals", "0", "agent")
    assert (model.status, model.status_message) == (LoggedModelStatus.PENDING, None)
    assert (model.tags, model.params, model.metrics) == ({"a": "1"}, {"p": "1"}, None)
    assert model.model_uri == f"models:/{model.model_id}"
    assert model.model_id.startswith("m-") and len(model.model_id) == 34
    assert model.artifact_location.endswith(f"/models/{model.model_id}/artifacts")
    assert model.creation_timestamp == model.last_updated_timestamp
    assert dict(tracking.get_logged_model(model.model_id)) == dict(model)


def test_a_model_needs_only_an_experiment(tracking: Any, run_id: str) -> None:
    model = tracking.create_logged_model("0")
    assert model.name.count("-") == 2
    assert (model.model_type, model.source_run_id, model.tags, model.params) == (None, None, {}, {})
    assert tracking.create_logged_model("0", source_run_id=run_id).source_run_id == run_id
    assert tracking.create_logged_model("0", "twice").model_id != tracking.create_logged_model("0", "twice").model_id


def test_an_invalid_model_is_refused(tracking: Any) -> None:
    create = tracking.create_logged_model
    for name in ("", "a/b", "a:b", "a.b", "a%b", 'a"b', "a'b"):
        refused("INVALID_PARAMETER_VALUE", create, "0", name)
    refused("RESOURCE_DOES_NOT_EXIST", create, "999")
    refused("INVALID_PARAMETER_VALUE", create, "none")
    refused("BAD_REQUEST", create, "0", tags=tags(a="1") + tags(a="2"))
    refused("BAD_REQUEST", create, "0", params=params(a="1") + params(a="1"))
    refused("BAD_REQUEST", create, "0", params=[LoggedModelParameter("a", None)])  # type: ignore[arg-type]
    gone = tracking.create_experiment("gone")
    tracking.delete_experiment(gone)
    refused("INVALID_PARAMETER_VALUE", create, gone)
    assert tracking.search_logged_models(["0", gone]) == []


def test_a_missing_model_is_refused_by_every_call(tracking: Any) -> None:
    for model_id in (NO_MODEL, "m-x", "../runs"):
        for call, *more in [
            (tracking.get_logged_model,),
            (tracking.delete_logged_model,),
            (tracking._hard_delete_logged_model,),
            (tracking.finalize_logged_model, LoggedModelStatus.READY),
            (tracking.set_logged_model_tags, tags(a="1")),
            (tracking.delete_logged_model_tag, "a"),
            (tracking.log_logged_model_params, params(a="1")),
        ]:
            refused("RESOURCE_DOES_NOT_EXIST", call, model_id, *more)


# --- changing ---


def test_a_model_can_be_finalized_repeatedly(tracking: Any, model: LoggedModel) -> None:
    for status in (LoggedModelStatus.READY, LoggedModelStatus.FAILED, LoggedModelStatus.UNSPECIFIED):
        found = tracking.finalize_logged_model(model.model_id, status)
        assert found.status == tracking.get_logged_model(model.model_id).status == status
        assert found.last_updated_timestamp >= model.last_updated_timestamp
        assert found.creation_timestamp == model.creation_timestamp


def test_tags_are_changed_and_deleted(tracking: Any, model: LoggedModel) -> None:
    tracking.set_logged_model_tags(model.model_id, tags(a="2", b="x") + tags(b="größe 模型"))
    tracking.set_logged_model_tags(model.model_id, [])
    tracking.set_logged_model_tags(model.model_id, [LoggedModelTag("n", 5)])  # type: ignore[arg-type]
    assert tracking.get_logged_model(model.model_id).tags == {"a": "2", "b": "größe 模型", "n": "5"}
    tracking.delete_logged_model_tag(model.model_id, "a")
    assert tracking.get_logged_model(model.model_id).tags == {"b": "größe 模型", "n": "5"}
    refused("RESOURCE_DOES_NOT_EXIST", tracking.delete_logged_model_tag, model.model_id, "a")
    refused("BAD_REQUEST", tracking.set_logged_model_tags, model.model_id, [LoggedModelTag("a", None)])  # type: ignore[arg-type]


def test_params_are_added_once_and_all_or_none(tracking: Any, model: LoggedModel) -> None:
    add = tracking.log_logged_model_params
    add(model.model_id, params(q="2", r="3"))
    add(model.model_id, [])
    refused("BAD_REQUEST", add, model.model_id, params(p="1"))
    refused("BAD_REQUEST", add, model.model_id, params(s="1", p="2"))
    refused("BAD_REQUEST", add, model.model_id, params(s="1") + params(s="1"))
    refused("BAD_REQUEST", add, model.model_id, [LoggedModelParameter("t", None)])  # type: ignore[arg-type]
    assert tracking.get_logged_model(model.model_id).params == {"p": "1", "q": "2", "r": "3"}


def test_a_model_version_is_recorded_at_its_model(tracking: Any, model: LoggedModel) -> None:
    tracking.set_model_versions_tags("registered", "1", model.model_id)
    tracking.set_model_versions_tags("registered", "2", model.model_id)
    found = json.loads(tracking.get_logged_model(model.model_id).tags["mlflow.modelVersions"])
    assert found == [{"name": "registered", "version": number} for number in ("1", "2")]


# --- deleting ---


def test_a_deleted_model_is_hidden_but_can_be_changed(tracking: Any, model: LoggedModel, run_id: str) -> None:
    model_id = model.model_id
    tracking.delete_logged_model(model_id)
    tracking.delete_logged_model(model_id)
    refused("RESOURCE_DOES_NOT_EXIST", tracking.get_logged_model, model_id)
    assert tracking.search_logged_models(["0"]) == []
    tracking.set_logged_model_tags(model_id, tags(b="2"))
    log(tracking, run_id, Metric("acc", 1.0, 1, 0, model_id))
    assert tracking.finalize_logged_model(model_id, LoggedModelStatus.READY).status == LoggedModelStatus.READY
    found = tracking.get_logged_model(model_id, allow_deleted=True)
    assert (found.tags, len(found.metrics)) == ({"a": "1", "b": "2"}, 1)


def test_deleted_models_are_listed_by_age_and_removed_permanently(tracking: Any, model: LoggedModel) -> None:
    kept = tracking.create_logged_model("0", "kept").model_id
    assert tracking._get_deleted_logged_models() == []
    tracking.delete_logged_model(model.model_id)
    assert tracking._get_deleted_logged_models() == [model.model_id]
    assert tracking._get_deleted_logged_models(older_than=1_000_000_000) == []
    tracking._hard_delete_logged_model(model.model_id)
    assert tracking._get_deleted_logged_models() == []
    refused("RESOURCE_DOES_NOT_EXIST", tracking.get_logged_model, model.model_id, allow_deleted=True)
    tracking._hard_delete_logged_model(kept)
    refused("RESOURCE_DOES_NOT_EXIST", tracking.get_logged_model, kept, allow_deleted=True)


def test_models_are_removed_with_their_experiment_only_when_it_is_removed_permanently(tracking: Any) -> None:
    experiment_id = tracking.create_experiment("short-lived")
    model_id = tracking.create_logged_model(experiment_id, "m").model_id
    kept = tracking.create_logged_model("0", "kept").model_id
    tracking.delete_experiment(experiment_id)
    assert tracking.get_logged_model(model_id).name == "m"
    tracking._hard_delete_experiment(experiment_id)
    refused("RESOURCE_DOES_NOT_EXIST", tracking.get_logged_model, model_id, allow_deleted=True)
    assert tracking.get_logged_model(kept).name == "kept"


# --- metrics ---


def test_a_model_has_all_metrics_that_name_it(tracking: Any, model: LoggedModel, run_id: str) -> None:
    model_id = model.model_id
    other = tracking.create_logged_model("0", "other").model_id
    log(
        tracking,
        run_id,
        Metric("acc", 0.5, 10, 0, model_id),
        Metric("acc", 0.6, 20, 1, model_id, "train", "d1"),
        Metric("loss", -1.5, 10, -3, model_id),
        Metric("elsewhere", 1.0, 10, 0, other),
        Metric("only of the run", 1.0, 10, 0),
    )
    log(tracking, run_id)
    found = tracking.get_logged_model(model_id)
    assert contents(found) == [
        ("acc", 0.5, 10, 0, run_id, None, model_id),
        ("acc", 0.6, 20, 1, run_id, "train", model_id),
        ("loss", -1.5, 10, -3, run_id, None, model_id),
    ]
    assert contents(found) == contents(tracking.search_logged_models(["0"], "name = 'spirals'")[0])
    assert [metric[0] for metric in contents(tracking.get_logged_model(other))] == ["elsewhere"]


def test_a_metric_logged_again_counts_once_and_cannot_change(tracking: Any, model: LoggedModel, run_id: str) -> None:
    model_id = model.model_id
    metric = Metric("acc", 0.5, 10, 0, model_id)
    log(tracking, run_id, metric, metric)
    log(tracking, run_id, metric, Metric("new", 1.0, 10, 0, model_id))
    refused("BAD_REQUEST", log, tracking, run_id, Metric("acc", 0.6, 10, 0, model_id))
    refused("BAD_REQUEST", log, tracking, run_id, Metric("acc", 0.5, 10, 0, model_id, "train", "d1"))
    refused("BAD_REQUEST", log, tracking, run_id, Metric("b", 1.0, 10, 0, model_id), Metric("b", 2.0, 10, 0, model_id))
    assert [metric[:2] for metric in contents(tracking.get_logged_model(model_id))] == [("acc", 0.5), ("new", 1.0)]


def test_an_invalid_metric_is_refused(tracking: Any, model: LoggedModel, run_id: str) -> None:
    refused("BAD_REQUEST", log, tracking, run_id, Metric("acc", 1.0, 1, 0, NO_MODEL))
    for metric in (
        Metric("a@b", 1.0, 1, 0, model.model_id),
        Metric("acc", "high", 1, 0, model.model_id),  # type: ignore[arg-type]
        Metric("acc", 1.0, -1, 0, model.model_id),
        Metric("acc", 1.0, 1, "x", model.model_id),  # type: ignore[arg-type]
    ):
        refused("INVALID_PARAMETER_VALUE", log, tracking, run_id, metric)
    assert tracking.get_logged_model(model.model_id).metrics is None


def test_metrics_of_a_run_reach_their_model_by_every_call(tracking: Any, model: LoggedModel, run_id: str) -> None:
    tracking.log_metric(run_id, Metric("one", 1.0, 10, 0, model.model_id))
    tracking.log_batch(run_id, [Metric("two", 2.0, 10, 0, model.model_id), Metric("three", 3.0, 10, 0)], [], [])
    found = contents(tracking.get_logged_model(model.model_id))
    assert [(key, value) for key, value, *_ in found] == [("one", 1.0), ("two", 2.0)]
    assert [m.value for key in ("one", "two", "three") for m in tracking.get_metric_history(run_id, key)] == [1, 2, 3]


# --- where we differ on purpose ---


def test_nan_and_infinities_are_kept(ours: Any) -> None:
    """MLflow's SQL store makes them 0 and the greatest float."""
    model_id = ours.create_logged_model("0").model_id
    for step, value in enumerate((math.nan, math.inf, -math.inf, -0.0)):
        log(ours, "5f0c" * 8, Metric("m", value, 1, step, model_id))
    log(ours, "5f0c" * 8, Metric("m", math.nan, 1, 0, model_id))
    values = [metric.value for metric in ours.get_logged_model(model_id).metrics]
    assert str(values) == "[nan, inf, -inf, -0.0]"


def test_artifact_locations_follow_a_moved_store(ours: Any, tmp_path: Path) -> None:
    model = ours.create_logged_model("0", "spirals")
    shutil.move(tmp_path / ".mltrack", tmp_path / "moved")
    found = TrackingStore(f"mltrack://{tmp_path}/moved").get_logged_model(model.model_id)
    assert found.artifact_location == f"{tmp_path}/moved/models/{model.model_id}/artifacts"
    assert found.name == "spirals"
