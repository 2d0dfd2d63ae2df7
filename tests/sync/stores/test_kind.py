"""Stores as remotes: sync, pull, status, verify and gc on a folder, and what is said where it can't be used."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import pytest

import mltrack
from mltrack.errors import StoreVersionError, UsageError
from mltrack.storage.check.check import check_store
from mltrack.store import Store
from mltrack_sync import Remotes, pull, push
from mltrack_sync.engine.verify import verify
from mltrack_sync.errors import RemoteUnavailableError
from mltrack_sync.gc import plan_gc
from mltrack_sync.remotes.kind import is_remote_url, kind_of
from mltrack_sync.remotes.ledgers import open_ledger, read_ledger
from mltrack_sync.remotes.resolver import remote_for
from mltrack_sync.status import status_of
from tests.support.command_line import run

POINTS = 15


def record(path: Path, name: str = "run", points: int = POINTS) -> str:
    """A run in a store."""
    mltrack.set_store(path)
    with mltrack.start_run(run_name=name) as made:
        mltrack.log_param("lr", 0.1)
        for step in range(points):
            mltrack.log_metric("loss", 1 / (step + 1), step=step)
        mltrack.log_text(f"notes of {name}", "notes.txt")
        mltrack.log_text("x" * 5_000, "large.txt")
        run_id: str = made.run_id
    mltrack.set_store(None)
    return run_id


@pytest.fixture
def here(tmp_path: Path) -> Store:
    """A store with a run."""
    record(tmp_path / "here")
    return Store.open(tmp_path / "here")


# --- addresses ---


@pytest.mark.parametrize("text", ["/media/usb/.mltrack", "./far", "../far", "~/far", "file:///media/usb", "."])
def test_paths_and_file_urls_are_stores(text: str) -> None:
    assert is_remote_url(text) or text == "."
    assert kind_of(text).name == "store"
    assert kind_of(text).check_url(text).startswith("/")


def test_a_relative_path_is_a_store_where_it_can_be_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "usb" / "runs").mkdir(parents=True)
    assert is_remote_url("usb/.mltrack")
    assert is_remote_url("usb/runs")
    assert not is_remote_url("mlflow.example.org/lab")
    assert not is_remote_url("lab")


@pytest.mark.parametrize("text", ["/", "file://host/path", "/media/us?b", "file:"])
def test_what_is_not_a_folder_of_a_store_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not the folder of a store"):
        kind_of(text).check_url(text)


def test_the_parent_folder_of_a_store_names_the_store(here: Store, tmp_path: Path) -> None:
    Store.create(tmp_path / "usb" / ".mltrack")
    added = Remotes(here).add("usb", str(tmp_path / "usb"))
    assert added.url == str(tmp_path / "usb" / ".mltrack")
    assert kind_of(added.url).name_for(added.url) == "usb"
    assert remote_for(here, f"file://{tmp_path}/usb") == added


def test_an_mlflow_file_store_in_the_environment_is_not_a_remote(here: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:///somewhere/mlruns")
    with pytest.raises(UsageError, match="no remote yet"):
        remote_for(here, None)


# --- both ways ---


def test_a_sync_creates_the_store_and_runs_keep_their_identity(here: Store, tmp_path: Path) -> None:
    (tmp_path / "usb").mkdir()
    said = run(here, "sync", str(tmp_path / "usb"))
    assert said.exit_code == 0
    assert "Sent to usb" in said.output
    far = Store.open(tmp_path / "usb" / ".mltrack")
    assert far.run_ids() == here.run_ids()
    (run_id,) = far.run_ids()
    assert far.run(run_id).metrics().equals(here.run(run_id).metrics())
    assert run(here, "sync").output.endswith("nothing to send\n")
    assert run(here, "verify").exit_code == 0


def test_what_was_pulled_is_not_pending_and_arrives_once(here: Store, tmp_path: Path) -> None:
    there = record(tmp_path / "far", "other")
    far = Remotes(here).add("far", str(tmp_path / "far"))
    said = pull(here, far, dry_run=True)
    assert (said.runs, said.created, said.artifacts) == (1, 1, 2)
    assert there not in here.run_ids()
    got = pull(here, far)
    assert (got.runs, got.created, got.points, got.artifacts, got.complete) == (1, 1, POINTS, 2, True)
    assert here.run(there).params == {"lr": "0.1"}
    again = pull(here, far)
    assert (again.runs, again.points, again.bytes) == (0, 0, 0)
    status = status_of(here, far)
    assert (status.pending_runs, status.runs_there) == (1, 1)  # the run that was here before
    push(here, far)
    assert status_of(here, far).pending_runs == 0
    assert Store.open(tmp_path / "far").run_ids() == here.run_ids()


def test_a_run_that_both_stores_recorded_into_is_merged(here: Store, tmp_path: Path) -> None:
    (run_id,) = here.run_ids()
    far = Remotes(here).add("far", str(tmp_path / "far"))
    push(here, far)
    for path, value in ((tmp_path / "here", 7.0), (tmp_path / "far", 8.0)):
        mltrack.set_store(path)
        with mltrack.start_run(run_id=run_id):
            mltrack.log_metric("loss", value, step=100)
        mltrack.set_store(None)
    assert pull(here, far).points == 1
    assert push(here, far).points == 1
    assert verify(here, far).same
    one, other = here.run(run_id), Store.open(tmp_path / "far").run(run_id)
    assert sorted(one.metrics("loss")["value"].to_pylist()) == sorted(other.metrics("loss")["value"].to_pylist())
    assert len(one.metrics("loss")) == POINTS + 2


def test_a_push_says_on_which_store_which_of_two_names_stands(here: Store, tmp_path: Path) -> None:
    made = here.workspace.create("first").experiment_id
    usb = Remotes(here).add("usb", str(tmp_path / "usb"))
    push(here, usb)
    here.workspace.rename(made, "earlier")
    Store.open(tmp_path / "usb").workspace.rename(made, "later")
    (note,) = push(here, usb).notes
    assert note == "on usb: name of experiment 'later' was set in both stores: 'later' stands, as later"


def test_the_selection_chooses_what_is_pulled(here: Store, tmp_path: Path) -> None:
    wanted = record(tmp_path / "far", "wanted")
    record(tmp_path / "far", "other")
    Remotes(here).add("far", str(tmp_path / "far"))
    said = run(here, "pull", "far", "--run", "wanted", "--json")
    assert json.loads(said.output)["runs"] == 1
    assert wanted in here.run_ids()
    assert len(here.run_ids()) == 2


# --- status, verify, gc ---


def test_status_counts_by_the_ledger_while_the_disk_is_not_mounted(here: Store, tmp_path: Path) -> None:
    usb = Remotes(here).add("usb", str(tmp_path / "usb" / ".mltrack"))
    before = status_of(here, usb)
    assert (before.pending_runs, before.pending_points, before.pending_artifacts) == (1, POINTS, 2)
    (tmp_path / "usb").mkdir()
    push(here, usb)
    (tmp_path / "usb").rename(tmp_path / "away")
    after = status_of(here, usb)
    assert (after.pending_runs, after.pending_points, after.pending_artifacts) == (0, 0, 0)
    record(here.path, "next")
    assert status_of(here, usb).pending_points == POINTS
    assert push(here, usb, dry_run=True).points == POINTS
    with pytest.raises(RemoteUnavailableError, match="no mltrack store at"):
        push(here, usb)
    (tmp_path / "usb").mkdir()  # the empty folder that a disk is mounted on gets no new store
    with pytest.raises(RemoteUnavailableError, match="no mltrack store at") as caught:
        push(here, usb)
    assert "mltrack remote add NEW-NAME URL" in str(caught.value.hint)
    assert push(here, Remotes(here).add("new", str(tmp_path / "usb" / ".mltrack"))).points == 2 * POINTS


def test_another_disk_at_the_same_path_gets_everything(here: Store, tmp_path: Path) -> None:
    usb = Remotes(here).add("usb", str(tmp_path / "usb" / ".mltrack"))
    (tmp_path / "usb").mkdir()
    push(here, usb)
    (tmp_path / "usb").rename(tmp_path / "first")
    Store.create(tmp_path / "usb" / ".mltrack")
    report = push(here, usb)
    assert (report.runs, report.points) == (1, POINTS)
    assert verify(here, usb).same


def test_verify_says_which_runs_were_not_sent_yet(here: Store, tmp_path: Path) -> None:
    usb = Remotes(here).add("usb", str(tmp_path / "usb"))
    push(here, usb)
    assert "not sent yet" not in run(here, "verify", "usb").output
    later = record(tmp_path / "here", "later")
    said = run(here, "verify", "usb")
    assert said.exit_code == 1
    assert f"{later}\trun\tpresent\tnothing\n" in said.output
    assert said.output.endswith("1 run has something that was not sent yet: mltrack sync usb\n")


def test_verify_finds_no_difference_where_another_store_has_more_facts_or_later_ones(
    here: Store, tmp_path: Path
) -> None:
    made = here.workspace.create("first", {"team": "a"}).experiment_id
    usb = Remotes(here).add("usb", str(tmp_path / "usb"))
    push(here, usb)
    far = Store.open(tmp_path / "usb")
    far.workspace.create("another store's")
    here.workspace.rename(made, "earlier")
    far.workspace.rename(made, "later")
    push(here, usb)
    assert verify(here, usb).same
    here.workspace.set_tag(made, "team", "b")
    assert [each.thing for each in verify(here, usb).differences] == ["file experiments.jsonl"]


def test_verify_names_the_run_and_file_that_differ(here: Store, tmp_path: Path) -> None:
    (run_id,) = here.run_ids()
    usb = Remotes(here).add("usb", str(tmp_path / "usb"))
    push(here, usb)
    large = Store.open(tmp_path / "usb").run(run_id).artifact_path("large.txt")
    large.write_bytes(b"y" + large.read_bytes()[1:])
    (difference,) = verify(here, usb).differences
    assert (difference.run_id, difference.thing) == (run_id, "file artifacts/large.txt")
    large.unlink()
    (difference,) = verify(here, usb, quick=True).differences
    assert (difference.thing, difference.there) == ("file artifacts/large.txt", "missing")
    assert status_of(here, usb).pending_runs == 1  # the comparison is remembered
    assert (push(here, usb).artifacts, push(here, usb).runs, verify(here, usb).same) == (1, 0, True)


def test_files_removed_on_the_remote_come_back_with_the_sync_after_a_comparison(here: Store, tmp_path: Path) -> None:
    (run_id,) = here.run_ids()
    record(here.path, "other")
    here.logged_models.create("0", "net")
    usb = Remotes(here).add("usb", str(tmp_path / "usb"))
    push(here, usb)
    there = Store.open(tmp_path / "usb")
    folder = there.run(run_id).folder
    for path in (folder.artifacts / "notes.txt", next(folder.points.glob("*.points"))):
        path.unlink()
    (model,) = there.path.glob("models/*/model.jsonl")
    model.unlink()
    assert push(here, usb).bytes == 0  # it takes the other store's word for what it holds
    compared = verify(here, usb, quick=True)
    assert (len(compared.differences), compared.differing()) == (3, {run_id})
    report = push(here, usb)
    assert (report.runs, report.artifacts, report.logged_models, report.problems) == (1, 1, 1, ())
    assert verify(here, usb).same
    assert push(here, usb).bytes == 0
    assert check_store(there.path).findings == []


def test_a_run_removed_on_the_remote_comes_back_with_the_next_sync(here: Store, tmp_path: Path) -> None:
    (run_id,) = here.run_ids()
    usb = Remotes(here).add("usb", str(tmp_path / "usb"))
    push(here, usb)
    shutil.rmtree(Store.open(tmp_path / "usb").run(run_id).folder.path)
    assert push(here, usb).runs == 1
    assert verify(here, usb).same


def test_gc_removes_what_the_other_store_has_whole(here: Store, tmp_path: Path) -> None:
    (run_id,) = here.run_ids()
    usb = Remotes(here).add("usb", str(tmp_path / "usb"))
    push(here, usb)
    assert [run.run_id for run in plan_gc(here, usb).deletable] == [run_id]
    Store.open(tmp_path / "usb").run(run_id).artifact_path("notes.txt").unlink()
    (kept,) = plan_gc(here, usb).retained
    assert "notes.txt" in kept.reason


# --- thin copies ---


def test_a_thin_copy_has_no_large_files_and_the_next_whole_copy_brings_only_these(here: Store, tmp_path: Path) -> None:
    (run_id,) = here.run_ids()
    usb = Remotes(here).add("usb", str(tmp_path / "usb"))
    assert push(here, usb, artifact_bytes_max=0).artifacts == 0
    far = Store.open(tmp_path / "usb")
    assert far.run(run_id).metrics().equals(here.run(run_id).metrics())
    assert status_of(here, usb).pending_artifacts == 2
    assert push(here, usb, artifact_bytes_max=100).artifacts == 1
    assert status_of(here, usb).pending_artifacts == 1
    whole = push(here, usb)
    assert (whole.artifacts, whole.points) == (1, 0)
    assert status_of(here, usb).pending_runs == 0
    assert verify(here, usb).same


def test_what_a_second_thin_copy_leaves_out_still_waits(here: Store, tmp_path: Path) -> None:
    usb = Remotes(here).add("usb", str(tmp_path / "usb"))
    push(here, usb, artifact_bytes_max=0)
    assert push(here, usb, artifact_bytes_max=0).runs == 0
    assert status_of(here, usb).pending_artifacts == 2


def test_a_first_push_makes_no_catalog_and_nothing_waits_after_it(here: Store, tmp_path: Path) -> None:
    (run_id,) = here.run_ids()
    mltrack.set_store(here.path)
    with mltrack.start_run(run_id=run_id):  # a second writer
        mltrack.log_metrics({"loss": 1.0, "other": 2.0}, step=POINTS)
    mltrack.fork_run(run_id, POINTS - 1).end()
    with mltrack.start_run(run_name="sealed"):
        for step in range(5_000):
            mltrack.log_metric("loss", step)
    for number in range(4):  # with these there are enough small runs for a batch
        with mltrack.start_run(run_name=f"small-{number}"):
            mltrack.log_metric("loss", number)
    mltrack.set_store(None)
    usb = Remotes(here).add("usb", str(tmp_path / "usb"))
    assert push(here, usb).runs == 7
    assert push(here, usb).runs == 0
    assert not list(here.path.glob("catalog*"))
    status = status_of(here, usb)
    assert (status.pending_runs, status.pending_points, status.pending_artifacts) == (0, 0, 0)
    assert list(here.path.glob("catalog*"))


def test_what_the_remote_has_from_elsewhere_is_noted_without_a_catalog(here: Store, tmp_path: Path) -> None:
    far = Store.create(tmp_path / "usb")
    pull(far, Remotes(far).add("here", str(here.path)))
    usb = Remotes(here).add("usb", str(far.path))
    assert push(here, usb).runs == 0
    assert not list(here.path.glob("catalog*"))
    assert status_of(here, usb).pending_runs == 0


def test_status_and_verify_use_the_remotes_own_limit_on_files(here: Store, tmp_path: Path) -> None:
    usb = Remotes(here).add("usb", str(tmp_path / "usb"))
    assert run(here, "remote", "set", "usb", "max_artifact_size=1k").exit_code == 0
    usb = Remotes(here).get("usb")
    assert usb.max_artifact_size == 1000
    assert status_of(here, usb).pending_artifacts == 1
    assert push(here, usb).artifacts == 1
    assert status_of(here, usb).pending_runs == 0
    assert verify(here, usb).same
    assert push(here, usb).runs == 0


def test_a_remote_that_accepts_only_whole_runs_says_so(here: Store) -> None:
    Remotes(here).add("lab", "http://127.0.0.1:1")
    with pytest.raises(UsageError, match="all files"):
        run(here, "sync", "lab", "--no-artifacts")


def test_a_thin_pull_leaves_large_files_on_the_remote(here: Store, tmp_path: Path) -> None:
    there = record(tmp_path / "far", "other")
    far = Remotes(here).add("far", str(tmp_path / "far"))
    thin = pull(here, far, artifact_bytes_max=100)
    assert (thin.artifacts, thin.skipped_artifacts) == (1, 1)
    whole = pull(here, far)
    assert (whole.artifacts, whole.runs, whole.created, whole.points) == (1, 1, 0, 0)
    assert here.run(there).artifact_path("large.txt").stat().st_size == 5_000


# --- what can't be used ---


def test_a_store_is_not_copied_onto_itself(here: Store, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(here.path)
    for path in (here.path, tmp_path / "link"):
        with pytest.raises(UsageError, match="this very store"):
            run(here, "sync", str(path))
    Remotes(here).add("itself", str(here.path))
    with pytest.raises(UsageError, match="this very store"):
        run(here, "sync", "itself")


def test_a_path_without_a_store_is_named(here: Store, tmp_path: Path) -> None:
    with pytest.raises(RemoteUnavailableError, match=r"no mltrack store at .*/missing/store"):
        run(here, "sync", str(tmp_path / "missing" / "store"))
    assert Remotes(here).all() == []
    with pytest.raises(RemoteUnavailableError, match="no mltrack store at"):
        run(here, "pull", str(tmp_path / "missing" / "store"))


def test_a_newer_format_is_named(here: Store, tmp_path: Path) -> None:
    from mltrack.disk.codec import encode_line

    far = Store.create(tmp_path / "far")
    (far.path / "store.json").write_bytes(encode_line({"format": 99, "store_id": far.store_id, "created": 0}))
    with pytest.raises(StoreVersionError, match="format 99"):
        push(here, Remotes(here).add("far", str(far.path)))


def test_a_large_ledger_is_compacted_and_still_lists_what_the_store_has(here: Store, tmp_path: Path) -> None:
    remote = Remotes(here).add("usb", str(tmp_path / "usb"))
    assert push(here, remote).runs == 1
    with contextlib.closing(open_ledger(here, remote)) as ledger:
        (entry,) = ledger.state.runs.values()
        for _ in range(2_000):
            ledger.finished(1, {"runs": 0, "points": 0})
    state = read_ledger(here, remote)
    assert (state.lines < 100, list(state.damage)) == (True, [])
    assert dict(state.runs) == {entry.remote_id: entry}
    assert push(here, remote).runs == 0
