"""Runs and experiments that were renamed, moved, deleted, restored or purged on either side: each is there once."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import mltrack
from mltrack.entities import ACTIVE, DELETED
from mltrack.storage.runs.edit import set_stage
from mltrack.store import Store
from mltrack_sync import Remote, Remotes, push
from mltrack_sync.errors import RemoteUnavailableError
from mltrack_sync.status import status_of
from tests.support.both_sides import assert_equal, local_points, remote_points
from tests.support.proxy import Fault, FaultyProxy, Seen
from tests.support.server import MlflowServer

if TYPE_CHECKING:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore


def record(points: int = 10, name: str = "run") -> str:
    with mltrack.start_run(run_name=name) as run:
        mltrack.log_param("a", 1)
        for step in range(points):
            mltrack.log_metric("m", step * 0.5, step=step)
        return run.run_id


@pytest.fixture(scope="module")
def administrator(server: MlflowServer) -> Iterator[SqlAlchemyStore]:
    """Removes what is deleted there for good, as ``mlflow gc`` does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        database = SqlAlchemyStore(f"sqlite:///{server.folder}/mlflow.db", f"{server.folder}/artifacts")
    yield database
    database._dispose_engine()


def forget_ledger(store: Store) -> None:
    shutil.rmtree(store.path / "remotes")


# --- experiments ---


def test_an_experiment_renamed_locally_is_found_on_the_remote_without_a_ledger(
    store: Store, server: MlflowServer, remote: Remote, experiment: str
) -> None:
    run_id = record()
    push(store, remote)
    (local,) = (one for one in store.workspace.experiments().values() if one.name == experiment)
    store.workspace.rename(local.experiment_id, f"{experiment} renamed")
    forget_ledger(store)
    report = push(store, remote)
    assert (report.created, report.found) == (0, 10)
    assert server.runs(experiment).keys() == {run_id}


def test_an_experiment_renamed_on_the_remote_is_found_by_another_store_with_the_same_run(
    store: Store, server: MlflowServer, remote: Remote, experiment: str, tmp_path: Path
) -> None:
    run_id = record()
    push(store, remote)
    server.post("experiments/update", experiment_id=server.experiment_id(experiment), new_name=f"{experiment} theirs")
    with mltrack.start_run(run_id=run_id):
        mltrack.log_metric("more", 1.0)
    shutil.copytree(store.path, tmp_path / "copy", ignore=shutil.ignore_patterns("remotes*", "catalog*"))
    other = Store.open(tmp_path / "copy")
    report = push(other, Remotes(other).add("there", server.url))
    assert (report.created, report.points, report.found) == (0, 1, 10)
    push(store, remote)
    (run,) = server.runs(f"{experiment} theirs").values()
    assert remote_points(server, run, {"m", "more"}) == local_points(store, run_id)


def test_an_experiment_whose_remote_id_now_belongs_to_another_is_created_again(
    store: Store, server: MlflowServer, administrator: SqlAlchemyStore, remote: Remote, experiment: str
) -> None:
    record()
    push(store, remote)
    gone = server.experiment_id(experiment)
    server.post("experiments/delete", experiment_id=gone)
    administrator._hard_delete_experiment(gone)
    theirs = server.post("experiments/create", name=f"{experiment} of somebody else")["experiment_id"]
    assert theirs == gone  # SQLite gives the number again, as would a server that was set up anew
    second = record()
    assert push(store, remote).created == 1
    assert server.runs(experiment).keys() == {second}
    assert server.runs(f"{experiment} of somebody else") == {}


# --- runs ---


def test_what_was_rejected_in_a_run_is_rejected_again_when_the_run_is_restored(
    store: Store, server: MlflowServer, remote: Remote, experiment: str
) -> None:
    with mltrack.start_run() as run:
        for step in range(10):
            mltrack.log_metrics({"fine": step, "loss 😀": step}, step=step)
        mltrack.log_param("long", "x" * 6001)
    before = push(store, remote).rejected
    set_stage(store.layout, run.run_id, DELETED)
    assert push(store, remote).complete
    set_stage(store.layout, run.run_id, ACTIVE)
    report = push(store, remote)
    assert report.rejected == before
    assert (report.points, report.found) == (0, 10)
    assert server.runs(experiment)[run.run_id]["info"]["lifecycle_stage"] == "active"


def test_a_run_that_was_purged_on_the_remote_is_created_again_by_a_retry(
    store: Store, server: MlflowServer, administrator: SqlAlchemyStore, remote: Remote, experiment: str
) -> None:
    run_id = record()
    push(store, remote)
    gone = server.runs(experiment)[run_id]["info"]["run_id"]
    server.post("runs/delete", run_id=gone)
    administrator._hard_delete_run(gone)
    with mltrack.start_run(run_id=run_id):
        mltrack.log_metric("m", 9.0, step=99)
    assert [item.kind for item in push(store, remote).rejected] == ["run"]
    assert server.runs(experiment) == {}
    report = push(store, remote, retry_rejected=True)
    assert (report.complete, report.created, report.points) == (True, 1, 11)
    assert_equal(store, server, experiment)


def test_a_run_deleted_on_both_sides_is_not_a_problem(
    store: Store, server: MlflowServer, remote: Remote, experiment: str
) -> None:
    run_id = record()
    push(store, remote)
    server.post("runs/delete", run_id=server.runs(experiment)[run_id]["info"]["run_id"])
    set_stage(store.layout, run_id, DELETED)
    assert push(store, remote).complete


# --- remotes ---


def test_a_remote_whose_url_was_changed_by_hand_is_another_remote_for_every_reader_of_its_ledger(
    store: Store, server: MlflowServer, proxy: FaultyProxy, remote: Remote, experiment: str
) -> None:
    record()
    push(store, remote)
    file = store.path / "remotes.toml"
    file.write_text(file.read_text().replace(server.url, f"{proxy.url}/"))
    (changed,) = Remotes(store).all()
    status = status_of(store, changed)
    assert (status.url, status.runs_on_remote, status.pending_points) == (proxy.url, 0, 10)
    assert push(store, changed, dry_run=True).points == 10
    assert push(store, changed).found == 10
    assert status_of(store, changed).runs_on_remote == 1
    assert_equal(store, server, experiment)


def test_a_run_whose_folder_disappears_during_the_push_holds_no_other_back(
    store: Store, server: MlflowServer, proxy: FaultyProxy, spoiled: Remote, experiment: str
) -> None:
    gone, good = record(2500, "gone"), record(20, "good")

    def fault(seen: Seen) -> Fault:
        if seen.path.endswith("log-batch") and (store.path / "runs" / gone).exists():
            shutil.rmtree(store.path / "runs" / gone)
        return None

    proxy.fault = fault
    push(store, spoiled, jobs=1)
    assert good in server.runs(experiment)
    assert push(store, spoiled).requests == 0


@pytest.mark.slow
def test_a_server_on_the_very_same_store_gets_nothing(store: Store, tmp_path: Path) -> None:
    run_ids = {record(name="one"), record(name="two")}
    server = MlflowServer(tmp_path, store=f"mltrack://{store.path}")
    try:
        server.start()
        with pytest.raises(RemoteUnavailableError, match="which is this very store"):
            push(store, Remotes(store).add("itself", server.url))
    finally:
        server.close()
    assert {found.info.run_id for found in store.search_runs()} == run_ids
