"""What an Azure ML workspace has arrives in a store, once: its own runs and models, and those that mltrack pushed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

import mltrack
from mltrack.storage.check.check import check_store
from mltrack.store import Store
from mltrack_sync import Remote, Remotes, push
from mltrack_sync.engine.pull import pull
from mltrack_sync.engine.verify import verify
from mltrack_sync.http.retry import RetryPolicy
from mltrack_sync.remotes.ledgers import ledger_path
from tests.support.azure.client import AzureClient
from tests.support.azure.emulator import AzureEmulator, Do, throttled, unavailable
from tests.support.azure.stores import record, scope_url
from tests.support.both_sides import local_points

HASTY = RetryPolicy(sleep=lambda seconds: None)


@pytest.fixture
def other(tmp_path: Path, azure: AzureEmulator, azure_remote: Remote, token_file: Path) -> tuple[Store, Remote]:
    """A second store with the same workspace as its remote."""
    store = Store.create(tmp_path / "other")
    return store, Remotes(store).add("prod", scope_url(azure), token_file=str(token_file))


def fill(client: AzureClient, experiment: str) -> dict[str, Any]:
    """A run that another client made, with points, a file, and a registered model of it; the run's info."""
    info = client.create_run(f"{experiment} of theirs", tags=[{"key": "team", "value": "red"}])
    metrics = [{"key": "m", "step": n, "timestamp": 1000 + n, "value": math.sin(n)} for n in range(150)]
    params = [{"key": "lr", "value": "0.1"}]
    client.post("runs/log-batch", run_id=info["run_id"], metrics=metrics, params=params).raise_for_status()
    made = client.make_artifacts(info, "model/weights")
    (place,) = made["artifactContentInformation"].values()
    client.put(place["contentUri"], b"1234" * 1000).raise_for_status()
    client.post("runs/update", run_id=info["run_id"], status="FINISHED", end_time=9000).raise_for_status()
    client.post("registered-models/create", name="tree").raise_for_status()
    version = {"name": "tree", "source": f"{info['artifact_uri']}/model", "run_id": info["run_id"]}
    client.post("model-versions/create", **version).raise_for_status()
    return info


@pytest.mark.slow
def test_runs_files_and_models_of_others_arrive_once_and_are_not_sent_back(
    azure: AzureEmulator, azure_store: Store, azure_remote: Remote, azure_client: AzureClient, experiment: str
) -> None:
    info = fill(azure_client, experiment)
    report = pull(azure_store, azure_remote)
    assert report.complete, report.problems
    assert (report.runs, report.points, report.artifacts, report.model_versions) == (1, 150, 1, 1)
    (run_id,) = azure_store.run_ids()
    run = azure_store.run(run_id)
    assert (run.params, run.tags["team"], run.info.end_time) == ({"lr": "0.1"}, "red", 9000)
    assert run.tags["mltrack.origin.run_id"] == info["run_id"]
    assert run.artifact_path("model/weights").read_bytes() == b"1234" * 1000
    assert azure_store.registry.get_version("tree", 1).source == f"runs:/{run_id}/model"
    assert check_store(azure_store.path).findings == []
    assert verify(azure_store, azure_remote).differences == ()
    assert verify(azure_store, azure_remote, quick=True).differences == ()
    again = pull(azure_store, azure_remote)
    assert (again.runs, again.points, again.artifacts, again.model_versions) == (0, 0, 0, 0)
    assert (azure.traffic.count("mlflow/logged-models*"), azure.traffic.count("*traces*")) == (0, 0)
    ledger_path(azure_store, azure_remote).unlink()
    sent = push(azure_store, azure_remote)
    assert (sent.created, sent.points, sent.model_versions, sent.complete) == (0, 0, 0, True)


@pytest.mark.slow
def test_what_mltrack_pushed_comes_back_as_itself(
    azure_store: Store, azure_remote: Remote, other: tuple[Store, Remote]
) -> None:
    run_id = record()
    assert push(azure_store, azure_remote).complete
    store, remote = other
    report = pull(store, remote)
    assert (report.complete, store.run_ids()) == (True, [run_id])
    assert local_points(store, run_id) == local_points(azure_store, run_id)
    assert verify(store, remote).differences == ()
    assert push(store, remote).runs == 0


@pytest.mark.slow
def test_a_sampled_history_comes_back_as_the_complete_run(
    azure_store: Store, azure_remote: Remote, other: tuple[Store, Remote]
) -> None:
    with mltrack.start_run() as run:
        for step in range(3000):
            mltrack.log_metric("loss", math.cos(step), step=step)
    report = push(azure_store, azure_remote, history=100)
    assert report.complete, report
    assert report.points <= 200
    assert verify(azure_store, azure_remote).differences == ()
    store, remote = other
    pulled = pull(store, remote)
    assert pulled.complete, pulled.problems
    assert local_points(store, run.run_id) == local_points(azure_store, run.run_id)
    assert len(local_points(store, run.run_id)) == 3000
    here, first = store.run(run.run_id).info, azure_store.run(run.run_id).info
    assert (here.status, here.start_time, here.end_time) == (first.status, first.start_time, first.end_time)
    assert verify(azure_store, azure_remote, quick=True).differences == ()
    assert push(store, remote).points == 0


@pytest.mark.slow
def test_throttling_errors_and_revoked_tokens_lose_and_double_nothing(
    azure: AzureEmulator,
    azure_store: Store,
    azure_remote: Remote,
    azure_client: AzureClient,
    experiment: str,
    token_file: Path,
) -> None:
    fill(azure_client, experiment)

    def renew() -> None:
        azure.tokens.revoke()
        token_file.write_text(azure.tokens.issue().text)

    azure.faults.on("mlflow/runs/search", throttled(retry_after=1), times=1)
    azure.faults.on("mlflow/metrics/get-history", unavailable(503), times=1)
    azure.faults.on("mlflow/metrics/get-history", Do(renew), skip=1)
    report = pull(azure_store, azure_remote, policy=HASTY)
    assert (report.complete, report.points) == (True, 150), report.problems
    assert verify(azure_store, azure_remote).differences == ()
