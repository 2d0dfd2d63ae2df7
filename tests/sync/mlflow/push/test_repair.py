"""What verify finds missing on an MLflow server is sent again by a sync that is asked to repair, and never twice."""

from __future__ import annotations

import httpx
import numpy as np
import pytest
from mlflow.data import numpy_dataset

import mltrack
from mltrack.errors import UsageError
from mltrack.store import Store
from mltrack_sync import Remote, push
from mltrack_sync.engine.verify import verify
from tests.support.fake_mlflow import FakeMlflow
from tests.support.model_recording import record_model
from tests.support.server import MlflowServer

LAB = Remote("lab", "http://lab.invalid")


def record(points: int = 60) -> str:
    with mltrack.start_run(run_name="mine", tags={"team": "red"}) as run:
        mltrack.log_param("lr", 0.1)
        for step in range(points):
            mltrack.log_metric("loss", 1 / (step + 1), step=step)
        mltrack.log_text("x" * 1000, "a.txt")
        return run.run_id


def assert_repaired(store: Store, fake: FakeMlflow) -> None:
    assert verify(store, LAB, http=fake).same
    (run,) = (run for run in fake.runs.values() if run.info["lifecycle_stage"] == "active")
    assert len(run.points) == len(set(run.points)) == 60
    fake.calls.clear()
    assert push(store, LAB, http=fake).runs == 0
    assert fake.calls == []
    with pytest.raises(UsageError, match="no verify has found anything to repair"):
        push(store, LAB, http=fake, repair=True)


def pushed(store: Store) -> FakeMlflow:
    fake = FakeMlflow()
    record()
    assert push(store, LAB, http=fake).complete
    assert verify(store, LAB, http=fake).same
    return fake


def test_points_params_tags_and_files_that_are_missing_are_sent_once(store: Store) -> None:
    fake = pushed(store)
    (run,) = fake.runs.values()
    del run.points[10:40]
    run.params.clear()
    del run.tags["team"]
    run.info["status"] = "FAILED"
    (path,) = (path for path in fake.files if path.endswith("a.txt"))
    fake.files[path] = b"y" * 1000
    assert push(store, LAB, http=fake).runs == 0  # by its ledger, all is there
    assert len(verify(store, LAB, http=fake).differences) == 5
    report = push(store, LAB, http=fake, repair=True)
    assert (report.runs, report.points, report.found, report.artifacts, report.complete) == (1, 30, 30, 1, True)
    assert_repaired(store, fake)


def test_a_run_that_is_gone_is_created_again(store: Store) -> None:
    fake = pushed(store)
    fake.runs.clear()
    fake.files.clear()
    assert [each.thing for each in verify(store, LAB, http=fake).differences] == ["run"]
    report = push(store, LAB, http=fake, repair=True)
    assert (report.created, report.points, report.artifacts) == (1, 60, 1)
    assert_repaired(store, fake)


def test_a_run_that_was_deleted_there_is_restored(store: Store) -> None:
    fake = pushed(store)
    (run,) = fake.runs.values()
    run.info["lifecycle_stage"] = "deleted"
    assert not verify(store, LAB, http=fake).same
    assert push(store, LAB, http=fake, repair=True).created == 0
    assert run.info["lifecycle_stage"] == "active"
    assert_repaired(store, fake)


def test_what_a_server_can_not_take_is_said_by_the_sync_or_by_verify(store: Store) -> None:
    fake = pushed(store)
    (run,) = fake.runs.values()
    run.params["lr"] = "0.2"  # MLflow does not let params change
    run.points.append(("loss", 7, 7, 7.0))  # nor points be removed
    assert len(verify(store, LAB, http=fake).differences) == 2
    report = push(store, LAB, http=fake, repair=True)
    (refused,) = report.rejected
    assert (refused.kind, refused.key) == ("param", "lr")
    left = verify(store, LAB, http=fake).differences
    assert {each.thing for each in left} == {"param 'lr'", "metric 'loss'"}


def test_a_repair_that_was_cut_off_goes_on_with_the_next_sync(store: Store) -> None:
    fake = pushed(store)
    (run,) = fake.runs.values()
    del run.points[10:40]
    assert not verify(store, LAB, http=fake).same

    def fault(call: str, fields: dict[str, object]) -> None:
        if call.endswith("log-batch"):
            raise httpx.ConnectError("gone")

    fake.fault = fault
    with pytest.raises(Exception, match="lab"):
        push(store, LAB, http=fake, repair=True)
    fake.fault = lambda call, fields: None
    assert push(store, LAB, http=fake).points == 30
    assert verify(store, LAB, http=fake).same


def test_a_real_server_is_repaired(store: Store, server: MlflowServer, remote: Remote, experiment: str) -> None:
    run_id = record()
    push(store, remote)
    there = server.runs(experiment)[run_id]
    server.post("runs/delete-tag", run_id=there["info"]["run_id"], key="team")
    root = there["info"]["artifact_uri"].removeprefix("mlflow-artifacts:/")
    url = f"{server.url}/api/2.0/mlflow-artifacts/artifacts/{root}/a.txt"
    httpx.put(url, content=b"y" * 1000, trust_env=False).raise_for_status()
    assert len(verify(store, remote).differences) == 2
    report = push(store, remote, repair=True)
    assert (report.points, report.found, report.artifacts, report.complete) == (0, 60, 1, True)
    assert verify(store, remote).same


def test_links_that_are_missing_are_sent_again(store: Store) -> None:
    fake = FakeMlflow()
    with mltrack.start_run() as run:
        run.log_input(numpy_dataset.from_numpy(np.arange(6.0)), context="train")
        for step in range(60):
            mltrack.log_metric("loss", 1 / (step + 1), step=step)
    assert push(store, LAB, http=fake).datasets == 1
    (there,) = fake.runs.values()
    there.datasets.clear()
    assert len(verify(store, LAB, http=fake).differences) == 1
    assert push(store, LAB, http=fake, repair=True).datasets == 1
    assert_repaired(store, fake)


def test_a_logged_model_that_is_changed_or_gone_there_is_sent_again(store: Store) -> None:
    fake = FakeMlflow()
    made = record_model(store, record())
    assert push(store, LAB, http=fake).logged_models == 1
    assert verify(store, LAB, http=fake).same
    (path,) = (path for path in fake.files if path.endswith("weights.bin"))
    fake.files[path] = b"other"
    assert push(store, LAB, http=fake).logged_models == 0
    assert not verify(store, LAB, http=fake).same
    assert push(store, LAB, http=fake, repair=True).logged_models == 1
    assert_repaired(store, fake)
    assert len(fake.logged.held) == 1
    fake.logged.held.clear()
    assert not verify(store, LAB, http=fake).same
    assert push(store, LAB, http=fake, repair=True).logged_models == 1
    assert len(fake.logged.held) == 1
    assert made in str(fake.logged.held)


def test_a_registered_model_that_is_changed_there_is_sent_again(store: Store) -> None:
    fake = FakeMlflow()
    run_id = record()
    store.registry.create_model("tree", tags={"team": "red"})
    for _ in range(2):
        store.registry.create_version("tree", f"runs:/{run_id}/model", run_id=run_id)
    store.registry.set_alias("tree", "champion", 2)
    assert push(store, LAB, http=fake).model_versions == 2
    assert verify(store, LAB, http=fake).same
    fake.models["tree"]["tags"]["team"] = "blue"
    fake.models["tree"]["aliases"].clear()
    fake.versions["tree"].pop()
    assert push(store, LAB, http=fake).models == 0
    assert len(verify(store, LAB, http=fake).differences) >= 2
    assert push(store, LAB, http=fake, repair=True).complete
    assert fake.models["tree"]["tags"]["team"] == "red"
    assert len(fake.versions["tree"]) == 2
    assert_repaired(store, fake)


def test_traces_that_are_missing_or_changed_there_are_sent_again(store: Store) -> None:
    fake = FakeMlflow()
    experiment_id = store.run(record()).info.experiment_id
    for trace_id in ("tr-1", "tr-2"):
        fields = {"request_time": 1_700_000_000_000, "duration": 5, "state": "OK", "tags": {"kind": "a"}}
        store.traces.add(experiment_id, {"type": "info", "trace_id": trace_id, **fields})
    assert push(store, LAB, http=fake).traces == 2
    assert verify(store, LAB, http=fake).same
    del fake.traces.held["tr-1"]
    fake.traces.held["tr-2"].tags["kind"] = "b"
    assert push(store, LAB, http=fake).traces == 0
    assert len(verify(store, LAB, http=fake).differences) == 2
    assert push(store, LAB, http=fake, repair=True).traces == 2
    assert_repaired(store, fake)
