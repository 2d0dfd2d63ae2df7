"""Folders and databases that MLflow 0.9 to 3.17 wrote: every fact comes, as MLflow has it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from mltrack.entities import DatasetInput
from mltrack.importers.compare import compare_source
from mltrack.importers.engine import import_source
from mltrack.storage.check.check import check_store
from mltrack.storage.runs.stored_run import StoredRun
from mltrack.store import Store
from tests.support.sources import VERSIONS, unpack

START = 1_700_000_000_000


def version_of(name: str) -> tuple[int, ...]:
    return tuple(int(part) for part in name.split("-")[1].split("."))


@pytest.fixture(params=VERSIONS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def source(name: str, tmp_path: Path) -> Path:
    return unpack(name, tmp_path)


@pytest.fixture
def store(source: Path, tmp_path: Path) -> Store:
    store = Store.create(tmp_path / "store")
    assert import_source(store, source).problems == ()
    return store


def run_named(store: Store, name: str) -> StoredRun:
    return next(run for run in store.runs() if run.info.run_name == name)


def points_of(run: StoredRun, key: str) -> list[tuple[int, int, float]]:
    table = run.metrics(key)
    return list(
        zip(
            table.column("step").to_pylist(),
            [time.value // 1_000_000 for time in table.column("time").to_pandas()],
            table.column("value").to_pylist(),
            strict=True,
        )
    )


def test_the_store_has_all_of_it_and_is_sound(store: Store, source: Path) -> None:
    compared = compare_source(store, source)
    assert (compared.differences, compared.problems) == ((), ())
    assert check_store(store.path).sound


def test_params_tags_and_times_come_as_they_were(store: Store, name: str) -> None:
    run = run_named(store, "first")
    texts = {"lines": "a\nb", "empty": ""} if version_of(name) >= (1, 1) else {}
    assert run.params == {"lr": "0.1", "model/depth": "3", "note": "a: b  c"} | texts
    origin = {key: run.tags[key] for key in run.tags if key.startswith("mltrack.")}
    assert (
        run.tags
        == {
            "mlflow.runName": "first",
            "mlflow.user": "ada",
            "data/source": "spirals",
            "note": "größe 模型",
        }
        | origin
    )
    assert len(origin["mltrack.origin.run_id"]) == 32
    info = run.info
    assert (info.status, info.start_time, info.end_time) == ("FINISHED", START, START + 50_000)
    assert info.experiment_name == "digits"


def test_every_point_comes_with_step_and_time(store: Store, name: str) -> None:
    steps = version_of(name) >= (1, 0)
    wanted = [(step if steps else 0, START + 1000 * step, 1 / (step + 1)) for step in range(40)]
    assert points_of(run_named(store, "first"), "loss") == wanted


def test_numbers_that_are_not_finite_come_as_such(store: Store, name: str) -> None:
    values = [value for _, _, value in points_of(run_named(store, "first"), "val/odd")]
    finite = [0.25, 1e-300, 0.0, 7.5]
    assert [value for value in values if math.isfinite(value)] == finite
    zero = next(value for value in values if value == 0)
    assert math.copysign(1, zero) == (-1 if name.endswith("mlruns") else 1)  # SQLite has no negative zero
    odd = [repr(value) for value in values if not math.isfinite(value)]
    if version_of(name) >= (1, 1):
        assert odd == ["nan", "inf", "-inf"]
    else:
        assert odd == (["nan"] if name.endswith("mlruns") else [])  # these versions refused infinities


def test_other_runs_keep_their_states_and_their_parent(store: Store, name: str) -> None:
    first, child = run_named(store, "first"), run_named(store, "child")
    assert (child.info.status, child.info.parent_run_id) == ("FAILED", first.run_id)
    assert run_named(store, "goes on").info.status == "RUNNING"
    gone = run_named(store, "gone").info
    killed = "KILLED" if version_of(name) >= (1, 1) else "FAILED"
    assert (gone.status, gone.lifecycle_stage) == (killed, "deleted")
    old = store.workspace.by_name("old")
    assert old is not None
    assert old.lifecycle_stage == "deleted"
    assert run_named(store, "ancient").info.experiment_id == old.experiment_id


def test_files_are_found_where_the_folder_was_moved_to(store: Store) -> None:
    run = run_named(store, "first")
    assert [artifact.path for artifact in run.artifacts] == ["model/data/weights.bin", "notes.txt"]
    assert run.artifact_path("model/data/weights.bin").read_bytes() == bytes(range(256)) * 4
    assert run.artifact_path("notes.txt").read_text() == "written by MLflow\n"


def test_datasets_come(store: Store, name: str) -> None:
    used = run_named(store, "first").datasets
    if version_of(name) < (2, 4):
        assert used == []
        return
    (only,) = used
    assert isinstance(only, DatasetInput)
    assert (only.dataset.name, only.dataset.digest, only.context) == ("spirals", "d1e5", "training")
    assert (only.dataset.schema, only.dataset.profile) == ('{"columns": 2}', '{"rows": 9}')


def test_the_registry_comes_with_its_numbers(store: Store, name: str) -> None:
    has_registry = version_of(name) >= ((2, 0) if name.endswith("mlruns") else (1, 4))
    if not has_registry:
        assert store.registry.models() == []
        return
    (model,) = store.registry.models()
    assert (model.name, model.description, model.tags) == ("spirals", "of spirals", {"team": "vision"})
    versions = {version.version: version for version in store.registry.versions("spirals")}
    run = run_named(store, "first")
    assert sorted(versions) == [1, 3]
    assert (versions[1].source, versions[1].run_id) == (f"runs:/{run.run_id}/model", run.run_id)
    assert (versions[1].description, versions[3].tags, versions[3].stage) == (
        "the first",
        {"checked": "yes"},
        "Production",
    )
    assert model.aliases == ({"champion": 3} if version_of(name) >= (2, 3) else {})


def test_logged_models_come_with_files_and_metrics(store: Store, name: str) -> None:
    models = store.logged_models.models()
    if version_of(name) < (3, 0):
        assert models == []
        return
    (model,) = models
    run = run_named(store, "first")
    assert (model.name, model.status, model.model_type, model.source_run_id) == ("net", "READY", "agent", run.run_id)
    assert model.params == {"depth": "3"}
    assert model.tags["stage/kind"] == "test"
    assert [(m.key, m.step, m.run_id, m.dataset_name) for m in model.metrics] == [
        ("acc", step, run.run_id, "spirals") for step in range(3)
    ]
    mlmodel = store.logged_models.folder(model.model_id).artifacts / "MLmodel"
    assert mlmodel.read_text() == f"model_id: {model.model_id}\n"
    assert (run.model_inputs, [(o.model_id, o.step) for o in run.model_outputs]) == (
        [model.model_id],
        [(model.model_id, 2)],
    )


def test_traces_come_with_spans_and_assessments_and_mlflow_reads_them(store: Store, name: str) -> None:
    traces = store.traces.all()
    if version_of(name) < (2, 14):
        assert traces == []
        return
    (trace,) = traces
    assert (trace.state, len(trace.spans), trace.tags["mlflow.traceName"]) == ("OK", 2, "answer")
    assessments = {one.name: one.value for one in trace.assessments.values()}
    expected = {"good": "true", "expected": '{"answer": "because"}'} if version_of(name) >= (3, 0) else {}
    assert assessments == expected
    spans = {span.name: span for span in read_by_mlflow(store, trace.trace_id)}
    assert sorted(spans) == ["answer", "look up"]
    assert spans["look up"].parent_id == spans["answer"].span_id
    assert spans["look up"].outputs == {"value": "größe"}
    assert spans["answer"].inputs == {"question": "why?"}


def read_by_mlflow(store: Store, trace_id: str) -> list[Any]:
    """The spans that MLflow's client gives of a trace in the store."""
    from mlflow import MlflowClient

    trace = MlflowClient(tracking_uri=f"mltrack://{store.path}").get_trace(trace_id)
    return list(trace.data.spans)


def test_a_folder_and_a_database_of_one_version_give_the_same_runs(tmp_path: Path) -> None:
    def facts(name: str) -> list[Any]:
        folder = tmp_path / name
        folder.mkdir()
        store = Store.create(folder / "store")
        import_source(store, unpack(name, folder))
        return sorted(
            (run.info.run_name, run.info.status, run.info.end_time, sorted(run.params.items()), run.head().points)
            for run in store.runs()
        )

    assert facts("mlflow-3.12.0-mlruns") == facts("mlflow-3.12.0-sqlite")
