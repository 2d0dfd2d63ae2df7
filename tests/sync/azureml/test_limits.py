"""What an Azure ML workspace can't take is told before it is sent, or rejected with its words; never cut silently."""

from __future__ import annotations

import dataclasses

import pytest

import mltrack
from mltrack.store import Store
from mltrack_sync import Remote, push
from mltrack_sync.azureml.limits import AZURE_LIMITS
from mltrack_sync.http.retry import RetryPolicy
from tests.support.azure.emulator import AzureEmulator, Contents, LoseAnswer


def tags_of(run: dict) -> dict[str, str]:  # type: ignore[type-arg]
    return {tag["key"]: tag["value"] for tag in run["data"].get("tags", [])}


def test_params_and_tags_beyond_the_limits_are_rejected_before_they_are_sent(
    azure: AzureEmulator, azure_store: Store, azure_remote: Remote, azure_contents: Contents, experiment: str
) -> None:
    with mltrack.start_run() as run:
        mltrack.log_params({f"p{number:03}": number for number in range(230)})
        mltrack.set_tags({f"t{number:03}": "x" for number in range(60)})
        mltrack.set_tag("k" * 101, "long name")
        mltrack.set_tag("long", "v" * 1001)
        run_id = run.run_id
    foreseen = push(azure_store, azure_remote, dry_run=True)
    report = push(azure_store, azure_remote)
    rejected = {(item.kind, item.key): item.reason for item in report.rejected}
    assert {(item.kind, item.key): item.reason for item in foreseen.rejected}.keys() == rejected.keys()
    assert [key for kind, key in rejected if kind == "param"] == [f"p{number:03}" for number in range(200, 230)]
    assert rejected["param", "p229"] == "the run has 230 params: the remote keeps 200"
    assert rejected["tag", "k" * 101] == "tag name of 101 characters: the remote takes 100"
    assert rejected["tag", "long"] == "tag value of 1001 characters: the remote would cut it to 1000"
    there = azure_contents.runs(experiment)[run_id]
    assert len(there["data"]["params"]) == 200
    own = tags_of(there)
    assert len(own) <= 50
    assert own["mltrack.run_id"] == run_id
    here = azure_store.run(run_id).tags
    assert own.keys() - {"mltrack.run_id"} | {key for kind, key in rejected if kind == "tag"} == here.keys()
    assert azure.traffic.count("mlflow/*", 400) == 0
    assert push(azure_store, azure_remote).requests == 0


def test_metrics_beyond_the_remotes_own_limit_are_rejected_with_its_message_and_the_rest_arrives(
    azure: AzureEmulator, azure_store: Store, azure_remote: Remote, azure_contents: Contents, experiment: str
) -> None:
    with mltrack.start_run() as run:
        for step in range(20):
            mltrack.log_metrics({f"m{number:02}": float(step) for number in range(53)}, step=step)
        run_id = run.run_id
    report = push(azure_store, azure_remote)
    refused = {item.key: item for item in report.rejected}
    assert len(refused) == 3
    assert all("MetricNames, Limit=50" in item.reason and item.points == 20 for item in refused.values())
    there = azure_contents.runs(experiment)[run_id]["info"]["run_id"]
    for key in azure_store.run(run_id).summaries.keys() - refused.keys():
        assert len(list(azure_contents.history(there, key))) == 20
    assert azure.points_twice() == []


def test_a_limit_lower_than_documented_is_found_by_splitting_requests(
    azure: AzureEmulator, azure_store: Store, azure_remote: Remote, azure_contents: Contents, experiment: str
) -> None:
    azure.limits = dataclasses.replace(azure.limits, batch_metrics_max=60)
    with mltrack.start_run() as run:
        for step in range(500):
            mltrack.log_metric("loss", 0.5, step=step)
    report = push(azure_store, azure_remote)
    assert report.complete, report
    there = azure_contents.runs(experiment)[run.run_id]["info"]["run_id"]
    assert len(list(azure_contents.history(there, "loss"))) == 500
    assert azure.points_twice() == []


def test_an_experiment_name_that_is_too_long_rejects_its_runs(azure_store: Store, azure_remote: Remote) -> None:
    mltrack.set_experiment("e" * 257)
    with mltrack.start_run():
        mltrack.log_metric("loss", 0.5)
    report = push(azure_store, azure_remote)
    assert [(item.kind, item.reason) for item in report.rejected] == [
        ("run", "experiment name of 257 characters: the remote takes 256")
    ]


@pytest.mark.parametrize(("name", "good"), [("m", True), ("a.b-c_1", True), ("a b", False), ("é", False)])
def test_model_names_are_checked(name: str, good: bool) -> None:
    assert (AZURE_LIMITS.refuse_model(name) is None) == good


# --- the registry ------------------------------------------------------------------------------------------------


def test_models_are_registered_once_and_waited_for(
    azure: AzureEmulator, azure_store: Store, azure_remote: Remote, azure_contents: Contents, experiment: str
) -> None:
    azure.front.pending_gets = 2
    azure.faults.on("mlflow/model-versions/create", LoseAnswer())
    for number in range(2):
        with mltrack.start_run() as run:
            mltrack.log_text(f"weights {number}", "model/w.txt")
            run.register_model("spirals", "model", tags={"n": str(number)}, description="d")
    azure_store.registry.set_alias("spirals", "champion", 2)
    azure_store.registry.set_stage("spirals", 2, "Production")
    azure_store.registry.create_model("no azure name")
    waits: list[float] = []
    report = push(azure_store, azure_remote, policy=RetryPolicy(sleep=waits.append))
    assert [(item.kind, item.key) for item in report.rejected] == [("model", "no azure name")]
    versions = azure_contents.models()["spirals"]
    assert [version["status"] for version in versions] == ["READY", "READY"]
    runs = azure_contents.runs(experiment)
    for version, local in zip(versions, azure_store.registry.versions("spirals"), strict=True):
        info = runs[str(local.run_id)]["info"]
        assert (version["run_id"], version["source"]) == (info["run_id"], f"{info['artifact_uri']}/model")
        assert version["current_stage"] == local.stage
    assert azure.traffic.count("mlflow/model-versions/get") > 0
    aliases = azure_contents.model("spirals")["aliases"]
    assert [(alias["alias"], alias["version"]) for alias in aliases] == [("champion", "2")]
    assert push(azure_store, azure_remote).requests == 0
