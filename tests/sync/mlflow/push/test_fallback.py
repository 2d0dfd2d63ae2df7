"""A server that has no logged models gets their files with their runs; once it has, it gets the models, too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest

import mltrack
from mltrack.entities import DELETED
from mltrack.store import Store
from mltrack_sync import Remote, push
from mltrack_sync.engine.verify import verify
from mltrack_sync.gc import execute, plan_gc
from mltrack_sync.http.retry import RetryPolicy
from mltrack_sync.remotes.ledgers import ledger_path
from tests.support.killing import Moment
from tests.support.mlflow_recording import log_adder, mlflow_on, uri_of
from tests.support.model_recording import mlmodel_there, record_model
from tests.support.proxy import Answer, Cut, Fault, FaultyProxy, LoseAnswer, Seen
from tests.support.server import MlflowServer
from tests.support.syncers import Syncers

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's and its libraries', not ours

NOT_KNOWN = Answer(404, b'{"error_code": "ENDPOINT_NOT_FOUND", "message": "no such call"}')


def old(fault: Callable[[Seen], Fault] = lambda seen: None) -> Callable[[Seen], Fault]:
    """A server without logged models, with faults beside."""
    return lambda seen: NOT_KNOWN if "logged-models" in seen.path else fault(seen)


def record(store: Store, name: str) -> tuple[str, str]:
    """A run, and a model it made, of which a version is registered; returns their ids."""
    with mltrack.start_run() as run:
        mltrack.log_metric("acc", 0.5)
    model_id = record_model(store, run.run_id)
    store.registry.create_version(name, f"models:/{model_id}", model_id=model_id, create_model=True)
    return run.run_id, model_id


@pytest.fixture
def name(experiment: str) -> str:
    """Of a registered model that no other test uses."""
    return f"registered {experiment[-12:]}"


def versions(server: MlflowServer, name: str) -> list[dict[str, Any]]:
    asked = server.get("model-versions/search", filter=f"name = '{name}'")
    found: list[dict[str, Any]] = asked.get("model_versions", [])
    return found


def assert_there_once(server: MlflowServer, experiment: str, run_id: str, model_id: str, name: str) -> None:
    run = server.runs(experiment)[run_id]
    info = run["info"]
    files = server.get("artifacts/list", run_id=info["run_id"]).get("files", [])
    assert [file["path"] for file in files] == ["net"]
    assert server.artifact(run, "net/MLmodel") == mlmodel_there(model_id, info["run_id"], "net")
    assert server.artifact(run, "net/data/weights.bin") == b"\0\1\2\3"
    assert [(v["source"], v["run_id"]) for v in versions(server, name)] == [
        (f"{info['artifact_uri']}/net", info["run_id"])
    ]


def test_files_and_version_arrive_and_the_model_once_the_server_has_models(
    store: Store, server: MlflowServer, proxy: FaultyProxy, spoiled: Remote, experiment: str, name: str
) -> None:
    run_id, model_id = record(store, name)
    proxy.fault = old()
    report = push(store, spoiled)
    assert report.unsupported == ("logged models: this server does not take them; 1 waits (files in their runs: 1)",)
    assert (report.problems, report.rejected, report.model_versions, report.artifacts) == ((), (), 1, 2)
    assert_there_once(server, experiment, run_id, model_id, name)
    again = push(store, spoiled)
    assert (again.artifacts, again.model_versions) == (0, 0)
    assert verify(store, spoiled).same
    proxy.fault = lambda seen: None
    report = push(store, spoiled)
    assert (report.complete, report.logged_models, report.artifacts, report.model_versions) == (True, 1, 2, 0)
    assert_there_once(server, experiment, run_id, model_id, name)
    assert push(store, spoiled).requests == 0


def test_a_version_loads_from_the_server_by_mlflow(
    store: Store, server: MlflowServer, proxy: FaultyProxy, spoiled: Remote, experiment: str, name: str, tmp_path: Path
) -> None:
    with mlflow_on(uri_of(store), experiment), mlflow.start_run() as active:
        log_adder(tmp_path, registered_model_name=name)
    proxy.fault = old()
    assert push(store, spoiled).model_versions == 1
    remote_run = server.runs(experiment)[active.info.run_id]["info"]["run_id"]
    with mlflow_on(server.url):
        for uri in (f"models:/{name}/1", f"runs:/{remote_run}/adder"):
            model = mlflow.pyfunc.load_model(uri)
            assert model.predict([1.0, 2.0]) == [2.0, 3.0]
            assert (model.metadata.model_id, model.metadata.run_id) == (None, remote_run)
        assert mlflow.models.get_model_info(f"models:/{name}/1").model_uri == f"runs:/{remote_run}/adder"


def test_any_request_may_be_lost(
    store: Store,
    server: MlflowServer,
    proxy: FaultyProxy,
    spoiled: Remote,
    experiment: str,
    hasty: RetryPolicy,
    name: str,
) -> None:
    run_id, model_id = record(store, name)
    proxy.fault = old(lambda seen: (LoseAnswer(), Cut(), Answer(503))[seen.number % 3] if len(proxy.seen) % 2 else None)
    push(store, spoiled, policy=hasty)
    proxy.fault = old()
    push(store, spoiled)
    assert_there_once(server, experiment, run_id, model_id, name)


@pytest.mark.slow
def test_a_syncer_killed_at_any_request_and_a_lost_ledger_duplicate_nothing(
    store: Store,
    server: MlflowServer,
    proxy: FaultyProxy,
    spoiled: Remote,
    experiment: str,
    syncers: Syncers,
    name: str,
) -> None:
    run_id, model_id = record(store, name)
    killed = 0
    for count, answered in [(9, False), (4, True), (4, False), (4, True), (5, False)]:
        moment = Moment(proxy, count, answered=answered)
        proxy.fault = old(moment.fault)
        syncers.start(store, spoiled)
        while not moment.reached.wait(0.01) and not syncers.ended.is_set():
            pass
        killed += syncers.kill()
        moment.gone.set()
        proxy.wait_idle()
    assert killed >= 4
    proxy.fault = old()
    push(store, spoiled)
    assert_there_once(server, experiment, run_id, model_id, name)
    ledger_path(store, spoiled).unlink()
    push(store, spoiled)
    assert_there_once(server, experiment, run_id, model_id, name)


def test_a_file_refused_in_the_run_stays_rejected_until_the_server_has_models(
    store: Store, server: MlflowServer, proxy: FaultyProxy, spoiled: Remote, experiment: str, name: str
) -> None:
    run_id, model_id = record(store, name)
    no = Answer(400, b'{"error_code": "INVALID_PARAMETER_VALUE", "message": "not that"}')
    proxy.fault = old(lambda seen: no if seen.path.endswith("net/data/weights.bin") else None)
    report = push(store, spoiled)
    assert [(item.kind, item.key, item.reason) for item in report.rejected] == [
        ("logged model file in run", f"{model_id}/data/weights.bin", "not that")
    ]
    assert report.problems == (
        f"model {name!r} version 1 waits: files of logged model {model_id}"
        f" are not all in its run {run_id} on the remote yet",
    )
    assert (push(store, spoiled).artifacts, versions(server, name)) == (0, [])
    proxy.fault = lambda seen: None
    report = push(store, spoiled)
    assert (report.complete, report.logged_models, report.model_versions) == (True, 1, 1)
    assert versions(server, name)[0]["source"].startswith("models:/m-")


def test_what_gc_removes_or_is_deleted_locally_stays_on_the_remote(
    store: Store, server: MlflowServer, proxy: FaultyProxy, spoiled: Remote, experiment: str, name: str
) -> None:
    with mltrack.start_run() as run:
        mltrack.log_text("by the run", "net/words.txt")
    proxy.fault = old()
    push(store, spoiled)
    plan = plan_gc(store, spoiled)
    assert [free.run_id for free in plan.deletable] == [run.run_id]
    model_id = record_model(store, run.run_id)
    execute(store, plan)
    store.registry.create_version(name, f"models:/{model_id}", model_id=model_id, create_model=True)
    report = push(store, spoiled)
    assert (report.artifacts, report.model_versions, report.problems) == (2, 1, ())
    there = server.runs(experiment)[run.run_id]
    mlmodel = mlmodel_there(model_id, there["info"]["run_id"], f"net-{model_id}")
    assert server.artifact(there, f"net-{model_id}/MLmodel") == mlmodel
    store.logged_models.set_stage(model_id, DELETED)
    push(store, spoiled)
    assert server.artifact(there, f"net-{model_id}/MLmodel") == mlmodel
    assert [version["source"] for version in versions(server, name)] == [
        f"{there['info']['artifact_uri']}/net-{model_id}"
    ]
