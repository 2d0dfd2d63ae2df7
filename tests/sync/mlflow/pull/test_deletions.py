"""What was deleted, restored or renamed on a server since it was pulled is so here, unless that was changed here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from mltrack.entities import ACTIVE, DELETED
from mltrack.storage.check.check import check_store
from mltrack.storage.runs.edit import set_stage, set_tag
from mltrack.store import Store
from mltrack_sync import Remote, Remotes, Selection, push
from mltrack_sync.engine.pull import pull
from mltrack_sync.engine.verify import verify
from mltrack_sync.report import PullReport
from tests.support.fake_mlflow import FakeMlflow
from tests.support.forked_server import ForkedServer
from tests.support.server import MlflowServer
from tests.support.server_content import make_experiment, make_model, make_run, make_version, put_file, series

OLD = Remote("old", "http://old.invalid")
PROMPT = {"mlflow.prompt.is_prompt": "true"}


def pull_from(fake: FakeMlflow, store: Store) -> PullReport:
    report = pull(store, OLD, http=fake)
    assert report.complete, report.problems
    assert check_store(store.path).findings == []
    return report


def only_run(store: Store) -> str:
    (run_id,) = store.run_ids()
    return run_id


def stage_of(store: Store, run_id: str) -> str:
    return store.run(run_id).info.lifecycle_stage


def assert_nothing_more(fake: FakeMlflow, store: Store) -> None:
    """The next pull says nothing, and a sync sends nothing."""
    report = pull_from(fake, store)
    assert (report.runs, report.notes) == (0, ())
    fake.calls.clear()
    assert push(store, OLD, http=fake).complete
    assert fake.calls == []


# --- runs ---


def test_a_run_deleted_on_a_real_server_is_deleted_here_and_restored_with_it(
    store: Store, server: MlflowServer, remote: Remote, experiment_id: str, mine: Selection
) -> None:
    there = make_run(server, experiment_id, points=series("m", 5))
    pull(store, remote, selection=mine)
    run_id = only_run(store)
    server.post("runs/delete", run_id=there)
    (said,) = pull(store, remote, selection=mine).notes
    assert f"run {run_id} (theirs) was deleted on the server" in said
    assert f"mltrack restore {run_id}" in said
    assert stage_of(store, run_id) == DELETED
    assert push(store, remote).runs == 0
    server.post("runs/restore", run_id=there)
    (said,) = pull(store, remote, selection=mine).notes
    assert "was restored on the server" in said
    assert (stage_of(store, run_id), store.run(run_id).summaries["m"].count) == (ACTIVE, 5)
    assert pull(store, remote, selection=mine).notes == ()


def test_a_run_with_something_newer_here_stays_and_the_next_sync_restores_it(store: Store) -> None:
    fake = FakeMlflow()
    there = fake.make_run(fake.make_experiment("theirs"), points=[("m", 0, 5, 1.0)])
    pull_from(fake, store)
    set_tag(store.layout, only_run(store), "mine", "new")
    fake.runs[there].info["lifecycle_stage"] = DELETED
    (said,) = pull_from(fake, store).notes
    assert "deleted on the server, and changed here since: it stays" in said
    assert stage_of(store, only_run(store)) == ACTIVE
    assert pull_from(fake, store).notes == ()
    assert push(store, OLD, http=fake).complete
    run = fake.runs[there]
    assert (run.info["lifecycle_stage"], run.tags["mine"]) == (ACTIVE, "new")
    assert verify(store, OLD, http=fake).same


def test_a_run_that_was_restored_here_is_not_deleted_again(store: Store) -> None:
    fake = FakeMlflow()
    there = fake.make_run(fake.make_experiment("theirs"))
    pull_from(fake, store)
    fake.runs[there].info["lifecycle_stage"] = DELETED
    pull_from(fake, store)
    set_stage(store.layout, only_run(store), ACTIVE)
    fake.runs[there].tags["more"] = "1"
    assert pull_from(fake, store).notes == ()
    assert stage_of(store, only_run(store)) == ACTIVE


def test_of_many_deleted_runs_a_few_are_named_and_all_are_counted(store: Store) -> None:
    fake = FakeMlflow()
    experiment = fake.make_experiment("theirs")
    made = [fake.make_run(experiment, name=f"run {n}") for n in range(9)]
    pull_from(fake, store)
    for there in made:
        fake.runs[there].info["lifecycle_stage"] = DELETED
    notes = pull_from(fake, store).notes
    assert len(notes) == 6
    assert notes[-1] == "runs that were deleted on the server: 4 more"
    assert {stage_of(store, run_id) for run_id in store.run_ids()} == {DELETED}
    assert_nothing_more(fake, store)


def test_a_run_that_is_gone_for_good_stays_here_and_that_is_said_once(store: Store) -> None:
    fake = FakeMlflow()
    experiment = fake.make_experiment("theirs")
    gone = fake.make_run(experiment, points=[("m", 0, 5, 1.0)])
    fake.make_run(experiment)
    pull_from(fake, store)
    kept = fake.runs.pop(gone)
    (said,) = pull_from(fake, store).notes
    assert said == f"run {gone} is gone from the server for good: it stays here"
    assert [stage_of(store, run_id) for run_id in store.run_ids()] == [ACTIVE, ACTIVE]
    assert_nothing_more(fake, store)
    fake.runs[gone] = kept  # its database came back from a backup, and was lost again
    assert_nothing_more(fake, store)
    fake.runs.pop(gone)
    assert len(pull_from(fake, store).notes) == 1


# --- experiments ---


def test_an_experiment_without_runs_comes_with_its_tags(store: Store) -> None:
    fake = FakeMlflow()
    fake.make_experiment("empty", {"team": "red"})
    deleted = fake.make_experiment("deleted")
    fake.experiments[deleted]["lifecycle_stage"] = DELETED
    assert pull(store, OLD, http=fake, dry_run=True).experiments == 1
    assert pull_from(fake, store).experiments == 1
    found = store.workspace.by_name("empty")
    assert found is not None
    assert found.tags["team"] == "red"
    assert store.workspace.by_name("deleted") is None
    assert pull_from(fake, store).experiments == 0


def test_renamed_experiments_are_renamed_here_also_where_another_has_the_former_name(store: Store) -> None:
    fake = FakeMlflow()
    first, second = fake.make_experiment("a"), fake.make_experiment("b")
    for experiment in (first, second):
        fake.make_run(experiment, name=f"run of {experiment}")
    pull_from(fake, store)
    here = {one.name: one.experiment_id for one in store.workspace.experiments().values()}
    fake.experiments[second]["name"] = "c"
    fake.experiments[first]["name"] = "b"
    third = fake.make_experiment("a")
    fake.experiments[third]["creation_time"] = 7
    fake.make_run(third, name="run of the new one")
    assert len(pull_from(fake, store).notes) == 2
    names = {one.experiment_id: one.name for one in store.workspace.experiments().values()}
    assert (names[here["a"]], names[here["b"]]) == ("b", "c")
    by_run = {record.info.run_name: record.info.experiment_name for record in store.search_runs()}
    assert by_run == {f"run of {first}": "b", f"run of {second}": "c", "run of the new one": "a"}
    assert_nothing_more(fake, store)


def test_an_experiment_renamed_on_both_sides_keeps_its_name_here(store: Store) -> None:
    fake = FakeMlflow()
    there = fake.make_experiment("theirs")
    fake.make_run(there)
    pull_from(fake, store)
    found = store.workspace.by_name("theirs")
    assert found is not None
    store.workspace.rename(found.experiment_id, "mine")
    assert pull_from(fake, store).notes == ()
    fake.experiments[there]["name"] = "other"
    (said,) = pull_from(fake, store).notes
    assert said == "experiment 'mine' is called 'other' on the server: what is here stands"
    assert_nothing_more(fake, store)
    assert store.workspace.get(found.experiment_id).name == "mine"


def test_an_experiment_deleted_on_a_real_server_is_deleted_here_with_its_runs_and_restored(
    store: Store, server: MlflowServer, remote: Remote, experiment_id: str, experiment: str, mine: Selection
) -> None:
    make_run(server, experiment_id)
    pull(store, remote, selection=mine)
    server.post("experiments/delete", experiment_id=experiment_id)
    notes = pull(store, remote, selection=mine).notes
    assert any(f"experiment '{experiment}' was deleted on the server" in words for words in notes), notes
    local = store.workspace.by_name(experiment)
    assert local is not None
    assert (local.lifecycle_stage, stage_of(store, only_run(store))) == (DELETED, DELETED)
    assert pull(store, remote, selection=mine).notes == ()
    server.post("experiments/restore", experiment_id=experiment_id)
    pull(store, remote, selection=mine)
    assert store.workspace.get(local.experiment_id).lifecycle_stage == ACTIVE
    assert stage_of(store, only_run(store)) == ACTIVE


def test_an_experiment_with_runs_of_ours_stays_though_it_was_deleted_on_the_server(store: Store) -> None:
    fake = FakeMlflow()
    there = fake.make_experiment("theirs")
    run = fake.make_run(there)
    pull_from(fake, store)
    set_tag(store.layout, only_run(store), "mine", "new")
    fake.experiments[there]["lifecycle_stage"] = fake.runs[run].info["lifecycle_stage"] = DELETED
    notes = pull_from(fake, store).notes
    assert (
        notes[-1] == "experiment 'theirs' was deleted on the server: it has runs here that are not deleted, so it stays"
    )
    assert pull_from(fake, store).notes == ()
    found = store.workspace.by_name("theirs")
    assert found is not None
    assert found.lifecycle_stage == ACTIVE


# --- models ---


def rename(fake: FakeMlflow, name: str, new_name: str) -> None:
    fake.models[new_name] = {**fake.models.pop(name), "name": new_name}
    fake.versions[new_name] = [{**version, "name": new_name} for version in fake.versions.pop(name)]


@pytest.mark.parametrize("of_tags", [{}, PROMPT])
def test_a_model_renamed_on_the_server_is_renamed_here(store: Store, of_tags: dict[str, str]) -> None:
    fake = FakeMlflow()
    for _ in range(2):
        fake.make_version("tree", "s3://x", tags=of_tags, of_tags=of_tags)
    fake.models["tree"]["aliases"]["live"] = "2"
    pull_from(fake, store)
    rename(fake, "tree", "oak")
    fake.make_version("tree", "s3://y", tags=of_tags, of_tags=of_tags)  # another one, of the former name
    assert pull_from(fake, store).model_versions == 1
    rename(fake, "oak", "ash")
    report = pull_from(fake, store)
    assert (report.models, report.model_versions) == (0, 0)
    assert report.notes == ("model 'oak' was renamed on the server: it is called 'ash' here, too",)
    assert [model.name for model in store.registry.models()] == ["ash", "tree"]
    assert store.registry.by_alias("ash", "live").version == 2
    assert_nothing_more(fake, store)
    (store.layout.remote(OLD.name) / "ledger.jsonl").unlink()
    assert pull_from(fake, store).model_versions == 0


def test_a_model_that_was_pushed_and_renamed_on_the_server_is_renamed_here(store: Store) -> None:
    fake = FakeMlflow()
    store.registry.create_model("mine")
    store.registry.create_version("mine", "s3://x")
    assert push(store, OLD, http=fake).complete
    rename(fake, "mine", "ours")
    assert pull_from(fake, store).notes == ("model 'mine' was renamed on the server: it is called 'ours' here, too",)
    assert_nothing_more(fake, store)
    (store.layout.remote(OLD.name) / "ledger.jsonl").unlink()
    assert push(store, OLD, http=fake).model_versions == 0
    assert len(fake.versions["ours"]) == 1


def test_models_and_versions_that_are_gone_stay_here_and_that_is_said_once(store: Store) -> None:
    fake = FakeMlflow()
    fake.make_version("tree", "s3://x")
    fake.make_version("tree", "s3://y")
    fake.make_version("other", "s3://z")
    pull_from(fake, store)
    del fake.versions["tree"][0]
    del fake.models["other"], fake.versions["other"]
    assert pull_from(fake, store).notes == (
        "model other is gone from the server for good: it stays here",
        "model version tree/1 is gone from the server for good: it stays here",
    )
    assert len(store.registry.versions()) == 3
    assert_nothing_more(fake, store)


def test_a_logged_model_deleted_on_a_real_server_is_deleted_here_unless_it_was_changed(
    store: Store, server: MlflowServer, remote: Remote, experiment_id: str, mine: Selection
) -> None:
    run_id = make_run(server, experiment_id)
    gone, changed = (make_model(server, experiment_id, run_id, tags={"n": n}) for n in "12")
    pull(store, remote, selection=mine)
    models = {store.logged_models.get(each).tags["n"]: each for each in store.logged_models.ids()}
    store.logged_models.set_tags(models["2"], {"mine": "new"})
    for there in (gone, changed):
        httpx.delete(f"{server.url}/api/2.0/mlflow/logged-models/{there}", trust_env=False).raise_for_status()
    notes = pull(store, remote, selection=mine).notes
    assert sorted(words.partition(" was ")[0] for words in notes) == sorted(
        f"logged model {m}" for m in models.values()
    )
    stages = {n: store.logged_models.get(each).lifecycle_stage for n, each in models.items()}
    assert stages == {"1": DELETED, "2": ACTIVE}
    assert pull(store, remote, selection=mine).notes == ()


# --- files ---


def test_a_file_replaced_by_one_of_the_same_size_comes_where_all_is_looked_at_again(
    store: Store, server: MlflowServer, remote: Remote, experiment_id: str, mine: Selection
) -> None:
    there = make_run(server, experiment_id)
    for name in ("a.bin", "b.bin"):
        put_file(server, there, name, b"1" * 1000)
    pull(store, remote, selection=mine)
    put_file(server, there, "a.bin", b"2" * 1000)
    assert pull(store, remote, selection=mine).artifacts == 0
    assert pull(store, remote, selection=mine, recheck=True).artifacts == 1
    run = store.run(only_run(store))
    assert run.artifact_path("a.bin").read_bytes() == b"2" * 1000
    assert check_store(store.path).findings == []
    assert pull(store, remote, selection=mine, recheck=True).artifacts == 0
    assert push(store, remote).artifacts == 0


def test_a_file_added_within_a_day_of_a_runs_end_comes_by_itself(store: Store) -> None:
    fake, day_ns = FakeMlflow(), 24 * 3600 * 10**9
    there = fake.make_run(fake.make_experiment("theirs"))
    pull(store, OLD, http=fake, clock=lambda: 3 * 10**9)
    place = fake.runs[there].info["artifact_uri"].removeprefix("mlflow-artifacts:/")
    fake.files[f"{place}/late.txt"] = b"late"
    assert pull(store, OLD, http=fake, clock=lambda: 3 * 10**9 + day_ns).artifacts == 0
    assert pull(store, OLD, http=fake, clock=lambda: day_ns).artifacts == 1
    assert (only_run(store), pull(store, OLD, http=fake, clock=lambda: day_ns).runs) == (only_run(store), 0)


# --- all of it, as users do it ---


@pytest.mark.slow
def test_a_real_servers_renames_and_purges(store: Store, tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    server = ForkedServer(tmp_path / "server")
    try:
        server.start()
        remote = Remotes(store).add("lab", server.url)
        experiment_id = make_experiment(server, "theirs")
        kept, gone = (make_run(server, experiment_id, name=name) for name in ("kept", "gone"))
        source = server.get("runs/get", run_id=kept)["run"]["info"]["artifact_uri"]
        make_version(server, "tree", f"{source}/model", run_id=kept)
        assert pull(store, remote).complete
        server.post("registered-models/rename", name="tree", new_name="oak")
        server.post("experiments/update", experiment_id=experiment_id, new_name="renamed")
        server.post("runs/delete", run_id=gone)
        purge = [sys.executable, "-m", "mlflow", "gc", "--run-ids", gone, "--tracking-uri", server.url]
        purge += ["--backend-store-uri", f"sqlite:///{server.folder / 'mlflow.db'}"]
        subprocess.run(purge, check=True, capture_output=True, timeout=120)
        report = pull(store, remote)
        assert report.complete
        assert sorted(report.notes) == [
            "experiment 'theirs' was renamed on the server: it is called 'renamed' here, too",
            "model 'tree' was renamed on the server: it is called 'oak' here, too",
            f"run {gone} is gone from the server for good: it stays here",
        ]
        assert pull(store, remote).notes == ()
        assert push(store, remote).complete
        assert {record.info.experiment_name for record in store.search_runs()} == {"renamed"}
    finally:
        server.close()
