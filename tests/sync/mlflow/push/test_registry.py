"""Registered models pushed to an MLflow server: each version there once, with its own number, tags and aliases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import mltrack
from mltrack.store import Store
from mltrack_sync import Remote, Selection, push
from mltrack_sync.http.retry import RetryPolicy
from mltrack_sync.ledger.ledger import LedgerState
from mltrack_sync.remotes.ledgers import ledger_path
from mltrack_sync.status import status_of
from tests.support.killing import killed_at_requests
from tests.support.proxy import Answer, Cut, Fault, FaultyProxy, LoseAnswer, Seen
from tests.support.server import MlflowServer
from tests.support.syncers import Syncers


@pytest.fixture
def model(experiment: str) -> str:
    """A model name that no other test uses."""
    return f"spirals {experiment[-12:]}"


def register(model: str, *, versions: int = 1, description: str = "first") -> list[str]:
    """Runs that each stored a model and registered it."""
    runs = []
    for number in range(versions):
        with mltrack.start_run(run_name=f"run {number}") as run:
            mltrack.log_text(f"weights {number}", "model/weights.txt")
            run.register_model(model, "model", tags={"quality": "good"}, description=description)
            runs.append(run.run_id)
    return runs


def versions_there(server: MlflowServer, model: str) -> list[dict[str, Any]]:
    answer = server.get("model-versions/search", filter=f"name='{model}'", max_results=1000)
    return sorted(answer.get("model_versions", []), key=lambda version: int(version["version"]))


def tags(thing: dict[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in thing.get("tags", [])}


def assert_registered_once(store: Store, server: MlflowServer, experiment: str, model: str) -> None:
    runs = server.runs(experiment)
    here, there = store.registry.versions(model), versions_there(server, model)
    marks = [tags(version).pop("mltrack.model_version") for version in there]
    assert len(set(marks)) == len(there) == len(here)
    by_mark = {mark.split("/")[2]: version for mark, version in zip(marks, there, strict=True)}
    for version in here:
        remote = by_mark[str(version.version)]
        run = runs[str(version.run_id)]
        assert remote["run_id"] == run["info"]["run_id"]
        assert remote["source"] == f"{run['info']['artifact_uri']}/model"
        assert remote["status"] == "READY"
        assert (remote["current_stage"], remote.get("description", "")) == (version.stage, version.description)
        assert {k: v for k, v in tags(remote).items() if k != "mltrack.model_version"} == version.tags
    whole = server.get("registered-models/get", name=model)["registered_model"]
    numbers = {version.version: by_mark[str(version.version)]["version"] for version in here}
    aliases = {alias["alias"]: alias["version"] for alias in whole.get("aliases", [])}
    assert aliases == {a: numbers[n] for a, n in store.registry.get_model(model).aliases.items()}
    assert tags(whole) == store.registry.get_model(model).tags
    assert whole.get("description", "") == store.registry.get_model(model).description


def test_models_arrive_with_versions_aliases_stages_and_tags_and_follow_changes(
    store: Store, server: MlflowServer, remote: Remote, experiment: str, model: str
) -> None:
    register(model, versions=2)
    registry = store.registry
    registry.update_model(model, "two spirals")
    registry.set_model_tag(model, "team", "vision")
    registry.set_alias(model, "champion", 1)
    registry.set_stage(model, 1, "Production")
    foreseen = push(store, remote, dry_run=True)
    assert (foreseen.models, foreseen.model_versions) == (1, 2)
    assert status_of(store, remote).pending_model_versions == 2
    report = push(store, remote)
    assert report.complete, report
    assert (report.models, report.model_versions) == (1, 2)
    assert_registered_once(store, server, experiment, model)
    assert (status_of(store, remote).pending_models, push(store, remote).requests) == (0, 0)
    registry.set_alias(model, "champion", 2)
    registry.set_alias(model, "old", 1)
    registry.set_stage(model, 2, "Production", archive_existing=True)
    registry.set_version_tag(model, 1, "quality", None)
    registry.set_version_tag(model, 2, "checked", "yes")
    registry.update_version(model, 2, "better")
    registry.update_model(model, "")
    registry.set_model_tag(model, "team", None)
    assert push(store, remote).complete
    assert_registered_once(store, server, experiment, model)
    registry.delete_alias(model, "old")
    push(store, remote)
    assert_registered_once(store, server, experiment, model)
    assert push(store, remote).requests == 0


@pytest.mark.parametrize("path", ["registered-models/create", "model-versions/create", "registered-models/alias"])
def test_a_lost_answer_makes_no_second_version(
    path: str,
    store: Store,
    server: MlflowServer,
    proxy: FaultyProxy,
    spoiled: Remote,
    experiment: str,
    model: str,
    hasty: RetryPolicy,
) -> None:
    register(model, versions=2)
    store.registry.set_alias(model, "champion", 2)
    proxy.fault = lambda seen: LoseAnswer() if seen.path.endswith(path) and seen.number == 1 else None
    assert push(store, spoiled, policy=hasty).complete
    assert_registered_once(store, server, experiment, model)


def test_versions_are_found_again_without_a_ledger(
    store: Store, server: MlflowServer, remote: Remote, experiment: str, model: str
) -> None:
    register(model, versions=2)
    push(store, remote)
    ledger_path(store, remote).unlink()
    store.registry.set_version_tag(model, 1, "quality", "poor")
    store.registry.set_stage(model, 2, "Staging")
    report = push(store, remote)
    assert (report.models, report.model_versions) == (0, 0)
    assert_registered_once(store, server, experiment, model)


def test_numbers_may_differ_where_the_model_was_there_before(
    store: Store, server: MlflowServer, remote: Remote, experiment: str, model: str
) -> None:
    server.post("registered-models/create", name=model)
    run = push_of_another(server, experiment)
    server.post(
        "model-versions/create", name=model, source=f"{run['info']['artifact_uri']}/m", run_id=run["info"]["run_id"]
    )
    register(model)
    store.registry.set_alias(model, "champion", 1)
    report = push(store, remote)
    assert (report.models, report.model_versions, report.complete) == (0, 1, True)
    found = versions_there(server, model)
    assert [tags(version).get("mltrack.model_version", "").split("/")[2:3] for version in found] == [[], ["1"]]
    assert server.get("registered-models/alias", name=model, alias="champion")["model_version"]["version"] == "2"
    assert LedgerState.read(ledger_path(store, remote)).models[model].versions[1].remote == "2"


def push_of_another(server: MlflowServer, experiment: str) -> dict[str, Any]:
    made = server.post("experiments/create", name=f"{experiment} of another")
    run: dict[str, Any] = server.post("runs/create", experiment_id=made["experiment_id"])["run"]
    return run


def test_a_version_waits_for_its_run(
    store: Store, server: MlflowServer, remote: Remote, experiment: str, model: str
) -> None:
    first, second = register(model, versions=2)
    report = push(store, remote, selection=Selection(runs=(second,)))
    assert (report.model_versions, report.complete) == (1, True)
    assert [version["run_id"] for version in versions_there(server, model)] == [
        server.runs(experiment)[second]["info"]["run_id"]
    ]
    assert push(store, remote).model_versions == 1
    assert_registered_once(store, server, experiment, model)
    assert first in server.runs(experiment)


def test_what_the_registry_refuses_is_rejected_with_its_words_and_tried_again(
    store: Store, server: MlflowServer, proxy: FaultyProxy, spoiled: Remote, experiment: str, model: str
) -> None:
    register(model, versions=2)
    no = Answer(400, b'{"error_code":"INVALID_PARAMETER_VALUE","message":"no more versions"}')
    proxy.fault = lambda seen: no if seen.path.endswith("model-versions/create") else None
    report = push(store, spoiled)
    assert [(r.run_id, r.kind, r.key, r.reason) for r in report.rejected] == [
        ("", "model version", f"{model}/{number}", "no more versions") for number in (1, 2)
    ]
    assert push(store, spoiled).requests == 0
    proxy.fault = lambda seen: None
    assert push(store, spoiled, retry_rejected=True).complete
    assert_registered_once(store, server, experiment, model)


def test_a_version_of_a_file_nobody_has_is_refused_and_the_rest_goes_on(
    store: Store, server: MlflowServer, remote: Remote, experiment: str, model: str, tmp_path: Path
) -> None:
    register(model)
    store.registry.create_version(model, str(tmp_path))
    report = push(store, remote)
    assert [(r.kind, r.key) for r in report.rejected] == [("model version", f"{model}/2")]
    assert len(versions_there(server, model)) == 1


def test_any_request_may_be_lost(
    store: Store,
    server: MlflowServer,
    proxy: FaultyProxy,
    spoiled: Remote,
    experiment: str,
    model: str,
    hasty: RetryPolicy,
) -> None:
    register(model, versions=3)
    store.registry.set_alias(model, "champion", 3)
    store.registry.set_stage(model, 1, "Staging")

    def fault(seen: Seen) -> Fault:
        about = "model" in seen.path.rpartition("mlflow/")[2]
        return (LoseAnswer(), Cut(), Answer(503))[seen.number % 3] if about and len(proxy.seen) % 2 else None

    proxy.fault = fault
    push(store, spoiled, policy=hasty)
    proxy.fault = lambda seen: None
    assert push(store, spoiled).complete
    assert_registered_once(store, server, experiment, model)


def test_a_syncer_killed_among_models_makes_each_version_once(
    store: Store,
    server: MlflowServer,
    proxy: FaultyProxy,
    spoiled: Remote,
    experiment: str,
    model: str,
    syncers: Syncers,
) -> None:
    register(model, versions=3)
    store.registry.set_alias(model, "champion", 2)
    push(store, spoiled, selection=Selection(experiments=(experiment,), filter="attributes.run_name = 'run 0'"))
    moments = [(9, False), (7, True), (4, False), (5, True)]
    assert killed_at_requests(syncers, store, spoiled, proxy, moments) >= 2
    push(store, spoiled)
    assert_registered_once(store, server, experiment, model)


def test_a_model_made_anew_under_its_old_name_is_another(
    store: Store, server: MlflowServer, remote: Remote, model: str
) -> None:
    register(model)
    push(store, remote)
    store.registry.delete_model(model)
    assert push(store, remote).requests == 0  # what was deleted here stays there
    register(model)
    assert push(store, remote).model_versions == 1
    assert len(versions_there(server, model)) == 2
