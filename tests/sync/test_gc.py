"""Freeing space: only what the remote has whole goes, each run at once; everything else stays and says why."""

from __future__ import annotations

import contextlib
import json
from functools import partial
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

import mltrack
from mltrack.errors import StoreError, UsageError
from mltrack.storage.check.check import check_store
from mltrack.store import Store
from mltrack_sync import Remote, Remotes, push
from mltrack_sync.cli.verify import commands
from mltrack_sync.engine.verify import verify
from mltrack_sync.gc import GcPlan, execute, parse_age, plan_gc
from tests.support.both_sides import assert_equal
from tests.support.fake_mlflow import FakeMlflow
from tests.support.fake_parts import unknown_call
from tests.support.filesystems import Stopped, failing, stopping_at
from tests.support.model_recording import record_model
from tests.support.server import MlflowServer


@click.group()
@click.pass_context
def cli(ctx: click.Context) -> None:
    pass


for each in commands:
    cli.add_command(each)


def command(store: Store, *args: str, answer: str = "") -> Result:
    result = CliRunner().invoke(cli, args, input=answer, obj={"store": str(store.path)})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def record(name: str = "run", points: int = 50) -> str:
    with mltrack.start_run(run_name=name) as run:
        mltrack.log_param("a", 1)
        for step in range(points):
            mltrack.log_metric("m", step * 0.5, step=step)
        mltrack.log_text("x" * 10_000, "deep/file.txt")
        return run.run_id


def reasons(plan: GcPlan) -> dict[str, str]:
    return {kept.run_id: kept.reason for kept in plan.retained}


def test_what_is_on_the_remote_is_removed_locally_and_stays_on_the_remote(
    store: Store, server: MlflowServer, remote: Remote, experiment: str
) -> None:
    gone = record("gone")
    push(store, remote)
    stays = record("stays")
    plan = plan_gc(store, remote)
    assert [run.run_id for run in plan.deletable] == [gone]
    assert reasons(plan)[stays] == "differs from the remote: run: local present, remote nothing"
    assert plan.bytes > 10_000
    freed, kept = execute(store, plan)
    assert ([run.run_id for run in freed], kept) == ([gone], [])
    assert store.run_ids() == [stays] == [run.info.run_id for run in store.search_runs()]
    push(store, remote)
    there = server.runs(experiment)
    assert there[gone]["info"]["lifecycle_stage"] == "active"
    assert there.keys() == {gone, stays}
    assert check_store(store.path).findings == []


def test_with_keep_metrics_only_files_are_removed_and_the_run_says_where_they_are(
    store: Store, server: MlflowServer, remote: Remote
) -> None:
    run_id = record()
    push(store, remote)
    before = store.run(run_id)
    freed, _ = execute(store, plan_gc(store, remote, keep_metrics=True))
    assert [run.run_id for run in freed] == [run_id]
    after = store.run(run_id)
    (artifact,) = after.artifacts
    assert (artifact.remote, artifact.time) == (remote.name, before.artifacts[0].time)
    assert not list(after.folder.artifacts.rglob("*.txt"))
    assert (after.info, after.params) == (before.info, before.params)
    assert check_store(store.path).findings == []
    assert push(store, remote).complete
    assert verify(store, remote).same
    assert reasons(plan_gc(store, remote, keep_metrics=True)) == {run_id: "has no files here"}
    with mltrack.start_run(run_id=run_id):
        mltrack.log_text("new", "deep/file.txt")
    assert store.run(run_id).artifact_path("deep/file.txt").read_text() == "new"
    assert store.run(run_id).artifacts[0].remote == ""


def test_removed_files_are_known_to_be_on_the_remote_even_if_the_ledger_is_lost(
    store: Store, server: MlflowServer, remote: Remote
) -> None:
    record()
    push(store, remote)
    execute(store, plan_gc(store, remote, keep_metrics=True))
    (store.layout.remote(remote.name) / "ledger.jsonl").unlink()
    assert push(store, remote).complete
    assert verify(store, remote).same


def test_live_young_deleted_damaged_and_refused_runs_are_kept(
    store: Store, server: MlflowServer, remote: Remote
) -> None:
    deleted, damaged, stray = record(), record(), record()
    with mltrack.start_run() as run:
        refused = run.run_id
        mltrack.log_param("long", "x" * 7000)
    live = mltrack.start_run()
    push(store, remote)
    store.delete_run(deleted)
    store.run(damaged).artifact_path("deep/file.txt").write_text("other")
    (store.run(stray).folder.artifacts / "mine.txt").write_text("not logged")
    found = reasons(plan_gc(store, remote))
    mltrack.end_run()
    assert found[live.run_id] == "is being recorded"
    assert found[deleted].startswith("is deleted here")
    assert "5 bytes, but 10,000 were recorded" in found[damaged]
    assert "is not recorded as an artifact" in found[stray]
    assert "rejected" in found[refused]
    assert len(found) == 5
    assert set(reasons(plan_gc(store, remote, older_than_s=3600)).values()) > {"is too young"}


def test_a_run_that_is_pending_for_another_remote_is_kept(store: Store, server: MlflowServer, remote: Remote) -> None:
    run_id = record()
    push(store, remote)
    Remotes(store).add("second", "http://127.0.0.1:1")
    assert "not on remote 'second' yet" in reasons(plan_gc(store, remote))[run_id]


def test_a_run_that_a_model_version_was_made_from_is_kept(store: Store, server: MlflowServer, remote: Remote) -> None:
    run_id = record()
    push(store, remote)
    store.registry.create_model("spirals")
    store.registry.create_version("spirals", f"runs:/{run_id}/deep", run_id=run_id)
    assert reasons(plan_gc(store, remote))[run_id] == "version 1 of model 'spirals' is made of it"


def test_what_changed_between_plan_and_deletion_is_kept(store: Store, server: MlflowServer, remote: Remote) -> None:
    resumed, live = record(), record()
    push(store, remote)
    plan = plan_gc(store, remote)
    with mltrack.start_run(run_id=resumed):
        mltrack.log_metric("m", 9.0, step=999)
    mltrack.start_run(run_id=live)
    freed, kept = execute(store, plan)
    mltrack.end_run()
    assert (freed, {run.run_id for run in kept}) == ([], {resumed, live})
    assert set(store.run_ids()) == {resumed, live}
    assert check_store(store.path).sound


# --- what a run holds besides metrics and files: whatever verify proves on that kind of remote may go ---


def record_everything(store: Store) -> str:
    """A run with a dataset, series, a file, and links to a model that it used and one that it made."""
    with mltrack.start_run(run_name="everything") as run:
        used, made = record_model(store, None, "used"), record_model(store, run.run_id, "made")
        mltrack.log_metric("m", 1.0, step=1)
        mltrack.log_text("x" * 10_000, "deep/file.txt")
        mltrack.log({"weights": mltrack.Histogram([1.0, 2.0, 2.0])}, step=1)
        run.log_input(mltrack.Dataset("digits", "d1", "local", "s3://bucket/digits"), context="training", model=used)
        run.log_outputs([made])
        return str(run.run_id)


def test_a_run_with_datasets_series_and_models_goes_once_the_server_has_all_of_them(store: Store) -> None:
    fake = FakeMlflow()
    remote = Remotes(store).add("fake", "http://fake")
    run_id = record_everything(store)
    push(store, remote, http=fake)
    (there,) = fake.runs.values()
    for part, name in (("datasets", "dataset 'digits'"), ("used", "model input"), ("made", "model output")):
        kept = getattr(there, part)
        setattr(there, part, type(kept)())
        assert name in reasons(plan_gc(store, remote, http=fake))[run_id]
        setattr(there, part, kept)
    for path in [path for path in fake.files if "/histograms/" in path]:
        content = fake.files.pop(path)
        assert "histograms" in reasons(plan_gc(store, remote, http=fake))[run_id]
        fake.files[path] = content
    freed, _ = execute(store, plan_gc(store, remote, http=fake))
    assert [run.run_id for run in freed] == [run_id]


def test_a_run_stays_whose_dataset_or_models_the_server_does_not_support(store: Store) -> None:
    fake = FakeMlflow()

    def fault(call: str, fields: dict[str, object]) -> None:
        if "runs/log-inputs" in call or "logged-models" in call:
            raise unknown_call(call)

    fake.fault = fault
    remote = Remotes(store).add("fake", "http://fake")
    run_id, plain = record_everything(store), record("plain")
    push(store, remote, http=fake)
    plan = plan_gc(store, remote, http=fake)
    assert reasons(plan) == {run_id: "has datasets or logged models, which the remote does not support"}
    assert [run.run_id for run in plan.deletable] == [plain]


@pytest.mark.parametrize("area", ["events", "segments", "points", "series", "artifacts"])
def test_a_run_with_all_of_it_goes_once_another_store_has_each_file(store: Store, tmp_path: Path, area: str) -> None:
    remote = Remotes(store).add("usb", str(Store.create(tmp_path / "usb").path))
    run_id = record_everything(store)
    with mltrack.start_run(run_id=run_id):
        for step in range(5_000):
            mltrack.log_metric("m", 1.0, step=step)
    push(store, remote)
    there = Store.open(tmp_path / "usb").run(run_id).folder.path
    files = [path for path in (there / area).rglob("*") if path.is_file() and not path.name.startswith(".")]
    file = max(files)  # of events those of the second writer: without the first one's it would be no run
    content = file.read_bytes()
    file.unlink()
    assert reasons(plan_gc(store, remote))[run_id].startswith(f"differs from the remote: file {area}/")
    file.write_bytes(content)
    freed, _ = execute(store, plan_gc(store, remote))
    assert [run.run_id for run in freed] == [run_id]
    assert Store.open(tmp_path / "usb").run(run_id).datasets[0].dataset.name == "digits"


def test_a_plan_that_is_too_old_is_not_executed(store: Store, server: MlflowServer, remote: Remote) -> None:
    record()
    push(store, remote)
    plan = plan_gc(store, remote, clock=lambda: 2e9)
    for late in (2e9 + 601, 2e9 - 1):  # a clock that was set back tells nothing either
        with pytest.raises(UsageError, match="too old"):
            execute(store, plan, clock=partial(float, late))
    assert len(store.run_ids()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("step", range(1, 9))
@pytest.mark.parametrize("keep_metrics", [False, True])
def test_interrupted_at_any_step_each_run_is_whole_or_gone(step: int, keep_metrics: bool, store: Store) -> None:
    fake = FakeMlflow()
    remote = Remotes(store).add("fake", "http://fake")
    first, second = record("first"), record("second")
    push(store, remote, http=fake)
    plan = plan_gc(store, remote, keep_metrics=keep_metrics, http=fake)
    for fs in (failing(step), stopping_at(step)):
        with contextlib.suppress(StoreError, Stopped):
            execute(store, plan, fs=fs)
        for run_id in store.run_ids():
            run = store.run(run_id)
            assert (run.info.lifecycle_stage, run.head().points) == ("active", 50)
            for artifact in run.artifacts:
                assert artifact.remote or run.artifact_path(artifact.path).stat().st_size == artifact.size
    assert push(store, remote, http=fake).complete
    assert {run.tags["mltrack.run_id"] for run in fake.runs.values()} == {first, second}
    assert [run.info["lifecycle_stage"] for run in fake.runs.values()] == ["active", "active"]
    execute(store, plan_gc(store, remote, http=fake))
    assert [path.name for path in store.layout.runs.iterdir() if not path.name.startswith(".")] == []


def test_the_command_lists_what_it_removes_asks_and_reports_what_was_removed(
    store: Store, server: MlflowServer, remote: Remote, experiment: str
) -> None:
    run_id = record("größe")
    with pytest.raises(UsageError, match="not an age"):
        command(store, "gc", "--synced", "--older-than", "soon")
    push(store, remote)
    told = command(store, "gc", "--synced", "--dry-run").output
    assert f"to remove: run {run_id} größe" in told
    assert store.run_ids() == [run_id]
    assert command(store, "gc", "--synced", "--older-than", "7d", "--yes").output.endswith("nothing was removed\n")
    assert store.run_ids() == [run_id]
    with pytest.raises(UsageError, match="nothing was removed"):
        command(store, "gc", "--synced", answer="n\n")
    assert_equal(store, server, experiment)
    fields = json.loads(command(store, "gc", "there", "--synced", "--yes", "--json").output)
    assert [run["run_id"] for run in fields["freed"]] == [run_id]
    assert fields["bytes"] > 0
    assert store.run_ids() == []


def test_the_command_verify_ends_with_1_when_something_differs(
    store: Store, server: MlflowServer, remote: Remote
) -> None:
    run_id = record()
    result = command(store, "verify")
    assert (result.exit_code, result.output.splitlines()[0]) == (1, f"{run_id}\trun\tpresent\tnothing")
    push(store, remote)
    assert command(store, "verify", "there").exit_code == 0
    fields = json.loads(command(store, "verify", "--json", "--quick").output)
    assert (fields["same"], fields["differences"], fields["runs"]) == (True, [], 1)


@pytest.mark.parametrize(
    ("text", "seconds"), [("7d", 604800), ("12h", 43200), ("1.5m", 90), ("2w", 1209600), ("9s", 9)]
)
def test_ages_are_parsed(text: str, seconds: float) -> None:
    assert parse_age(text) == seconds
