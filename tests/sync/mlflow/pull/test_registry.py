"""Registered models and prompts come from a server once, and go on to another one."""

from __future__ import annotations

from typing import Any

import pytest

from mltrack.storage.check.check import check_store
from mltrack.store import Store
from mltrack_sync import Remote, Selection, push
from mltrack_sync.engine.pull import pull
from mltrack_sync.engine.verify import verify
from mltrack_sync.report import PullReport
from tests.support.fake_mlflow import FakeMlflow
from tests.support.server import MlflowServer
from tests.support.server_content import make_model, make_run, make_version, pairs

OLD, NEW = Remote("old", "http://old.invalid"), Remote("new", "http://new.invalid")
TEMPLATE = {"mlflow.prompt.is_prompt": "true", "mlflow.prompt.text": "Hello {{name}}"}


def filled() -> FakeMlflow:
    """A run; a model with two versions, aliases and a stage; a copy of one; a prompt with two versions."""
    fake = FakeMlflow()
    experiment = fake.make_experiment("theirs")
    run_id = fake.make_run(experiment, points=[("m", 0, 5, 1.0)])
    source = f"{fake.runs[run_id].info['artifact_uri']}/model"
    fake.files[f"{source.removeprefix('mlflow-artifacts:/')}/weights"] = b"1234"
    fake.make_version("tree", source, run_id=run_id, tags={"k": "v"}, description="first")
    fake.make_version("tree", source, run_id=run_id)["current_stage"] = "Production"
    fake.models["tree"] |= {"description": "a tree", "aliases": {"champion": "2", "old": "1"}}
    fake.models["tree"]["tags"]["team"] = "red"
    fake.make_version("copied", "models:/tree/2")
    fake.make_version("greet", "prompt-template", tags=TEMPLATE, of_tags={"mlflow.prompt.is_prompt": "true"})
    fake.make_version("greet", "prompt-template", tags={**TEMPLATE, "mlflow.prompt.text": "Hi"})
    fake.models["greet"]["aliases"]["live"] = "2"
    return fake


def pull_from(fake: FakeMlflow, store: Store, **options: Any) -> PullReport:
    report = pull(store, OLD, http=fake, **options)
    assert report.complete, report.problems
    return report


def lose_ledger(store: Store, remote: Remote) -> None:
    (store.layout.remote(remote.name) / "ledger.jsonl").unlink()


def test_models_and_prompts_arrive_as_they_are_on_the_server(store: Store) -> None:
    fake = filled()
    report = pull_from(fake, store)
    assert (report.models, report.model_versions) == (3, 5)
    (run_id,) = store.run_ids()
    tree = store.registry.get_model("tree")
    assert (tree.description, tree.tags, tree.aliases) == ("a tree", {"team": "red"}, {"champion": 2, "old": 1})
    assert tree.creation_time == fake.models["tree"]["creation_timestamp"]
    first, second = store.registry.versions("tree")
    assert (first.source, first.run_id, first.description) == (f"runs:/{run_id}/model", run_id, "first")
    assert (first.tags["k"], first.stage, second.stage) == ("v", "None", "Production")
    assert first.creation_time == fake.versions["tree"][0]["creation_timestamp"]
    assert store.registry.get_version("copied", 1).source == "models:/tree/2"
    assert store.registry.by_alias("greet", "live").tags["mlflow.prompt.text"] == "Hi"
    assert check_store(store.path).findings == []


def test_a_second_pull_brings_nothing_and_a_sync_sends_nothing_back(store: Store) -> None:
    fake = filled()
    pull_from(fake, store)
    before = store.registry.models(), store.registry.versions()
    again = pull_from(fake, store)
    assert (again.models, again.model_versions) == (0, 0)
    fake.calls.clear()
    assert push(store, OLD, http=fake).complete
    assert fake.calls == []
    assert (store.registry.models(), store.registry.versions()) == before


def test_they_move_to_another_server_and_are_equal_on_both(store: Store) -> None:
    old, new = filled(), FakeMlflow()
    pull_from(old, store)
    report = push(store, NEW, http=new)
    assert report.complete, report
    assert {name: len(versions) for name, versions in new.versions.items()} == {"tree": 2, "copied": 1, "greet": 2}
    assert new.models["tree"]["aliases"] == {"champion": "2", "old": "1"}
    for remote, fake in ((OLD, old), (NEW, new)):
        compared = verify(store, remote, http=fake)
        assert compared.differences == ()
        assert (compared.models, compared.model_versions) == (3, 5)


@pytest.mark.parametrize("pulled_first", [True, False])
def test_without_ledgers_no_version_is_created_twice_on_either_side(store: Store, pulled_first: bool) -> None:
    old, new = filled(), FakeMlflow()
    pull_from(old, store)
    push(store, NEW, http=new)
    before = {name: list(versions) for name, versions in old.versions.items()}
    lose_ledger(store, OLD)
    lose_ledger(store, NEW)
    if pulled_first:
        assert pull_from(old, store).model_versions == 0
    assert push(store, OLD, http=old).model_versions == 0
    assert push(store, NEW, http=new).model_versions == 0
    assert {name: len(versions) for name, versions in new.versions.items()} == {"tree": 2, "copied": 1, "greet": 2}
    assert {name: list(versions) for name, versions in old.versions.items()} == before
    assert len(store.registry.versions()) == 5


def test_a_store_that_pulls_from_the_second_server_has_the_same_versions(
    store: Store, tmp_path_factory: pytest.TempPathFactory
) -> None:
    old, new = filled(), FakeMlflow()
    pull_from(old, store)
    push(store, NEW, http=new)
    other = Store.create(tmp_path_factory.mktemp("other") / "store")
    assert pull(other, NEW, http=new).model_versions == 5
    assert push(other, OLD, http=old).model_versions == 0
    marks = [sorted(v.tags["mltrack.model_version"] for v in each.registry.versions()) for each in (store, other)]
    assert marks[0] == marks[1]


def test_changes_on_the_server_come_and_what_was_changed_here_stands(store: Store) -> None:
    fake = filled()
    pull_from(fake, store)
    tree = fake.models["tree"]
    tree |= {"description": "theirs"}
    tree["tags"] = {"team": "blue", "new": "1"}
    tree["aliases"] = {"champion": "1", "both": "1"}
    fake.versions["tree"][0] |= {"description": "changed", "current_stage": "Staging"}
    store.registry.set_model_tag("tree", "team", "mine")
    store.registry.set_alias("tree", "both", 2)
    store.registry.set_alias("tree", "own", 2)
    report = pull_from(fake, store)
    model = store.registry.get_model("tree")
    assert (model.description, model.tags) == ("theirs", {"team": "mine", "new": "1"})
    assert model.aliases == {"champion": 1, "both": 2, "own": 2}
    first = store.registry.get_version("tree", 1)
    assert (first.description, first.stage) == ("changed", "Staging")
    assert report.notes == (
        "tag 'team' of model 'tree' was set here and on the server: what is here stands",
        "alias 'both' of model 'tree' was set here and on the server: what is here stands",
    )
    assert pull_from(fake, store).models == 0
    assert push(store, OLD, http=fake).complete
    assert (tree["tags"]["team"], tree["aliases"]) == ("mine", {"champion": "1", "both": "2", "own": "2"})
    assert pull_from(fake, store).notes == ()


def test_what_was_deleted_here_does_not_come_again(store: Store) -> None:
    fake = filled()
    pull_from(fake, store)
    store.registry.delete_version("tree", 1)
    store.registry.delete_model("copied")
    fake.versions["tree"][0]["description"] = "changed"
    pull_from(fake, store)
    assert [(v.name, v.version) for v in store.registry.versions()] == [("greet", 1), ("greet", 2), ("tree", 2)]


def test_a_number_that_another_version_has_here_is_not_taken(store: Store) -> None:
    store.registry.create_model("tree")
    store.registry.create_version("tree", "s3://mine/model")
    fake = filled()
    report = pull_from(fake, store)
    sources = {v.version: v.source for v in store.registry.versions("tree")}
    assert sources.pop(1) == "s3://mine/model"
    assert sorted(sources) == [2, 3]
    assert store.registry.get_model("tree").aliases == {"champion": 3, "old": 2}
    assert [note for note in report.notes if "is version 3 here" in note]
    assert push(store, OLD, http=fake).model_versions == 1
    assert verify(store, OLD, http=fake).differences == ()


def test_versions_that_are_not_ready_wait_and_files_elsewhere_are_said(store: Store) -> None:
    fake = filled()
    fake.make_version("tree", "s3://bucket/model")
    fake.versions["tree"][0]["status"] = "PENDING_REGISTRATION"
    report = pull(store, OLD, http=fake)
    assert report.problems == ("version 1 of model 'tree' is not ready on the server",)
    assert report.left_behind == ("files of model versions that are in no run or logged model of the server: 1",)
    fake.versions["tree"][0]["status"] = "READY"
    assert pull_from(fake, store).model_versions == 1
    assert [v.version for v in store.registry.versions("tree")] == [1, 2, 3]


def test_models_of_an_experiments_runs_come_with_it_and_the_rest_is_said(store: Store) -> None:
    fake = filled()
    other = fake.make_run(fake.make_experiment("another"))
    fake.make_version("tree", "s3://x", run_id=other)
    report = pull_from(fake, store, selection=Selection(experiments=("theirs",)))
    assert (report.models, report.model_versions) == (1, 2)
    assert report.left_behind == (
        "model versions of runs that are not selected: 2",
        "prompts (pulled only when everything is): 1",
    )
    by_filter = pull_from(fake, store, selection=Selection(runs=(other,)))
    assert "registered models (not pulled with --run or --filter): 2" in by_filter.left_behind
    assert pull_from(fake, store).model_versions == 4


def test_a_real_servers_versions_arrive_with_the_runs_and_models_that_they_are_made_of(
    store: Store, server: MlflowServer, remote: Remote, experiment_id: str, experiment: str, mine: Selection
) -> None:
    name = f"tree of {experiment}"
    run_id = make_run(server, experiment_id)
    model_id = make_model(server, experiment_id, run_id)
    uri = server.get("runs/get", run_id=run_id)["run"]["info"]["artifact_uri"]
    make_version(server, name, f"{uri}/model", run_id=run_id, tags={"k": "v"})
    make_version(server, name, f"models:/{model_id}", run_id=run_id, model_id=model_id)
    server.post("registered-models/alias", name=name, alias="champion", version="2")
    server.post("registered-models/set-tag", name=name, key="team", value="red")
    report = pull(store, remote, selection=mine)
    assert (report.models, report.model_versions, report.complete) == (1, 2, True)
    (local,) = store.run_ids()
    (model,) = store.logged_models.ids()
    first, second = store.registry.versions(name)
    assert (first.source, first.run_id) == (f"runs:/{local}/model", local)
    assert (second.source, second.model_id, second.aliases) == (f"models:/{model}", model, ("champion",))
    assert verify(store, remote).differences == ()
    again = pull(store, remote, selection=mine)
    assert (again.models, again.model_versions) == (0, 0)
    lose_ledger(store, remote)
    assert push(store, remote).model_versions == 0
    assert len(server.get("model-versions/search", filter=f"name='{name}'")["model_versions"]) == 2
    assert pairs(store.registry.get_model(name).tags) == [{"key": "team", "value": "red"}]
