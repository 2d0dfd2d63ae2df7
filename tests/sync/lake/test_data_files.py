"""Rows of a lake's table are found whatever its files and row groups hold, and what can't have them is not opened."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import TableFeatures

import mltrack
from mltrack.store import Store
from mltrack_sync import Remotes, push
from mltrack_sync.lake.data_files import DataFiles, Where
from mltrack_sync.lake.failures import ForeignLakeError
from mltrack_sync.lake.files import FolderFiles, files_of
from mltrack_sync.lake.layout import TABLES
from mltrack_sync.lake.places import LakePlace
from mltrack_sync.lake.scan import LakeScan
from mltrack_sync.lake.staging import stage
from mltrack_sync.lake.tables import LakeTables, TableBatch

ROWS = [
    {"run_id": run_id, "metric": metric, "writer": writer, "seq": seq}
    for number, run_id in enumerate(("a1", "a2", "b1", "b2"))
    for metric, writer, seq in itertools.product(("acc", "loss", "z ünïcode"), ("w1", "w2"), range(number, number + 5))
]


def points(rows: list[dict[str, object]]) -> pa.Table:
    """Rows of the table of points; all other columns are the same in each."""
    same = {"store_id": "s", "step": 0, "time_ns": 0, "ts": 0, "value": 0.5}
    return pa.Table.from_pylist([same | row for row in rows], schema=TABLES["points"].file_schema)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> LakeTables:
    """A table of points in files of one metric, of some, and of many runs."""
    place = LakePlace.parse(f"delta:{tmp_path_factory.mktemp('lake')}")
    tables = LakeTables(place, files_of(place))
    staged = []
    for shard in "ab":
        rows = [row for row in ROWS if str(row["run_id"])[0] == shard]
        for some in (rows[:5], rows[5:20], rows[20:]):
            staged.append(stage(tables.files, "points", points(some), {"month": "2026-11", "shard": shard}))
    tables.commit("s", TableBatch("points", 1, tuple(staged)), "n")
    return tables


@pytest.mark.parametrize("run_ids", [["a1"], ["a2", "b1"], ["none"], ["a1", "none", "b2"]])
@pytest.mark.parametrize("metric", ["acc", "loss", "z ünïcode", "zzz"])
def test_rows_are_those_that_pass(lake: LakeTables, run_ids: list[str], metric: str) -> None:
    seqs = range(2, 6)
    where: Where = {"run_id": run_ids, "metric": [metric], "seq": seqs}
    columns = ["run_id", "seq", "writer", "shard"]
    wanted = [
        (row["run_id"], row["seq"], row["writer"], str(row["run_id"])[0])
        for row in ROWS
        if row["run_id"] in run_ids and row["metric"] == metric and row["seq"] in seqs
    ]
    scan = LakeScan(lake)
    whole = scan.rows("points", columns, where)
    pieces = [row for batch in scan.batches("points", columns, where) for row in batch.to_pylist()]
    assert sorted(tuple(row.values()) for row in whole.to_pylist()) == sorted(wanted)
    assert sorted(tuple(row.values()) for row in pieces) == sorted(wanted)


def test_files_that_can_not_have_a_row_are_not_opened(lake: LakeTables) -> None:
    found = LakeScan(lake).files("points")
    assert found is not None
    assert len(found.matching({})) == 6
    assert len(found.matching({"shard": ["a"]})) == 3
    assert len(found.matching({"shard": ["a"], "run_id": ["a2"]})) == 1
    assert len(found.matching({"shard": ["a"], "metric": ["zzz"]})) == 0
    assert found.matching({"run_id": ["c"]}) == []
    assert found.matching({"seq": range(100, 200)}) == []


def test_a_file_that_is_not_parquet_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "part-x.parquet").write_bytes(b"not Parquet at all, and long enough to be looked at")
    files = DataFiles(FolderFiles(tmp_path), TABLES["runs"], False, pa.table({"path": ["part-x.parquet"]}))
    with pytest.raises(ForeignLakeError, match=r"runs/part-x\.parquet is not a file as mltrack writes it"):
        files.read(["run_id"], {})


def test_a_table_that_another_engine_made_unreadable_is_refused(tmp_path: Path) -> None:
    place = LakePlace.parse(f"delta:{tmp_path}")
    tables = LakeTables(place, files_of(place))
    table = tables.created("points")
    table.alter.add_feature(TableFeatures.DeletionVectors, allow_protocol_versions_increase=True)
    with pytest.raises(ForeignLakeError, match="'points' can't be read: it needs a reader that knows deletionVectors"):
        LakeScan(tables).rows("points")
    with pytest.raises(ForeignLakeError, match="deletionVectors"):
        LakeScan(tables).dataset("points")


@pytest.mark.slow
def test_a_series_and_sql_on_all_points_are_read_without_pandas(tmp_path: Path) -> None:
    mltrack.set_store(tmp_path / "store")
    with mltrack.start_run(run_name="run") as run:
        run.log_series("loss", [1.0, 2.0])
    mltrack.set_store(None)
    store = Store.open(tmp_path / "store")
    push(store, Remotes(store).add("lake", f"delta:{tmp_path / 'lake'}"))
    code = f"""
import sys, mltrack
with mltrack.Lake("delta:{tmp_path / "lake"}") as lake:
    print(lake.run("run").metrics("loss").num_rows, sorted({{"pandas", "pyarrow.dataset"}} & sys.modules.keys()))
    found = lake.sql("SELECT value FROM metrics WHERE metric = 'loss' AND value > 1")
print(found.num_rows, "pandas" in sys.modules, len(found.to_pandas()), "pandas" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "2 []\n1 False 1 True\n"
