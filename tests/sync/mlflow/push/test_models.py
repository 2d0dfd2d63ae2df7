"""Logged models pushed to an MLflow server: each there once, with its files, params, tags, metrics and versions."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import mlflow
import pytest

import mltrack
from mltrack.entities import DELETED, ModelMetric
from mltrack.store import Store
from mltrack_sync import Selection
from tests.support.mlflow_recording import log_adder, mlflow_on, uri_of
from tests.support.model_recording import put_file
from tests.support.pair import Pair
from tests.support.proxy import Answer, Cut, Fault, LoseAnswer, Seen
from tests.support.server import MlflowServer
from tests.support.syncers import Syncers

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's and its libraries', not ours


def record(store: Store, *, name: str = "net", metrics: int = 3, source: str | None = None) -> tuple[str, str]:
    """A run, and a model it made; returns their ids."""
    with mltrack.start_run(source) as run:
        for step in range(metrics):
            mltrack.log_metric("acc", step / 8, step=step)
    models = store.logged_models
    made = models.create(
        store.run(run.run_id).info.experiment_id,
        name,
        model_type="agent",
        source_run_id=run.run_id,
        tags={"team": "vision"},
        params={"depth": "3"},
    )
    points = [(i / 8, i, 1_700_000_000_000 + i) for i in range(metrics)]
    models.log_metrics(
        made.model_id,
        [ModelMetric("acc", value, step, ms, run.run_id, "train", "abc") for value, step, ms in points],
    )
    models.log_params(made.model_id, {"width": "4"})
    put_file(store, made.model_id, "weights/w.bin", b"\0" * 1000)
    put_file(store, made.model_id, "notes.txt", made.model_id.encode())
    models.set_status(made.model_id, "READY")
    return run.run_id, made.model_id


def models_there(server: MlflowServer, experiment: str) -> dict[str, dict[str, Any]]:
    """The models of an experiment, by the id they have here; more than one for an id fails."""
    asked = {"experiment_ids": [server.experiment_id(experiment)], "max_results": 100}
    found: dict[str, dict[str, Any]] = {}
    for model in server.post("logged-models/search", **asked).get("models", []):
        mine = texts(model["info"], "tags")["mltrack.model_id"]
        assert mine not in found, "twice"
        found[mine] = model
    return found


def texts(fields: dict[str, Any], name: str) -> dict[str, str]:
    pairs = fields.get(name, [])
    assert len({pair["key"] for pair in pairs}) == len(pairs)
    return {pair["key"]: pair.get("value", "") for pair in pairs}


def assert_models_equal(pair: Pair) -> None:
    """Every model that is not deleted is there once, with equal contents."""
    there, runs = models_there(pair.server, pair.experiment), pair.server.runs(pair.experiment)
    names = {each.experiment_id: each.name for each in pair.store.experiments()}
    here = {m.model_id: m for m in pair.store.logged_models.models() if names[m.experiment_id] == pair.experiment}
    here = {model_id: model for model_id, model in here.items() if model.lifecycle_stage != DELETED}
    assert there.keys() == here.keys()
    for model_id, model in here.items():
        info, data = there[model_id]["info"], there[model_id].get("data", {})
        assert (info["name"], info.get("model_type", "")) == (model.name, model.model_type or "")
        assert info["source_run_id"] == runs[str(model.source_run_id)]["info"]["run_id"]
        assert info["status"] == {"READY": "LOGGED_MODEL_READY", "PENDING": "LOGGED_MODEL_PENDING"}.get(
            model.status, "LOGGED_MODEL_UPLOAD_FAILED"
        )
        tags = texts(info, "tags")
        tags.pop("mlflow.modelVersions", None)
        assert tags == {**model.tags, "mltrack.model_id": model_id}
        assert texts(data, "params") == model.params
        metrics = [
            (m["key"], m["value"], int(m.get("step", 0)), int(m["timestamp"]), m["run_id"], m.get("dataset_name"))
            for m in data.get("metrics", [])
        ]
        assert sorted(metrics) == sorted(
            (m.key, m.value, m.step, m.time, runs[m.run_id]["info"]["run_id"], m.dataset_name) for m in model.metrics
        )
        for artifact in model.artifacts:
            content = (pair.store.logged_models.folder(model_id).artifacts / artifact.path).read_bytes()
            assert file_there(pair.server, info, artifact.path) == content


def file_there(server: MlflowServer, info: dict[str, Any], path: str) -> bytes:
    return server.artifact({"info": {"artifact_uri": info["artifact_uri"]}}, path)


def test_a_model_arrives_with_all_its_data_and_follows_changes(pair: Pair) -> None:
    run_id, model_id = record(pair.store)
    foreseen = pair.push(dry_run=True)
    assert foreseen.logged_models == pair.status().pending_logged_models == 1
    report = pair.push()
    assert (report.complete, report.logged_models, report.artifacts) == (True, 1, 2), report
    assert_models_equal(pair)
    again = pair.push()
    assert (again.requests, again.logged_models, pair.status().pending_logged_models) == (0, 0, 0)
    models = pair.store.logged_models
    models.log_params(model_id, {"new": "1"})
    models.set_tags(model_id, {"team": None, "checked": "ja — 好"})
    models.log_metrics(model_id, [ModelMetric("loss", 0.5, 1, 1_700_000_000_009, run_id)])
    put_file(pair.store, model_id, "notes.txt", b"other words")
    models.set_status(model_id, "FAILED")
    assert pair.push().complete
    assert_models_equal(pair)
    models.set_stage(model_id, DELETED)
    assert pair.push().complete
    assert models_there(pair.server, pair.experiment) == {}
    assert pair.push().requests == 0


@pytest.mark.parametrize("path", ["/logged-models", "/params", "/tags", "/log-batch", "/w.bin", "/finalize", "/search"])
def test_a_lost_answer_duplicates_nothing(pair: Pair, path: str) -> None:
    _, model_id = record(pair.store)
    if path in ("/params", "/tags", "/finalize"):
        pair.push()
        pair.store.logged_models.log_params(model_id, {"a": "1", "b": "2"})
        pair.store.logged_models.set_tags(model_id, {"a": "1"})
        pair.store.logged_models.set_status(model_id, "FAILED")
    lost: list[str] = []

    def fault(seen: Seen) -> Fault:
        ends = seen.path.endswith(path) or (path == "/finalize" and seen.method == "PATCH" and "tags" not in seen.path)
        if not ends or len(lost) == 1:
            return None
        lost.append(seen.path)
        return LoseAnswer()

    pair.proxy.fault = fault
    assert pair.push().complete
    assert len(lost) == 1
    assert_models_equal(pair)


def test_any_request_may_be_lost(pair: Pair) -> None:
    for n in range(2):
        record(pair.store, name=f"net {n}", metrics=2)

    def fault(seen: Seen) -> Fault:
        return (LoseAnswer(), Cut(), Answer(503))[seen.number % 3] if len(pair.proxy.seen) % 2 else None

    pair.proxy.fault = fault
    pair.push()
    pair.heal()
    assert pair.push().complete
    assert_models_equal(pair)


@pytest.mark.slow
def test_a_syncer_killed_while_it_sends_models_creates_each_once(pair: Pair, syncers: Syncers) -> None:
    push_first, _ = record(pair.store)
    pair.push(selection=Selection(runs=(push_first,)))
    for n in range(3):
        record(pair.store, name=f"net {n}", source=push_first)
    moments = [(5, False), (4, True), (6, False), (5, True), (6, False), (5, True)]
    assert pair.killed_at(syncers, moments) >= 4
    assert pair.push().complete
    assert_models_equal(pair)
    assert pair.push().requests == 0


def test_a_lost_ledger_duplicates_nothing(pair: Pair) -> None:
    record(pair.store)
    pair.push()
    pair.ledger_path.unlink()
    assert pair.push().complete
    assert_models_equal(pair)


def test_what_the_server_refuses_in_a_model_is_rejected_and_the_rest_arrives(pair: Pair) -> None:
    _, model_id = record(pair.store)
    no = Answer(400, b'{"error_code": "INVALID_PARAMETER_VALUE", "message": "not that"}')

    def fault(seen: Seen) -> Fault:
        return no if "logged-models" in seen.path and b'"depth"' in seen.body else None

    pair.proxy.fault = fault
    report = pair.push()
    assert [(item.kind, item.key, item.reason) for item in report.rejected] == [
        ("logged model param", f"{model_id}/depth", "not that")
    ]
    assert texts(models_there(pair.server, pair.experiment)[model_id]["data"], "params") == {"width": "4"}
    assert pair.push().requests == 0
    pair.heal()
    assert pair.push(retry_rejected=True).complete
    assert_models_equal(pair)


def test_non_finite_metrics_arrive_as_the_server_keeps_them(pair: Pair) -> None:
    run_id, model_id = record(pair.store, metrics=0)
    odd = [math.nan, math.inf, -math.inf]
    pair.store.logged_models.log_metrics(model_id, [ModelMetric("m", v, i, i, run_id) for i, v in enumerate(odd)])
    assert pair.push().complete
    there = models_there(pair.server, pair.experiment)[model_id]["data"]["metrics"]
    values = {int(metric.get("step", 0)): float(metric["value"]) for metric in there}
    assert values.keys() == {0, 1, 2}
    assert (values[1], values[2]) == (1.7976931348623157e308, -1.7976931348623157e308)


def test_metrics_of_deleted_runs_are_left_out(pair: Pair) -> None:
    _, model_id = record(pair.store, metrics=1)
    with mltrack.start_run() as other:
        pass
    pair.store.logged_models.log_metrics(model_id, [ModelMetric("m", 1.0, 0, 1, other.run_id)])
    pair.store.delete_run(other.run_id)
    assert pair.push().complete
    assert [m["key"] for m in models_there(pair.server, pair.experiment)[model_id]["data"]["metrics"]] == ["acc"]
    assert pair.push().requests == 0


def test_with_a_selection_only_models_of_its_runs_and_experiments_are_sent(pair: Pair) -> None:
    first, model = record(pair.store)
    record(pair.store, name="other")
    assert pair.push(selection=Selection(runs=(first,))).logged_models == 1
    assert models_there(pair.server, pair.experiment).keys() == {model}
    assert pair.push(selection=Selection(experiments=(pair.experiment,))).logged_models == 1
    assert_models_equal(pair)


def test_a_restored_model_that_was_deleted_on_the_remote_is_reported(pair: Pair) -> None:
    _, model_id = record(pair.store)
    pair.push()
    pair.store.logged_models.set_stage(model_id, DELETED)
    pair.push()
    pair.store.logged_models.set_stage(model_id, "active")
    report = pair.push()
    assert [(item.kind, item.key) for item in report.rejected] == [("logged model", model_id)]
    assert "no call that restores" in report.rejected[0].reason


@pytest.mark.slow
def test_versions_made_from_models_and_from_versions_load_from_the_server(pair: Pair, tmp_path: Path) -> None:
    name = f"adder {pair.experiment[-12:]}"
    with mlflow_on(uri_of(pair.store), pair.experiment) as client:
        with mlflow.start_run():
            info = log_adder(tmp_path, params={"by": 1})
        mlflow.register_model(info.model_uri, f"z {name}")
        client.copy_model_version(f"models:/z {name}/1", f"a {name}")  # comes before the one it is made from
        client.set_registered_model_alias(f"a {name}", "champion", "1")
    report = pair.push()
    assert (report.complete, report.model_versions) == (True, 2), report
    there = models_there(pair.server, pair.experiment)[info.model_id]["info"]
    with mlflow_on(pair.server.url):
        for uri in (f"models:/{there['model_id']}", f"models:/a {name}@champion", f"models:/z {name}/1"):
            model = mlflow.pyfunc.load_model(uri)
            assert model.predict([1.0, 2.0]) == [2.0, 3.0]
            assert (model.metadata.model_id, model.metadata.run_id) == (there["model_id"], there["source_run_id"])
    mlmodel = file_there(pair.server, there, "MLmodel")
    assert str(pair.store.path).encode() not in mlmodel
    assert pair.push().requests == 0
