"""What a lake has of runs that the ledger does not know, as it was lost, or that another store sends, too.

A run's events and points have positions that are the same in every copy of the run, so what any store sent counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import duckdb

from mltrack.errors import NotFoundError
from mltrack_sync.lake.blobs import BLOBS
from mltrack_sync.lake.layout import TABLES, month_of, shard_of
from mltrack_sync.lake.pending import LOGS
from mltrack_sync.lake.scan import LakeScan
from mltrack_sync.ledger.ledger import RunEntry

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from mltrack.store import Store
    from mltrack_sync.lake.fact_rows import Row
    from mltrack_sync.lake.tables import LakeTables

__all__ = ["KnownRuns", "also_sent", "find_known_runs", "last_numbers", "positions_in"]


@dataclass(frozen=True, slots=True)
class KnownRuns:
    """What was found, by run: positions and files; and the row that this store wrote last, without its revision.

    ``version`` is that of the table of runs that was looked at; -1 where there was none.
    """

    entries: dict[str, RunEntry] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)
    version: int = -1

    def lines(self, run_id: str, entry: RunEntry, *, lost: bool) -> list[dict[str, Any]]:
        """The ledger's lines that say so of a run; ``entry`` is what it says now, which may have ``lost`` some."""
        found = self.entries.get(run_id)
        if found is None:
            return []
        lines: list[dict[str, Any]] = []
        if not entry.remote_id:
            lines.append({"type": "run", "run": run_id, "remote": run_id, "experiment": "", "uri": ""})
        positions = found.positions()
        if not lost:
            known = entry.positions()
            positions = {
                writer: [max(pair) for pair in zip(at, known.get(writer, at), strict=True)]
                for writer, at in positions.items()
            }
            positions = {writer: at for writer, at in positions.items() if at != known.get(writer)}
        if positions:
            lines.append({"type": "ack", "run": run_id, "at": positions})
        lines += [
            {"type": "artifact", "run": run_id, "path": path, "sha256": sha256}
            for path, sha256 in found.artifacts.items()
            if entry.artifacts.get(path) != sha256
        ]
        return lines


def last_numbers(tables: LakeTables, store_id: str) -> dict[str, int]:
    """The number of the last batch of a store in each table that has one.

    Raises:
        RemoteError: the lake can't be read.
    """
    found = {name: tables.last_number(tables.load(name), store_id, name) for name in TABLES}
    return {name: number for name, number in found.items() if number}


def find_known_runs(
    tables: LakeTables, store: Store, store_id: str, run_ids: Sequence[str], *, everything: bool
) -> KnownRuns:
    """What the lake has of these runs.

    Args:
        tables: The lake.
        store: The store, which has the runs.
        store_id: Its id.
        run_ids: The runs.
        everything: Look also for points of runs that are not among the lake's runs: a push of them was killed.

    Raises:
        RemoteError: the lake can't be read.
    """
    if not run_ids:
        return KnownRuns()
    scan = LakeScan(tables)
    latest = _latest_rows(scan, store_id, run_ids)
    ids = list(run_ids) if everything and scan.table("points") is not None else sorted(latest)
    runs = scan.table("runs")
    version = -1 if runs is None else runs.version()
    if not ids:
        return KnownRuns(version=version)
    entries: dict[str, RunEntry] = {run_id: RunEntry() for run_id in latest}
    for run_id, writer, end in positions_in(scan, "events", ids, None):
        entries.setdefault(run_id, RunEntry()).events[writer] = end
    for found in ranges_in(scan, "points", ids, _partitions(store, ids)):
        if found.is_whole or _has_inherited(store, found):
            entries.setdefault(found.run_id, RunEntry()).points[found.writer] = found.end
    for run_id, path, sha256 in _files(scan, ids):
        if run_id in entries:
            entries[run_id].artifacts[path] = sha256
    return KnownRuns(entries, {run_id: row for run_id, row in latest.items() if row}, version)


def also_sent(tables: LakeTables, store_id: str, run_ids: Collection[str]) -> list[str]:
    """Those of these runs that another store sent, too.

    Raises:
        RemoteError: the lake can't be read.
    """
    rows = LakeScan(tables).rows("runs", ["run_id", "store_id"], {"run_id": run_ids})
    pairs = zip(rows.column("run_id").to_pylist(), rows.column("store_id").to_pylist(), strict=True)
    return sorted({run_id for run_id, sender in pairs if sender != store_id})


def _latest_rows(scan: LakeScan, store_id: str, run_ids: Iterable[str]) -> dict[str, Row]:
    """By run that any store sent: the last row of this store without its revision, or () where it has none."""
    found = scan.rows("runs", where={"run_id": set(run_ids)})
    held: dict[str, tuple[int, Row]] = {}
    names = TABLES["runs"].schema.names
    columns = [
        (column.cast("int64") if str(column.type).startswith("timestamp") else column).to_pylist()
        for column in (found.column(name) for name in names)
    ]
    for row in zip(*columns, strict=True):
        run_id, revision = row[1], row[-1]
        mine = row[:-1] if row[0] == store_id else ()
        before = held.get(run_id)
        if before is None or (mine and (not before[1] or revision > before[0])):
            held[run_id] = (revision, mine)
    return {run_id: row for run_id, (_, row) in held.items()}


def _partitions(store: Store, run_ids: Iterable[str]) -> set[tuple[str, str]]:
    found = set()
    for run_id in run_ids:
        try:
            found.add((month_of(store.run(run_id).info.start_time), shard_of(run_id)))
        except NotFoundError:
            continue
    return found


def _has_inherited(store: Store, found: Range) -> bool:
    """Whether a fork's points of another run's writer, of which it has only some, are all there up to the last one."""
    try:
        run = store.run(found.run_id)
    except NotFoundError:
        return False
    if run.visibility is None or found.writer not in run.visibility.inherited:
        return False
    pieces = (points for _, points in run.read_points(writer=found.writer, rewinds=()))
    return found.rows == sum(int((points.seqs < found.end).sum()) for points in pieces)


class Range(NamedTuple):
    """A writer's events or points in the lake: the first seq, the one after the last, and how many there are."""

    run_id: str
    writer: str
    first: int
    end: int
    rows: int

    @property
    def is_whole(self) -> bool:
        """Whether none before the last one is missing."""
        return self.first == 0 and self.rows >= self.end


def positions_in(
    scan: LakeScan, table: str, run_ids: Sequence[str], partitions: set[tuple[str, str]] | None
) -> list[tuple[str, str, int]]:
    """How far the lake has each writer's events or points, of writers of which it has all up to there."""
    found = ranges_in(scan, table, run_ids, partitions)
    return [(each.run_id, each.writer, each.end) for each in found if each.is_whole]


def ranges_in(
    scan: LakeScan, table: str, run_ids: Sequence[str], partitions: set[tuple[str, str]] | None
) -> list[Range]:
    """Which of each writer's events or points the lake has."""
    where = {"run_id": set(run_ids)}
    if partitions is not None:
        where["month"], where["shard"] = ({pair[at] for pair in partitions} for at in (0, 1))
    with duckdb.connect(":memory:") as con:
        con.execute("CREATE TABLE found (run_id VARCHAR, writer VARCHAR, low BIGINT, high BIGINT, n BIGINT)")
        for batch in scan.batches(table, ["run_id", "writer", "seq"], where):
            con.register("piece", batch)
            con.execute(
                "INSERT INTO found SELECT run_id, writer, min(seq), max(seq), count(DISTINCT seq)"
                " FROM piece GROUP BY ALL"
            )
            con.unregister("piece")
        rows = con.execute(
            "SELECT run_id, writer, min(low), max(high), sum(n)::BIGINT FROM found GROUP BY ALL ORDER BY ALL"
        ).fetchall()
    return [Range(run_id, writer, low, high + 1, n) for run_id, writer, low, high, n in rows]


def _files(scan: LakeScan, run_ids: Sequence[str]) -> list[tuple[str, str, str]]:
    """The artifacts and own files of runs whose contents the lake has."""
    where = {"run_id": set(run_ids)}
    held = {path.rpartition("/")[2]: size for path, size in scan.tables.files.sizes(BLOBS).items()}
    columns = ["run_id", "path", "size", "sha256", "deleted", "time_ns", "writer", "seq"]
    facts = zip(*(scan.rows("artifacts", columns, where).column(name).to_pylist() for name in columns), strict=True)
    latest: dict[tuple[str, str], tuple[Any, ...]] = {}
    for run_id, path, size, sha256, deleted, *order in facts:
        if (run_id, path) not in latest or tuple(order) > latest[(run_id, path)][0]:
            latest[(run_id, path)] = (tuple(order), size, sha256, deleted)
    found = [
        (run_id, path, sha256)
        for (run_id, path), (_, size, sha256, deleted) in latest.items()
        if not deleted and held.get(sha256) == size
    ]
    own = scan.rows("files", ["run_id", "path", "sha256"], where)
    return found + [
        (run_id, LOGS + path, sha256)
        for run_id, path, sha256 in zip(*(own.column(name).to_pylist() for name in own.column_names), strict=True)
    ]
