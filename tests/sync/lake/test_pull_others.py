"""Experiments, the registry, logged models and traces come back from a lake as they were pushed, once."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

import mltrack
from mltrack.disk.artifact_files import store_stream
from mltrack.entities import ModelMetric
from mltrack.store import Store
from mltrack_sync import Remotes, Selection, push
from mltrack_sync.engine.pull import pull
from mltrack_sync.engine.verify import verify
from mltrack_sync.lake.unit_rows import logged_model_row, trace_rows, workspace_rows
from tests.support.full_store import make_full_store

NOW_MS = 1_790_000_000_000


def add_much(store: Store) -> str:
    """More of everything; the id of a logged model with a file."""
    experiment = store.workspace.create("with tags", {"team": "blue"}, created=NOW_MS * 10**6)
    store.workspace.set_stage(store.workspace.create("gone").experiment_id, "deleted")
    registry = store.registry
    registry.create_version("net", "runs:/b/model", create_model=True, description="second", tags={"x": "y"})
    registry.set_stage("net", 2, "Production")
    registry.create_version("net", "runs:/c/model")
    registry.delete_version("net", 3)
    registry.update_model("net", "a network")
    model_id = add_model(store, experiment.experiment_id)
    add_trace(store, experiment.experiment_id)
    return model_id


def add_model(store: Store, experiment_id: str) -> str:
    """A logged model with a file; its id."""
    models = store.logged_models
    model = models.create(experiment_id, "made", model_type="t", tags={"k": "v"}, params={"p": "1"})
    root = models.folder(model.model_id).artifacts
    source = store.path / "weights"
    source.write_bytes(b"weights" * 1000)
    with source.open("rb") as stream:
        stored = store_stream(stream, root, "data/weights.bin")
    models.add_artifacts(model.model_id, [(stored.path, stored.size, stored.sha256)])
    metrics = [("loss", 0.5, 1), ("loss", math.nan, 2)]
    models.log_metrics(model.model_id, [ModelMetric(k, v, s, NOW_MS, "r" * 32) for k, v, s in metrics])
    models.set_status(model.model_id, "READY")
    return model.model_id


@pytest.mark.slow
def test_a_file_of_other_bytes_is_refused(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store")
    store.registry.create_version("net", "runs:/a/model", create_model=True)
    add_much(store)
    push(store, Remotes(store).add("lake", f"delta:{tmp_path / 'lake'}"))
    (blob,) = (path for path in (tmp_path / "lake" / "blobs").rglob("*") if path.is_file())
    blob.write_bytes(b"other bytes")
    other = Store.create(tmp_path / "other")
    (problem,) = pull(other, Remotes(other).add("lake", f"delta:{tmp_path / 'lake'}")).problems
    assert "the lake has other bytes of 'data/weights.bin'" in problem
    assert not list((other.path / "models").rglob("weights.bin"))


def add_trace(store: Store, experiment_id: str) -> None:
    """A trace with two spans, tokens, a session, tags, an assessment and a run."""
    span: dict[str, Any] = {
        "trace_id": "AAAA",
        "name": "root",
        "span_id": "AAECAwQFBgc=",
        "parent_span_id": None,
        "start_time_unix_nano": NOW_MS * 10**6,
        "end_time_unix_nano": NOW_MS * 10**6 + 5_000_000,
        "status": {"code": "STATUS_CODE_OK", "message": ""},
        "attributes": {"mlflow.spanType": '"LLM"', "mlflow.chat.tokenUsage": '{"input_tokens": 3, "output_tokens": 4}'},
        "events": [],
    }
    child = span | {"name": "child", "span_id": "AAECAwQFBgg=", "parent_span_id": span["span_id"], "attributes": {}}
    heads: list[dict[str, Any]] = [
        {"id": "0001020304050607", "name": "root", "kind": "LLM", "usage": {"input_tokens": 3, "output_tokens": 4}},
        {"id": "0001020304050608", "name": "child", "parent": "0001020304050607"},
    ]
    same = {"status": "OK", "start": NOW_MS * 10**6, "end": NOW_MS * 10**6 + 5_000_000}
    fact = {"type": "spans", "trace_id": "tr-9", "start": NOW_MS, "end": NOW_MS + 5, "root_state": "OK"}
    tags = {"mlflow.trace.spansLocation": "TRACKING_STORE"}
    told = fact | {"heads": [head | same for head in heads], "tags": tags, "request_preview": "how?"}
    assessment = {
        "assessment_id": "a-1",
        "name": "good",
        "kind": "feedback",
        "value": "true",
        "source_type": "HUMAN",
        "create_time": NOW_MS,
        "update_time": NOW_MS,
        "rationale": "it is",
    }
    store.traces.add_spans(experiment_id, [told], [[span, child]])
    named = {"trace_id": "tr-9"}
    store.traces.add(
        experiment_id,
        {"type": "info", **named, "session": "s-1", "metadata": {"user": "ada"}, "final": True, "request_time": NOW_MS},
        {"type": "tag", **named, "key": "k", "value": "v"},
        {"type": "assessment", **named, "assessment": assessment},
        {"type": "run", **named, "run_id": "e" * 32, "linked": True},
    )
    store.traces.close()


def rows_of(store: Store) -> dict[str, list[Any]]:
    """What a push would write of a store's workspace, logged models and traces, without the store's id."""
    revisions = dict.fromkeys(("experiments", "registered_models", "model_versions"), 0)
    found: dict[str, Any] = workspace_rows(store, revisions)
    models = store.logged_models.models()
    found["logged_models"] = [logged_model_row(store.store_id, each, each.artifacts, 0) for each in models]
    found["traces"] = list(trace_rows(store, store.traces.all(), 0))
    return {table: sorted((row[1:] for row in rows), key=lambda row: str(row[:3])) for table, rows in found.items()}


@pytest.mark.slow
def test_everything_comes_back_as_it_was_once(tmp_path: Path) -> None:
    store = make_full_store(tmp_path / "store")
    store.traces.remove("0")  # its spans are not MLflow's
    model_id = add_much(store)
    lake = f"delta:{tmp_path / 'lake'}"
    push(store, Remotes(store).add("lake", lake))
    other = Store.create(tmp_path / "other")
    remote = Remotes(other).add("lake", lake)
    report = pull(other, remote)
    assert report.problems == ()
    assert (report.runs, report.models, report.model_versions, report.logged_models, report.traces) == (2, 1, 2, 2, 1)
    mine, theirs = rows_of(store), rows_of(other)
    for table in ("registered_models", "model_versions", "traces"):
        assert theirs[table] == mine[table], table
    assert len(theirs["experiments"]) == len(mine["experiments"])
    back, was = other.logged_models.get(model_id), store.logged_models.get(model_id)
    for name in ("name", "experiment_id", "params", "tags", "status", "model_type", "creation_time"):
        assert getattr(back, name) == getattr(was, name), name
    assert repr([(m.key, m.value, m.step) for m in back.metrics]) == repr(
        [(m.key, m.value, m.step) for m in was.metrics]
    )
    assert (other.logged_models.folder(model_id).artifacts / "data/weights.bin").stat().st_size == 7000
    again = pull(other, remote)
    assert (again.runs, again.models, again.model_versions, again.logged_models, again.traces) == (0, 0, 0, 0, 0)
    assert rows_of(other) == theirs
    push(other, remote)
    assert verify(other, remote).same
    assert verify(store, Remotes(store).get("lake")).same


@pytest.mark.slow
def test_a_selection_takes_along_what_belongs_to_it(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store")
    mltrack.set_store(store.path)
    for number in range(2):
        mltrack.set_experiment(f"experiment {number}")
        with mltrack.start_run(run_name=f"run {number}") as run:
            run.log_param("number", number)
            model = store.logged_models.create(run.info.experiment_id, f"model {number}")
            run.log_outputs(models=[model.model_id])
        told = {"type": "info", "trace_id": f"tr-{number}", "request_time": NOW_MS, "state": "OK"}
        store.traces.add(run.info.experiment_id, told)
    store.traces.close()
    mltrack.set_store(None)
    push(store, Remotes(store).add("lake", f"delta:{tmp_path / 'lake'}"))
    other = Store.create(tmp_path / "other")
    remote = Remotes(other).add("lake", f"delta:{tmp_path / 'lake'}")
    report = pull(other, remote, selection=Selection(experiments=("experiment 1",)))
    assert (report.runs, report.logged_models, report.traces, report.problems) == (1, 1, 1, ())
    assert [each.name for each in other.logged_models.models()] == ["model 1"]
    assert [trace.trace_id for trace in other.traces.all()] == ["tr-1"]


@pytest.mark.slow
def test_a_damaged_content_and_broken_rows_cost_themselves_only(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store")
    model_id = add_model(store, store.workspace.create("one").experiment_id)
    push(store, Remotes(store).add("lake", f"delta:{tmp_path / 'lake'}"))
    (content,) = (path for path in (tmp_path / "lake" / "blobs").rglob("*") if path.is_file())
    content.write_bytes(b"Weights" * 1000)
    table = DeltaTable(str(tmp_path / "lake" / "logged_models"))
    (row,) = table.to_pyarrow_table().to_pylist()
    files = json.dumps([{"path": "x", "size": 1, "sha256": f"../../../{tmp_path.name}/secret"}])
    (tmp_path / "secret").write_bytes(b"s")
    rows = [{**row, "model_id": f"m-{mark * 32}", "files": files if mark == "a" else mark} for mark in "ab"]
    write_deltalake(table, pa.Table.from_pylist(rows, table.to_pyarrow_table().schema), mode="append")
    other = Store.create(tmp_path / "other")
    report = pull(other, Remotes(other).add("lake", f"delta:{tmp_path / 'lake'}"))
    assert len(report.problems) == 3
    for model, words in ((model_id, "other bytes"), ("m-" + "a" * 32, "SHA-256"), ("m-" + "b" * 32, "broken")):
        assert any(model in each and words in each for each in report.problems)
        assert not any(other.logged_models.folder(model).artifacts.rglob("*.*"))
