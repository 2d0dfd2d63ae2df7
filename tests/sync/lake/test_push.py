"""What a push writes to a lake: each fact and point once, whatever happens, and nothing where it must not."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

import mltrack
from mltrack.disk.arriving import ArrivingWriters, write_arriving
from mltrack.disk.filesystem import FileSystem, StrPath
from mltrack.errors import RemoteError
from mltrack.store import Store
from mltrack_sync import Remote, Remotes, push
from mltrack_sync.engine.verify import verify
from mltrack_sync.lake.fact_rows import table_of
from mltrack_sync.lake.failures import CopiedStoreError, ForeignLakeError
from mltrack_sync.lake.files import files_of
from mltrack_sync.lake.kind import LakeKind
from mltrack_sync.lake.places import LakePlace
from mltrack_sync.lake.staging import stage
from mltrack_sync.lake.tables import LakeTables, TableBatch
from mltrack_sync.remotes.kind import find_kind
from tests.support.full_store import make_full_store


def record(path: Path, lake: Path, runs: int = 1) -> tuple[Store, Remote]:
    """A store with runs that log a bit of everything, and the lake as its remote."""
    mltrack.set_store(path)
    mltrack.set_experiment("lake")
    for number in range(runs):
        with mltrack.start_run(run_name=f"run {number}") as run:
            mltrack.log_params({"lr": 0.1, "number": number})
            mltrack.set_tags({"team": "blue", "gone": "soon"})
            for step, value in enumerate([1.0, math.nan, math.inf, -2.5]):
                run.log({"loss": value, "acc": step / 4}, step)
            mltrack.delete_tag("gone")
            mltrack.log_text(f"notes {number}", "notes.txt")
    mltrack.set_store(None)
    store = Store.open(path)
    return store, Remotes(store).add("lake", f"delta:{lake}")


def rows(lake: Path, table: str) -> list[dict[str, Any]]:
    """All rows of a table."""
    found: list[dict[str, Any]] = DeltaTable(str(lake / table)).to_pyarrow_table().to_pylist()
    return found


def counts(lake: Path) -> dict[str, int]:
    """How many rows each table has."""
    tables = sorted(path.parent.name for path in lake.glob("*/_delta_log"))
    return {name: DeltaTable(str(lake / name)).to_pyarrow_table().num_rows for name in tables}


def test_what_is_recorded_is_in_the_tables(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    store, remote = record(tmp_path / "store", lake)
    push(store, remote)
    run = store.run(store.run_ids()[0])
    points = sorted(rows(lake, "points"), key=lambda row: (row["metric"], row["step"]))
    assert [row["metric"] for row in points] == ["acc"] * 4 + ["loss"] * 4
    assert repr([row["value"] for row in points[4:]]) == "[1.0, nan, inf, -2.5]"
    assert sorted(row["seq"] for row in points) == list(range(8))
    assert {row["run_id"] for row in points} == {run.run_id}
    assert {row["shard"] for row in points} == {run.run_id[0]}
    assert all(int(row["ts"].timestamp() * 1e6) == row["time_ns"] // 1000 for row in points)
    assert {row["key"]: row["value"] for row in rows(lake, "params")} == {"lr": "0.1", "number": "0"}
    gone = sorted((row["seq"], row["value"]) for row in rows(lake, "tags") if row["key"] == "gone")
    assert [value for _, value in gone] == ["soon", None]
    (summary,) = [row for row in rows(lake, "metric_summaries") if row["metric"] == "loss"]
    assert (summary["count"], summary["min"], summary["max"], summary["last"]) == (4, -2.5, math.inf, -2.5)
    (row,) = rows(lake, "runs")
    assert (row["run_name"], row["status"], row["experiment_name"]) == ("run 0", "FINISHED", "lake")
    assert (row["points"], row["events"], row["revision"]) == (8, run.head().events, 1)
    (artifact,) = rows(lake, "artifacts")
    assert (lake / "blobs" / artifact["sha256"][:2] / artifact["sha256"]).read_text() == "notes 0"
    lines = (run.folder.events / f"{artifact['writer']}.jsonl").read_text().splitlines()
    assert [row["line"] for row in sorted(rows(lake, "events"), key=lambda row: row["seq"])] == lines


@pytest.mark.slow
def test_everything_a_store_has_arrives_and_compares_equal(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    store = make_full_store(tmp_path / "store")
    remote = Remotes(store).add("lake", f"delta:{lake}")
    assert push(store, remote).complete
    found = verify(store, remote)
    assert found.differences == ()
    assert (found.runs, found.models, found.model_versions, found.logged_models, found.traces) == (2, 1, 1, 1, 1)
    before = counts(lake)
    assert before["traces"] == before["logged_models"] == 1
    store.registry.delete_alias("net", "best")
    store.registry.set_version_tag("net", 1, "k", None)
    assert [each.thing for each in verify(store, remote).differences] == ["aliases", "tags"]
    push(store, remote)
    assert verify(store, remote).same
    assert counts(lake) == before | {"registered_models": 2, "model_versions": 2}
    store.registry.delete_version("net", 1)
    push(store, remote)
    assert [row["deleted"] for row in sorted(rows(lake, "model_versions"), key=lambda r: r["revision"])][-1]
    assert verify(store, remote).same


@pytest.mark.slow
def test_a_run_of_which_writers_are_being_replaced_is_sent_afterwards(tmp_path: Path) -> None:
    mltrack.set_store(tmp_path / "store")
    with mltrack.start_run() as run:
        run.log_series("loss", [1.0, 2.0])
    mltrack.set_store(None)
    store = Store.open(tmp_path / "store")
    remote = Remotes(store).add("lake", f"delta:{tmp_path / 'lake'}")
    folder = store.run(run.run_id).folder
    (writer,) = (path.stem for path in folder.events.iterdir())
    write_arriving(folder.path, ArrivingWriters(arriving=frozenset([writer])))
    report = push(store, remote)
    assert (report.points, len(report.problems), "is not complete" in report.problems[0]) == (0, 1, True)
    write_arriving(folder.path, ArrivingWriters())
    assert (push(store, remote).points, verify(store, remote).same) == (2, True)


@pytest.mark.slow
def test_a_trace_with_a_time_that_no_column_holds_arrives_and_compares_equal(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store")
    for trace_id, time in (("tr-good", 1_700_000_000_000), ("tr-bad", 1_700_000_000_000_000_000)):
        store.traces.add("0", {"type": "info", "trace_id": trace_id, "request_time": time, "state": "OK"})
    store.traces.close()
    remote = Remotes(store).add("lake", f"delta:{tmp_path / 'lake'}")
    report = push(store, remote)
    assert (report.traces, report.problems) == (2, ())
    assert verify(store, remote).same
    assert push(store, remote).traces == 0


@pytest.mark.slow
def test_a_deleted_and_restored_run_is_a_new_row_each_time(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    store, remote = record(tmp_path / "store", lake)
    push(store, remote)
    run_id = store.run_ids()[0]
    store.delete_run(run_id)
    assert not verify(store, remote).same
    push(store, remote)
    store.restore_run(run_id)
    push(store, remote)
    stages = [row["lifecycle_stage"] for row in sorted(rows(lake, "runs"), key=lambda row: row["revision"])]
    assert stages == ["active", "deleted", "active"]
    assert verify(store, remote).same


# --- exactly once ---


class LostAnswer(FileSystem):
    """A disk whose last step after a commit fails: the commit was made, and nobody knows it."""

    def __init__(self, table: str) -> None:
        self._table = table

    def sync_all(self, folder: Path, paths: Iterable[StrPath]) -> None:
        if folder.parent.name == self._table and (folder / f"{1:020}.json").exists():
            raise OSError(5, "Input/output error", str(folder))
        super().sync_all(folder, paths)


@pytest.mark.parametrize("table", ["points", "runs"])
def test_a_commit_whose_answer_was_lost_is_found_and_not_repeated(tmp_path: Path, table: str) -> None:
    lake = tmp_path / "lake"
    store, remote = record(tmp_path / "store", lake)
    kind = find_kind("lake")
    assert isinstance(kind, LakeKind)
    good, kind.fs = kind.fs, LostAnswer(table)
    try:
        with pytest.raises(RemoteError):
            push(store, remote)
    finally:
        kind.fs = good
    assert DeltaTable(str(lake / table)).version() == 1
    assert DeltaTable(str(lake / "runs")).version() == int(table == "runs")
    push(store, remote)
    assert verify(store, remote).same
    assert {name: DeltaTable(str(lake / name)).version() for name in ("points", "events", "runs")} == {
        "points": 1,
        "events": 1,
        "runs": 1,
    }


def test_a_lost_ledger_is_made_again_from_the_lake(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    store, remote = record(tmp_path / "store", lake, runs=3)
    push(store, remote)
    before = counts(lake)
    (store.path / "remotes" / "lake" / "ledger.jsonl").unlink()
    report = push(store, remote)
    assert (report.points, report.artifacts, report.created) == (0, 0, 0)
    assert counts(lake) == before
    assert push(store, remote).runs == 0
    assert verify(store, remote).same


def test_what_another_store_sent_of_a_run_is_not_sent_again(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    store, remote = record(tmp_path / "store", lake)
    push(store, remote)
    other = Store.create(tmp_path / "other")
    shutil.copytree(store.path / "runs", other.path / "runs", dirs_exist_ok=True)
    to_same = Remotes(other).add("lake", remote.url)
    mltrack.set_store(other.path)
    with mltrack.start_run(run_id=store.run_ids()[0]):
        mltrack.log_metric("loss", 7.0, step=9)
    mltrack.set_store(None)
    report = push(other, to_same)
    assert (report.points, report.artifacts) == (1, 0)
    assert verify(other, to_same).same
    assert len(rows(lake, "points")) == 9


def test_two_copies_of_a_store_are_refused_with_what_to_do(tmp_path: Path) -> None:
    store, remote = record(tmp_path / "store", tmp_path / "lake")
    push(store, remote)
    shutil.copytree(store.path, tmp_path / "copy")
    copy = Store.open(tmp_path / "copy")
    for each in (store, copy):
        mltrack.set_store(each.path)
        with mltrack.start_run(run_name=f"in {each.path.name}"):
            mltrack.log_metric("loss", 1.0, step=0)
        mltrack.set_store(None)
    push(store, remote)
    with pytest.raises(CopiedStoreError, match="ledger knows 1") as caught:
        push(copy, remote)
    assert "mltrack pull" in caught.value.hint
    assert verify(store, remote).same


# --- what is no lake ---


def test_a_lake_of_a_newer_layout_is_refused(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    store, remote = record(tmp_path / "store", lake)
    lake.mkdir()
    (lake / "mltrack-lake.json").write_text(json.dumps({"mltrack_lake": 2}))
    with pytest.raises(ForeignLakeError, match="layout 2") as caught:
        push(store, remote)
    assert caught.value.hint == "upgrade mltrack"
    assert [path.name for path in lake.iterdir()] == ["mltrack-lake.json"]


@pytest.mark.parametrize("with_marker", [False, True])
def test_a_foreign_table_at_the_place_is_refused(tmp_path: Path, with_marker: bool) -> None:
    import pyarrow as pa
    from deltalake import write_deltalake

    lake = tmp_path / "lake"
    store, remote = record(tmp_path / "store", lake)
    write_deltalake(str(lake / "points"), pa.table({"x": [1]}))
    if with_marker:
        (lake / "mltrack-lake.json").write_text(json.dumps({"mltrack_lake": 1}))
    with pytest.raises(ForeignLakeError, match="'points'"):
        push(store, remote)
    assert DeltaTable(str(lake / "points")).version() == 0


def test_a_lake_that_is_gone_or_another_one_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    lake, elsewhere = tmp_path / "lake", tmp_path / "elsewhere"
    store, remote = record(tmp_path / "store", lake)
    push(store, remote)
    lake.rename(elsewhere)
    for _ in range(2):  # with nothing new, and with a new run
        with pytest.raises(RemoteError, match=f"no lake at {lake}") as gone:
            push(store, remote)
        assert gone.value.hint.startswith("connect the disk; where it was removed on purpose: mltrack remote add")
        assert not lake.exists()
        other, to_same = record(tmp_path / "other", lake)
        push(other, to_same)
        with pytest.raises(RemoteError, match="restored from a backup, or made again") as again:
            push(store, remote)
        assert "a sync with that name sends what the lake does not have" in again.value.hint
        shutil.rmtree(lake)
        shutil.rmtree(other.path)
        record(store.path, lake)
    elsewhere.rename(lake)
    push(store, remote)
    assert verify(store, remote).same


def test_two_machines_that_made_one_lake_both_know_it(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    store, remote = record(tmp_path / "store", lake)
    push(store, remote)
    marker = lake / "mltrack-lake.json"
    for fields in ({"id": "b" * 32}, {}):  # the second machine's, and one of an earlier version
        marker.write_text(json.dumps({"mltrack_lake": 1, **fields}))
        assert push(store, remote).runs == 0
    marker.write_text(json.dumps({"mltrack_lake": 1, "id": "b" * 32}))
    (lake / "runs").rename(tmp_path / "runs")
    assert push(store, remote).runs == 0  # the id is the one that was noted, so nothing else is looked at


# --- verify ---


def test_verify_finds_a_file_that_was_changed_and_one_that_is_missing(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    store, remote = record(tmp_path / "store", lake, runs=2)
    push(store, remote)
    first, second = sorted((lake / "blobs").glob("*/*"))
    first.write_bytes(b"x" * first.stat().st_size)
    second.unlink()
    found = verify(store, remote)
    assert sorted(each.remote for each in found.differences) == ["missing", "other bytes"]
    assert [each.remote for each in verify(store, remote, quick=True).differences] == ["missing"]


def test_verify_finds_repeated_and_missing_rows(tmp_path: Path) -> None:
    from deltalake import write_deltalake

    lake = tmp_path / "lake"
    store, remote = record(tmp_path / "store", lake)
    push(store, remote)
    points = DeltaTable(str(lake / "points"))
    write_deltalake(points, points.to_pyarrow_table().slice(0, 1), mode="append")
    DeltaTable(str(lake / "params")).delete("key = 'lr'")
    things = {each.thing.split()[0]: (each.local, each.remote) for each in verify(store, remote).differences}
    assert things == {"points": ("8 rows", "9 rows"), "params": ("2 rows", "1 rows")}


def test_a_commit_that_comes_second_is_made_after_the_first_and_counted(tmp_path: Path) -> None:
    place = LakePlace.parse(f"delta:{tmp_path / 'lake'}")
    tables = LakeTables(place, files_of(place))
    before = tables.created("params")
    for number, store_id in enumerate(("one", "two", "three")):
        row = (store_id, "run", "lr", "0.1", "writer", number, 0)
        staged = stage(tables.files, "params", table_of("params", [row]))
        tables.commit(store_id, TableBatch("params", 1, (staged,)), f"nonce {number}", before)
    assert tables.collisions == 1 + 2
    assert sorted(row["store_id"] for row in rows(tmp_path / "lake", "params")) == ["one", "three", "two"]
