"""Rows of runs that are in a lake twice: two stores sent one new run at the same moment, and neither saw the other.

Which runs several stores sent, small tables say; only of these all rows are read. What is equal but for the store that
sent it is kept once, and metric summaries, whose rows are of batches, are made again from the points.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from mltrack.disk.arrow_columns import array_column, column_array
from mltrack_sync.lake.fact_rows import FACT_TABLES
from mltrack_sync.lake.failures import explain
from mltrack_sync.lake.layout import TABLES
from mltrack_sync.lake.point_rows import PointPiece, point_rows
from mltrack_sync.lake.rewinds import as_points
from mltrack_sync.lake.scan import LakeScan
from mltrack_sync.lake.staging import stage
from mltrack_sync.lake.upkeep import files_in, read_file

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    import numpy.typing as npt

    from mltrack_sync.lake.staging import StagedFile
    from mltrack_sync.lake.tables import LakeTables
    from mltrack_sync.lake.upkeep import TableFile

    Numbers = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]
    _Seen = dict[tuple[str, str], Numbers]

__all__ = ["Repaired", "repair"]

_SENDERS = ("runs", "events", "metric_summaries")
"""The tables that say which stores sent a run, whatever became of the push."""

_SUMMARIES = "metric_summaries"


@dataclass(frozen=True, slots=True)
class Repaired:
    """What was done in a table: how many rows were there twice, of how many runs."""

    table: str
    rows: int
    runs: int


def repair(tables: LakeTables, *, dry_run: bool = False) -> Iterator[Repaired]:
    """Remove rows that are there twice, table by table; it can be interrupted at any time, and others may push.

    Args:
        tables: The lake.
        dry_run: Only say what would be done.

    Raises:
        RemoteError: the lake can't be read or written; or another compaction or repair was faster.
    """
    scan = LakeScan(tables)
    runs = _sent_by_several(scan)
    if not runs:
        return
    twice: set[str] = set()
    for name in ("points", *FACT_TABLES, "files"):
        found = _Twice(tables, name, runs)
        found.collect(write=not dry_run)
        found.commit()
        if found.rows:
            twice |= found.runs if name == "points" else set()
            yield Repaired(name, found.rows, len(found.runs))
    counted = twice | _counted_twice(scan, runs)
    if counted:
        made = _Summaries(tables, counted)
        made.collect(write=not dry_run)
        made.commit()
        yield Repaired(_SUMMARIES, made.rows, len(counted))


def _sent_by_several(scan: LakeScan) -> set[str]:
    """The runs of which more than one store sent rows."""
    senders: dict[str, set[str]] = {}
    for name in _SENDERS:
        rows = scan.rows(name, ["run_id", "store_id"])
        pairs = rows.group_by(["run_id", "store_id"]).aggregate([])
        for run_id, store_id in zip(
            pairs.column("run_id").to_pylist(), pairs.column("store_id").to_pylist(), strict=True
        ):
            senders.setdefault(run_id, set()).add(store_id)
    return {run_id for run_id, stores in senders.items() if len(stores) > 1}


def _counted_twice(scan: LakeScan, runs: Collection[str]) -> set[str]:
    """Of these the runs whose summaries are of more points than there are: a repair was interrupted before them."""
    counts: dict[str, int] = {}
    rows = scan.rows(_SUMMARIES, ["run_id", "count"], {"run_id": runs})
    for run_id, count in zip(rows.column("run_id").to_pylist(), rows.column("count").to_pylist(), strict=True):
        counts[run_id] = counts.get(run_id, 0) + count
    return {run_id for run_id, count in counts.items() if count > _count_points(scan, run_id)}


def _count_points(scan: LakeScan, run_id: str) -> int:
    """How many different points of a run there are."""
    seen: _Seen = {}
    for batch in scan.batches("points", ["writer", "seq"], {"shard": [run_id[:1]], "run_id": [run_id]}):
        rows = pa.Table.from_batches([batch])
        for writer, seqs, _ in _by_text(rows.column("writer"), column_array(rows.column("seq"), np.int64)):
            seen[run_id, writer] = np.union1d(seen.get((run_id, writer), seqs[:0]), seqs)
    return sum(map(len, seen.values()))


def _by_text(column: pa.ChunkedArray, numbers: Numbers) -> Iterator[tuple[str, Numbers, Numbers]]:
    """For each text of a column the numbers in its rows, and which rows these are."""
    coded = column.combine_chunks().dictionary_encode()
    codes = column_array(coded.indices.cast(pa.int64()), np.int64)
    for code, text in enumerate(coded.dictionary.to_pylist()):
        index = np.flatnonzero(codes == code)
        if len(index):
            yield text, numbers[index], index


@dataclass(slots=True)
class _Change:
    """Files of one table that others take the place of."""

    tables: LakeTables
    name: str
    removed: list[TableFile] = field(default_factory=list)
    added: list[StagedFile] = field(default_factory=list)
    rows: int = 0
    runs: set[str] = field(default_factory=set)
    _table: Any = None

    def files(self, runs: Collection[str]) -> list[TableFile]:
        """The files that may have rows of these runs, as the table is now."""
        self._table = self.tables.load(self.name)
        if self._table is None:
            return []
        where: dict[str, Collection[str]] = {"run_id": runs}
        if "shard" in TABLES[self.name].partition:
            where["shard"] = {run_id[:1] for run_id in runs}
        found = LakeScan(self.tables, _loaded={self.name: self._table}).files(self.name)
        paths = set(found.matching(where)) if found is not None else set()
        return [file for file in files_in(self.tables, self._table) if file.path in paths]

    def replace(self, file: TableFile, kept: pa.Table) -> None:
        """Have the kept rows take the place of a file."""
        self.removed.append(file)
        if kept.num_rows:
            self.added.append(stage(self.tables.files, self.name, kept, dict(file.partition)))

    def commit(self) -> None:
        """Make the change, in one step.

        Raises:
            RemoteError: it can't be made; where another one replaced one of the files, the next repair looks again.
        """
        from deltalake.exceptions import CommitFailedError
        from deltalake.transaction import AddAction, RemoveAction

        if not self.removed and not self.added:
            return
        now = int(time.time() * 1000)
        actions: list[AddAction | RemoveAction] = []
        for file in self.removed:
            values: dict[str, str | None] = dict(file.partition)
            actions.append(RemoveAction(file.path, True, now, file.size, values))
        for new in self.added:
            actions.append(AddAction(new.path, new.size, dict(new.partition), now, True, new.stats))
        try:
            self.tables.replace(self._table, self.name, actions)
        except CommitFailedError as error:
            raise explain(self.tables.place.uri, error) from error


class _Twice(_Change):
    """The rows of one table that are there twice."""

    def __init__(self, tables: LakeTables, name: str, suspects: Collection[str]) -> None:
        super().__init__(tables, name)
        self._suspects = suspects
        self._points: _Seen = {}
        self._facts: set[tuple[Any, ...]] = set()

    def collect(self, *, write: bool) -> None:
        """Find them; with ``write`` write what is to take the place of their files."""
        for file in self.files(self._suspects):
            rows = read_file(self.tables, self.name, file)
            kept = self._kept_points(rows) if self.name == "points" else self._kept(rows)
            if not kept.all():
                self.rows += int((~kept).sum())
                if write:
                    self.replace(file, rows.filter(array_column(kept, pa.bool_())))

    def _kept_points(self, rows: pa.Table) -> Flags:
        """Points are the same by run, writer and seq."""
        kept = np.ones(rows.num_rows, np.bool_)
        every = column_array(rows.column("seq"), np.int64)
        for run_id, seqs, at in _by_text(rows.column("run_id"), every):
            if run_id not in self._suspects:
                continue
            writers = rows.column("writer").take(array_column(at, pa.int64()))
            for writer, numbers, within in _by_text(pa.chunked_array([writers.combine_chunks()]), seqs):
                seen = self._points.get((run_id, writer), numbers[:0])
                first = np.zeros(len(numbers), np.bool_)
                first[np.unique(numbers, return_index=True)[1]] = True
                new = first & ~np.isin(numbers, seen)
                kept[at[within[~new]]] = False
                self._points[run_id, writer] = np.union1d(seen, numbers)
                self.runs |= set() if new.all() else {run_id}
        return kept

    def _kept(self, rows: pa.Table) -> Flags:
        """Facts are the same where all but the store that sent them is."""
        kept = np.ones(rows.num_rows, np.bool_)
        names = [name for name in TABLES[self.name].schema.names if name != "store_id"]
        for index, value in enumerate(zip(*(rows.column(name).to_pylist() for name in names), strict=True)):
            key = tuple(tuple(each) if isinstance(each, list) else each for each in value)
            if key[0] in self._suspects:
                kept[index] = key not in self._facts
                self.runs |= set() if kept[index] else {str(key[0])}
                self._facts.add(key)
        return kept


class _Summaries(_Change):
    """Rows of summaries that are made again."""

    def __init__(self, tables: LakeTables, counted: Collection[str]) -> None:
        super().__init__(tables, _SUMMARIES)
        self._counted = counted

    def collect(self, *, write: bool) -> None:
        """Count how many fewer rows they are then; with ``write`` write them."""
        scan = LakeScan(self.tables)
        for file in self.files(self._counted):
            rows = read_file(self.tables, self.name, file)
            kept = np.array([run_id not in self._counted for run_id in rows.column("run_id").to_pylist()], np.bool_)
            if not kept.all():
                self.rows += int((~kept).sum())
                if write:
                    self.replace(file, rows.filter(array_column(kept, pa.bool_())))
        for run_id in sorted(self._counted):
            made = _summaries_of(scan, run_id)
            self.rows -= made.num_rows
            if write:
                self.added.append(stage(self.tables.files, self.name, made))


def _summaries_of(scan: LakeScan, run_id: str) -> pa.Table:
    """The summaries of all points of a run, hidden ones, too, as pushes write them."""
    columns = ["store_id", "writer", "metric", "seq", "step", "time_ns", "value"]
    rows = scan.rows("points", columns, {"shard": [run_id[:1]], "run_id": [run_id]})
    store_id = str(rows.column("store_id")[0].as_py())
    pieces = []
    for writer, seqs, at in _by_text(rows.column("writer"), column_array(rows.column("seq"), np.int64)):
        _, first = np.unique(seqs, return_index=True)
        points = as_points(rows.take(array_column(at[first], pa.int64())))
        pieces.append(PointPiece(run_id, writer, points))
    return point_rows(store_id, pieces).summaries
