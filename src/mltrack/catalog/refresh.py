"""Bringing a catalog up to date with the run folders, reading only what changed."""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from mltrack.catalog.dirty_runs import find_changes, remove_marks
from mltrack.catalog.run_rows import (
    FolderTimes,
    KnownRun,
    KnownWriter,
    RunRows,
    change_token,
    map_column,
    metric_column,
    read_run,
    still_fits,
    text_column,
)
from mltrack.catalog.schema import COLUMNS, RUN_TABLES
from mltrack.disk.arrow_columns import array_column, repeated_text, value_column
from mltrack.entities import MetricSummary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import duckdb

    from mltrack.disk.layout import Layout
    from mltrack.disk.segment import PointColumns
    from mltrack.entities import Experiment
    from mltrack.storage.runs.state import RunState
    from mltrack.storage.runs.stored_run import StoredRun

__all__ = ["Refresher"]

BATCH_RUNS_MAX = 250

MANY_RUNS = 1_000
"""So many runs take seconds to be read: that is said before."""
DAMAGE_MAX = 100
"""How many places of damage of one run are kept: enough to report it."""

SWEEP_INTERVAL_S = 5.0
"""How often, at most, a process looks at the times of all run folders: 10,000 of them take about 85 ms."""

_ARROW = {"BIGINT": pa.int64(), "DOUBLE": pa.float64(), "BOOLEAN": pa.bool_()}
_FACTS = ("params", "tags", "artifacts", "datasets", "models", "forks", "alerts")
_STATE = ("folders", "runs", "writers", "segments", "damage")
_HELD_TABLES = tuple(name for name in RUN_TABLES if name != "verified")  # that one is valid while files don't change


class Refresher:
    """Brings catalogs of one store up to date. It keeps the state of open runs, and continues where it stopped."""

    def __init__(
        self,
        layout: Layout,
        experiments: Callable[[], Mapping[str, Experiment]],
        *,
        clock: Callable[[], float] = time.monotonic,
        now_ns: Callable[[], int] = time.time_ns,
        sweep_interval_s: float = SWEEP_INTERVAL_S,
        on_reading: Callable[[int], None] = lambda runs: None,
    ) -> None:
        """Refresh catalogs of one store.

        Args:
            layout: The store.
            experiments: Reads the workspace's experiments, by id.
            clock: Monotonic time, in seconds.
            now_ns: The time now, in ns since the epoch.
            sweep_interval_s: How often, at most, the times of all run folders are read.
            on_reading: Called with the number of runs before that many are read that it takes seconds.
        """
        self.unreadable: dict[str, OSError] = {}
        self._layout = layout
        self._experiments = experiments
        self._clock = clock
        self._now_ns = now_ns
        self._sweep_interval_s = sweep_interval_s
        self._on_reading = on_reading
        self._next_sweep = -1.0
        self._open: dict[str, StoredRun] = {}

    def refresh(self, con: duckdb.DuckDBPyConnection, *, on_disk: bool, full: bool = False) -> None:
        """Bring the catalog up to date; ``full`` reads every run again. Marks are removed only for a catalog on disk.

        A run that can't be read stays as it is in the catalog, and is added to ``unreadable``.
        """
        self._take_experiments(con)
        watched = dict(con.execute("SELECT run_id, watched FROM base.folders").fetchall())
        # a catalog in memory must leave the marks to the one on disk
        sweep = not on_disk or self._clock() >= self._next_sweep
        repaired = _repaired_runs(con)
        changes = find_changes(
            self._layout, watched, times=_folder_times(con) if sweep and not full else None, every=full
        )
        if changes.gone:
            with _Transaction(con):
                _delete(con, RUN_TABLES, changes.gone)
        damaged = {row[0] for row in con.execute("SELECT DISTINCT run_id FROM base.damage").fetchall()}
        to_read = sorted(changes.to_read | (repaired & watched.keys() - changes.gone))
        if len(to_read) >= MANY_RUNS:
            self._on_reading(len(to_read))
        for start in range(0, len(to_read), BATCH_RUNS_MAX):
            ids = to_read[start : start + BATCH_RUNS_MAX]
            known = {} if full else _known_runs(con, [run_id for run_id in ids if run_id not in damaged])
            rows = list(self._read(ids, known))
            self._put(con, rows, watched.keys())
            if on_disk:
                remove_marks(self._layout, {i: changes.marks.get(i, []) for i in ids}, rows, self._now_ns())
        if on_disk and changes.marks.keys() - changes.to_read:
            strays = {run_id: changes.marks[run_id] for run_id in changes.marks.keys() - changes.to_read}
            remove_marks(self._layout, strays, [], self._now_ns())
        if sweep:
            self._next_sweep = self._clock() + self._sweep_interval_s

    def _read(self, run_ids: Iterable[str], known: Mapping[str, KnownRun]) -> Iterator[RunRows]:
        for run_id in run_ids:
            run = self._open.pop(run_id, None)
            try:
                if run is not None and (run_id not in known or not still_fits(run)):
                    run = None
                rows = read_run(self._layout.run(run_id), known.get(run_id), now_ns=self._now_ns(), run=run)
            except OSError as error:
                self.unreadable[run_id] = error
                continue
            except _UNFORESEEN as error:
                self.unreadable[run_id] = _not_taken(error)
                continue
            self.unreadable.pop(run_id, None)
            if rows.watched and rows.run is not None:
                self._open[run_id] = rows.run
            yield rows

    def _put(self, con: duckdb.DuckDBPyConnection, rows: list[RunRows], known: Iterable[str]) -> None:
        """Store what was read; if one run's rows can't be stored, all others are."""
        try:
            _store(con, rows, known)
        except _UNFORESEEN:
            for row in rows:
                try:
                    _store(con, [row], known)
                except _UNFORESEEN as error:
                    self.unreadable[row.run_id] = _not_taken(error)

    def _take_experiments(self, con: duckdb.DuckDBPyConnection) -> None:
        token = self._experiments_token()
        held = con.execute("SELECT value FROM base.meta WHERE key = 'experiments'").fetchone()
        if held is not None and held[0] == token:
            return
        rows = [
            (e.experiment_id, e.name, e.lifecycle_stage, e.creation_time, e.last_update_time, list(e.tags.items()))
            for e in self._experiments().values()
        ]
        with _Transaction(con):
            con.execute("DELETE FROM base.experiments")
            con.execute("DELETE FROM base.meta WHERE key = 'experiments'")
            _insert(con, "experiments", rows)
            con.execute("INSERT INTO base.meta VALUES ('experiments', ?)", [token])

    def _experiments_token(self) -> str:
        try:
            found = os.stat(self._layout.workspace / "experiments.jsonl")
        except OSError:
            return "none"
        return f"{found.st_size}:{found.st_mtime_ns}:{found.st_ino}"


_UNFORESEEN = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError, pa.ArrowException)
"""Errors that a run's files should not cause, as each line and column is checked when it is decoded. If they do, only
that run is skipped and reported: no run may keep others from being listed."""


def _not_taken(error: Exception) -> OSError:
    return OSError(errno.EILSEQ, f"its files have unknown content ({type(error).__name__}: {error})")


def _repaired_runs(con: duckdb.DuckDBPyConnection) -> set[str]:
    """The runs whose damaged files have changed since."""
    rows = con.execute("SELECT run_id, path, stamp FROM base.damage").fetchall()
    return {run_id for run_id, path, token in rows if change_token(path) != token}


def _folder_times(
    con: duckdb.DuckDBPyConnection, where: str = "", values: Sequence[Any] = ()
) -> dict[str, FolderTimes]:
    rows = con.execute(f"SELECT run_id, events_ns, points_ns, segments_ns FROM base.folders {where}", values).fetchall()
    return {row[0]: FolderTimes(*row[1:]) for row in rows}


def _known_runs(con: duckdb.DuckDBPyConnection, run_ids: Sequence[str]) -> dict[str, KnownRun]:
    """The catalog's rows of those runs."""
    mine = "WHERE run_id IN (SELECT unnest(?))"
    times = _folder_times(con, mine, [run_ids])
    if not times:
        return {}
    counting = dict(con.execute(f"SELECT run_id, counting FROM base.folders {mine}", [run_ids]).fetchall())
    last = dict(con.execute(f"SELECT run_id, last_point FROM base.runs {mine}", [run_ids]).fetchall())
    writers: dict[str, dict[str, KnownWriter]] = {run_id: {} for run_id in times}
    for run_id, writer, *fields in con.execute(
        f"SELECT run_id, writer, role, alive, ended, events, points, kept FROM base.writers {mine}", [run_ids]
    ).fetchall():
        writers[run_id][writer] = KnownWriter(*fields)
    return {i: KnownRun(times[i], writers[i], last.get(i, 0), counting[i]) for i in times}


# --- writing ---------------------------------------------------------------------------------------------------


class _Transaction:
    """A transaction around a body: committed at its end, rolled back when it raises."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self._con = con

    def __enter__(self) -> None:
        self._con.execute("BEGIN")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._con.execute("COMMIT" if kind is None else "ROLLBACK")


def _store(con: duckdb.DuckDBPyConnection, seen: Iterable[RunRows], known: Iterable[str]) -> None:
    """Put the rows of some runs into the tables, in one transaction."""
    changed = [rows for rows in seen if rows.changed]
    if not changed:
        return
    held = set(known)
    with _Transaction(con):
        _delete(
            con,
            _HELD_TABLES,
            [rows.run_id for rows in changed if rows.replace and rows.run_id in held],
        )
        kept = [rows for rows in changed if not rows.replace]
        _delete(con, _STATE, [rows.run_id for rows in kept])
        _delete(con, _FACTS, [rows.run_id for rows in kept if rows.facts])
        tables: dict[str, list[tuple[Any, ...]]] = {name: [] for name in (*_STATE, *_FACTS)}
        for rows in changed:
            _add_state(tables, rows)
        for name, table in tables.items():
            _insert(con, name, table)
        _store_latest(con, changed)
        _store_points(con, changed)


def _add_state(tables: dict[str, list[tuple[Any, ...]]], rows: RunRows) -> None:
    run_id = rows.run_id
    tables["folders"].append((run_id, *rows.times, rows.watched, rows.counting))
    if rows.run is None:
        return
    state = rows.run.state
    info = state.info(end_of_points=rows.last_point)
    tables["runs"].append(
        (
            run_id,
            info.run_name,
            info.experiment_id,
            info.experiment_name,
            info.status,
            info.start_time,
            info.end_time,
            info.lifecycle_stage,
            info.user_id,
            info.parent_run_id,
            info.crashed,
            info.live,
            state.lost,
            rows.last_point,
        )
    )
    tables["writers"] += [
        (run_id, name, w.role, w.alive, w.ended, w.events, w.points, w.kept) for name, w in rows.writers.items()
    ]
    tables["segments"] += [(run_id, *segment) for segment in rows.segments]
    tables["damage"] += [
        (run_id, error.path, error.offset, str(error), change_token(error.path)) for error in rows.damage[:DAMAGE_MAX]
    ]
    if rows.facts:
        _add_facts(tables, run_id, state)


def _add_facts(tables: dict[str, list[tuple[Any, ...]]], run_id: str, state: RunState) -> None:
    tables["params"] += [(run_id, key, value) for key, value in state.params.items()]
    tables["tags"] += [(run_id, key, value) for key, value in state.tags.items()]
    tables["artifacts"] += [(run_id, a.path, a.size, a.sha256, a.time) for a in state.artifacts]
    for number, used in enumerate(state.datasets):
        of = used.dataset
        about = (of.name, of.digest, used.context, of.source_type, of.source, of.schema, of.profile)
        tables["datasets"].append((run_id, number, *about, list(used.tags.items())))
    tables["alerts"] += [
        (run_id, a.time, a.rule, a.condition, a.message, a.metric or None, a.step, a.value, list(a.actions.items()))
        for a in state.alerts
    ]
    visibility = state.visibility
    if visibility is not None and visibility.fork is not None:
        tables["forks"] += [(run_id, source) for source in visibility.fork.sources]
    tables["models"] += [(run_id, number, id_, False, None) for number, id_ in enumerate(state.model_inputs)]
    tables["models"] += [(run_id, number, m.model_id, True, m.step) for number, m in enumerate(state.model_outputs)]


def _store_latest(con: duckdb.DuckDBPyConnection, changed: Iterable[RunRows]) -> None:
    """Merge the summaries of new points with those in the catalog."""
    grown = [rows for rows in changed if rows.summaries.by_key and not rows.replace]
    if grown:
        keys = pa.table(
            {
                "run_id": text_column([rows.run_id for rows in grown for _ in rows.summaries.by_key]),
                "key": text_column([key for rows in grown for key in rows.summaries.by_key]),
            }
        )
        con.register("fresh", keys)
        held = con.execute(
            "SELECT run_id, key, value, step, time, min, max, count FROM base.latest_metrics"
            " SEMI JOIN fresh USING (run_id, key)"
        ).fetchall()
        con.execute(
            "DELETE FROM base.latest_metrics USING fresh WHERE latest_metrics.run_id = fresh.run_id"
            " AND latest_metrics.key = fresh.key"
        )
        con.unregister("fresh")
        by_run = {rows.run_id: rows.summaries for rows in grown}
        for run_id, *fields in held:
            by_run[run_id].include(MetricSummary(*fields))
    _insert(
        con,
        "latest_metrics",
        [
            (rows.run_id, s.key, s.value, s.step, s.time, s.min, s.max, s.count)
            for rows in changed
            for s in rows.summaries.by_key.values()
        ],
    )


def _store_points(con: duckdb.DuckDBPyConnection, changed: Iterable[RunRows]) -> None:
    pieces = [_points_table(rows.run_id, piece) for rows in changed for piece in rows.kept]
    if pieces:
        _insert_table(con, "points", pa.concat_tables(pieces))


def _points_table(run_id: str, points: PointColumns) -> pa.Table:
    return pa.table(
        {
            "run_id": repeated_text(run_id, len(points)).dictionary_decode(),
            "metric": metric_column(points).cast(pa.string()),
            "step": array_column(points.steps, pa.int64()),
            "time": array_column(points.times, pa.int64()),
            "value": array_column(points.values, pa.float64()),
        }
    )


def _delete(con: duckdb.DuckDBPyConnection, tables: Iterable[str], run_ids: Iterable[str]) -> None:
    ids = list(run_ids)
    if ids:
        for table in tables:
            con.execute(f"DELETE FROM base.{table} WHERE run_id IN (SELECT unnest(?))", [ids])


def _insert(con: duckdb.DuckDBPyConnection, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
    if not rows:
        return
    columns = zip(COLUMNS[table].items(), zip(*rows, strict=True), strict=True)
    _insert_table(con, table, pa.table({name: _column(kind, values) for (name, kind), values in columns}))


def _column(kind: str, values: Sequence[Any]) -> pa.Array:
    if kind == "VARCHAR":
        return text_column(values)
    return map_column(values) if kind == "MAP(VARCHAR, VARCHAR)" else value_column(values, _ARROW[kind])


def _insert_table(con: duckdb.DuckDBPyConnection, table: str, rows: pa.Table) -> None:
    con.register("rows_in", rows)
    con.execute(f"INSERT INTO base.{table} SELECT * FROM rows_in")
    con.unregister("rows_in")
