"""Registered models pushed to an MLflow server: each version there once, with its own number, tags and aliases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import mltrack
from mltrack_sync import Selection
from mltrack_sync.ledger.ledger import LedgerState
from tests.support.pair import Pair
from tests.support.proxy import Answer, Cut, Fault, LoseAnswer, Seen
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


def assert_registered_once(pair: Pair, model: str) -> None:
    runs = pair.server.runs(pair.experiment)
    here, there = pair.store.registry.versions(model), versions_there(pair.server, model)
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
    whole = pair.server.get("registered-models/get", name=model)["registered_model"]
    numbers = {version.version: by_mark[str(version.version)]["version"] for version in here}
    aliases = {alias["alias"]: alias["version"] for alias in whole.get("aliases", [])}
    assert aliases == {a: numbers[n] for a, n in pair.store.registry.get_model(model).aliases.items()}
    assert tags(whole) == pair.store.registry.get_model(model).tags
    assert whole.get("description", "") == pair.store.registry.get_model(model).description


def test_models_arrive_with_versions_aliases_stages_and_tags_and_follow_changes(pair: Pair, model: str) -> None:
    register(model, versions=2)
    registry = pair.store.registry
    registry.update_model(model, "two spirals")
    registry.set_model_tag(model, "team", "vision")
    registry.set_alias(model, "champion", 1)
    registry.set_stage(model, 1, "Production")
    foreseen = pair.push(dry_run=True)
    assert (foreseen.models, foreseen.model_versions) == (1, 2)
    assert pair.status().pending_model_versions == 2
    report = pair.push()
    assert report.complete, report
    assert (report.models, report.model_versions) == (1, 2)
    assert_registered_once(pair, model)
    assert (pair.status().pending_models, pair.push().requests) == (0, 0)
    registry.set_alias(model, "champion", 2)
    registry.set_alias(model, "old", 1)
    registry.set_stage(model, 2, "Production", archive_existing=True)
    registry.set_version_tag(model, 1, "quality", None)
    registry.set_version_tag(model, 2, "checked", "yes")
    registry.update_version(model, 2, "better")
    registry.update_model(model, "")
    registry.set_model_tag(model, "team", None)
    assert pair.push().complete
    assert_registered_once(pair, model)
    registry.delete_alias(model, "old")
    pair.push()
    assert_registered_once(pair, model)
    assert pair.push().requests == 0


@pytest.mark.parametrize("path", ["registered-models/create", "model-versions/create", "registered-models/alias"])
def test_a_lost_answer_creates_no_second_version(pair: Pair, path: str, model: str) -> None:
    register(model, versions=2)
    pair.store.registry.set_alias(model, "champion", 2)
    pair.lose_first(path)
    assert pair.push().complete
    assert_registered_once(pair, model)


def test_versions_are_found_again_without_a_ledger(pair: Pair, model: str) -> None:
    register(model, versions=2)
    pair.push()
    pair.ledger_path.unlink()
    pair.store.registry.set_version_tag(model, 1, "quality", "poor")
    pair.store.registry.set_stage(model, 2, "Staging")
    report = pair.push()
    assert (report.models, report.model_versions) == (0, 0)
    assert_registered_once(pair, model)


def test_version_numbers_may_differ_if_the_model_already_existed(pair: Pair, model: str) -> None:
    pair.server.post("registered-models/create", name=model)
    run = push_of_another(pair.server, pair.experiment)
    pair.server.post(
        "model-versions/create", name=model, source=f"{run['info']['artifact_uri']}/m", run_id=run["info"]["run_id"]
    )
    register(model)
    pair.store.registry.set_alias(model, "champion", 1)
    report = pair.push()
    assert (report.models, report.model_versions, report.complete) == (0, 1, True)
    found = versions_there(pair.server, model)
    assert [tags(version).get("mltrack.model_version", "").split("/")[2:3] for version in found] == [[], ["1"]]
    assert pair.server.get("registered-models/alias", name=model, alias="champion")["model_version"]["version"] == "2"
    assert LedgerState.read(pair.ledger_path).models[model].versions[1].remote == "2"


def push_of_another(server: MlflowServer, experiment: str) -> dict[str, Any]:
    made = server.post("experiments/create", name=f"{experiment} of another")
    run: dict[str, Any] = server.post("runs/create", experiment_id=made["experiment_id"])["run"]
    return run


def test_a_version_waits_for_its_run(pair: Pair, model: str) -> None:
    first, second = register(model, versions=2)
    report = pair.push(selection=Selection(runs=(second,)))
    assert (report.model_versions, report.complete) == (1, True)
    assert [version["run_id"] for version in versions_there(pair.server, model)] == [
        pair.server.runs(pair.experiment)[second]["info"]["run_id"]
    ]
    assert pair.push().model_versions == 1
    assert_registered_once(pair, model)
    assert first in pair.server.runs(pair.experiment)


def test_what_the_registry_refuses_is_rejected_with_its_message_and_retried(pair: Pair, model: str) -> None:
    register(model, versions=2)
    no = Answer(400, b'{"error_code":"INVALID_PARAMETER_VALUE","message":"no more versions"}')
    pair.proxy.fault = lambda seen: no if seen.path.endswith("model-versions/create") else None
    report = pair.push()
    assert [(r.run_id, r.kind, r.key, r.reason) for r in report.rejected] == [
        ("", "model version", f"{model}/{number}", "no more versions") for number in (1, 2)
    ]
    assert pair.push().requests == 0
    pair.heal()
    assert pair.push(retry_rejected=True).complete
    assert_registered_once(pair, model)


def test_a_version_of_a_missing_file_is_refused_and_the_rest_is_sent(pair: Pair, model: str, tmp_path: Path) -> None:
    register(model)
    pair.store.registry.create_version(model, str(tmp_path))
    report = pair.push()
    assert [(r.kind, r.key) for r in report.rejected] == [("model version", f"{model}/2")]
    assert len(versions_there(pair.server, model)) == 1


def test_any_request_may_be_lost(pair: Pair, model: str) -> None:
    register(model, versions=3)
    pair.store.registry.set_alias(model, "champion", 3)
    pair.store.registry.set_stage(model, 1, "Staging")

    def fault(seen: Seen) -> Fault:
        about = "model" in seen.path.rpartition("mlflow/")[2]
        return (LoseAnswer(), Cut(), Answer(503))[seen.number % 3] if about and len(pair.proxy.seen) % 2 else None

    pair.proxy.fault = fault
    pair.push()
    pair.heal()
    assert pair.push().complete
    assert_registered_once(pair, model)


@pytest.mark.slow
def test_a_syncer_killed_while_it_sends_models_creates_each_version_once(
    pair: Pair, model: str, syncers: Syncers
) -> None:
    register(model, versions=3)
    pair.store.registry.set_alias(model, "champion", 2)
    pair.push(selection=Selection(experiments=(pair.experiment,), filter="attributes.run_name = 'run 0'"))
    moments = [(9, False), (7, True), (4, False), (5, True)]
    assert pair.killed_at(syncers, moments) >= 2
    pair.push()
    assert_registered_once(pair, model)


def test_a_model_recreated_under_its_old_name_is_another_model(pair: Pair, model: str) -> None:
    register(model)
    pair.push()
    pair.store.registry.delete_model(model)
    assert pair.push().requests == 0  # what was deleted here stays there
    register(model)
    assert pair.push().model_versions == 1
    assert len(versions_there(pair.server, model)) == 2
