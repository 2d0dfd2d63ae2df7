"""An Azure ML workspace compared with the store: what differs is named, and nothing is freed here that does."""

from __future__ import annotations

import pytest

import mltrack
from mltrack.store import Store
from mltrack_sync import Remote, push
from mltrack_sync.engine.verify import verify
from mltrack_sync.gc import plan_gc
from mltrack_sync.http.retry import RetryPolicy
from tests.support.azure.client import AzureClient
from tests.support.azure.emulator import AzureEmulator, Contents, LoseAnswer, throttled, unavailable
from tests.support.azure.emulator.workspace import run_container
from tests.support.azure.stores import record

HASTY = RetryPolicy(sleep=lambda seconds: None)


@pytest.mark.slow
def test_what_was_pushed_is_found_equal_and_verify_changes_nothing(
    azure: AzureEmulator, azure_store: Store, azure_remote: Remote
) -> None:
    record()
    with mltrack.start_run(run_name="parent"), mltrack.start_run(run_name="child", nested=True):
        for step in range(1200):  # more than a page of its history
            mltrack.log_metric("loss", 1.0, step=step)
        mltrack.log_metric("odd", float("nan"), step=-1)
    assert not verify(azure_store, azure_remote).same
    push(azure_store, azure_remote)
    before = len(azure.traffic.seen)
    report = verify(azure_store, azure_remote)
    assert report.differences == ()
    assert (report.runs, report.metrics, report.points) == (3, 4, 450 + 50 + 1200 + 1)
    assert (report.artifacts, report.artifact_bytes) == (2, 5)
    asked = {seen.kind for seen in azure.traffic.seen[before:]}
    assert asked <= {
        "arm",
        "mlflow/experiments/search",
        "mlflow/experiments/get",
        "mlflow/experiments/get-by-name",
        "mlflow/runs/search",
        "mlflow/runs/get",
        "mlflow/metrics/get-history",
        "artifacts/contentinfo",
        "blob/get",
    }


@pytest.mark.slow
def test_what_differs_in_a_workspace_is_named(
    azure: AzureEmulator,
    azure_store: Store,
    azure_remote: Remote,
    azure_contents: Contents,
    azure_client: AzureClient,
    experiment: str,
) -> None:
    run_id = record(20)
    whole = record(3, "whole")
    push(azure_store, azure_remote)
    there = azure_contents.runs(experiment)[run_id]["info"]["run_id"]
    container = run_container(there)
    azure.artifacts.replace(container, "notes/hello.txt", b"HELLO")
    azure.artifacts.replace(container, "empty.txt", None)
    point = {"key": "loss", "step": 7, "timestamp": 5, "value": 7.0}
    azure_client.post("runs/log-batch", run_id=there, metrics=[point], tags=[{"key": "stage", "value": "x"}])
    report = verify(azure_store, azure_remote)
    assert {(d.run_id, d.thing, d.local, d.remote) for d in report.differences} == {
        (run_id, "artifact 'notes/hello.txt'", "SHA-256 2cf24dba5fb0...", "SHA-256 3733cd977ff8..."),
        (run_id, "artifact 'empty.txt'", "0 bytes", "'empty.txt' has a name on the remote, but no content"),
        (run_id, "metric 'loss'", "missing", "1 point, the first step 7, 7.0 at 5 ms"),
        (run_id, "tag 'stage'", "'probé'", "'x'"),
    }
    plan = plan_gc(azure_store, azure_remote)
    assert [run.run_id for run in plan.deletable] == [whole]
    assert [kept.run_id for kept in plan.retained] == [run_id]


def test_network_faults_change_no_result(azure: AzureEmulator, azure_store: Store, azure_remote: Remote) -> None:
    record(30)
    push(azure_store, azure_remote)
    for kind in ("mlflow/runs/get", "mlflow/metrics/get-history", "artifacts/contentinfo", "blob/get"):
        azure.faults.on(kind, LoseAnswer())
        azure.faults.on(kind, throttled(retry_after=1))
        azure.faults.on(kind, unavailable(500))
    report = verify(azure_store, azure_remote, policy=HASTY)
    assert report.differences == ()
    assert report.points == 34
