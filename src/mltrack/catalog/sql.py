"""SQL over the store: one reading statement on views of its runs, their facts and all their points."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from mltrack.catalog.run_rows import metric_column
from mltrack.catalog.schema import POINT_COLUMNS, VIEWS
from mltrack.catalog.sql_errors import error_line, usage_error
from mltrack.catalog.verified_segments import verified
from mltrack.disk.arrow_columns import array_column, repeated_text
from mltrack.disk.damage import unreadable
from mltrack.disk.layout import Layout
from mltrack.errors import CorruptionError, NotFoundError, UsageError
from mltrack.journal.reader import segments_of
from mltrack.storage.runs.stored_run import StoredRun
from mltrack.storage.runs.visibility import SYSTEM_METRICS
from mltrack.text.encodable import encodable
from mltrack.values.arguments import list_argument, seconds_argument, text_argument

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from mltrack.disk.segment import PointColumns
    from mltrack.storage.runs.visibility import PointRule

__all__ = ["answer_query", "define_metrics", "names_metrics", "run_sql"]

_POINTS = re.compile(r"(?<!latest_)metrics|\bquery(_table)?\s*\(", re.IGNORECASE)
_LISTED = re.compile(r"\bshow\s+tables\b", re.IGNORECASE)  # what a view of points is made of would be listed, too
_ALL_TABLES = re.compile(r"\s*(show(\s+all\s+tables)?|describe)\s*;?\s*", re.IGNORECASE)  # the catalog's own, too
_OLD_KEY = re.compile(r'[Cc]olumn (?:named )?"metric"')
_PATTERN = re.compile(r"[*?\[\\]")  # characters that make a file name a pattern for DuckDB, which can't quote them

_TEXT = pa.dictionary(pa.int32(), pa.string())
_UNSEALED = pa.schema(
    [
        ("run_id", _TEXT),
        ("metric", _TEXT),
        ("step", pa.int64()),
        ("time", pa.int64()),
        ("value", pa.float64()),
    ]
)


def run_sql(
    con: duckdb.DuckDBPyConnection,
    layout: Layout,
    query: str,
    params: Sequence[Any] | Mapping[str, Any] | None = None,
    *,
    report: Callable[[CorruptionError], None],
    timeout_s: float | None = None,
) -> pa.Table:
    """The result of one SELECT. It can change nothing, and reads no file outside the store.

    Args:
        con: The catalog, up to date, for this query alone: it gets temporary views.
        layout: The store.
        query: The statement, in DuckDB's SQL.
        params: Values for ``?`` or ``$name`` in it.
        report: Called with each piece of damage in the points, which are then left out.
        timeout_s: How long it may take, in seconds.

    Raises:
        UsageError: it is not a single reading statement, fails or takes too long; the message is DuckDB's.
        CorruptionError: a segment it reads is damaged.
    """
    query = encodable(text_argument("query", query))

    def prepare() -> None:
        if names_metrics(query):
            _make_metrics(con, layout, report)

    def explain(error: duckdb.Error) -> Exception | None:
        if isinstance(error, duckdb.InterruptException) and timeout_s is not None:
            return UsageError(f"the query took longer than {timeout_s:g} s", hint="ask for less")
        return _explained(error, layout)

    with _interrupted_after(con, timeout_s):
        return answer_query(con, query, params, prepare=prepare, explain=explain)


@contextlib.contextmanager
def _interrupted_after(con: duckdb.DuckDBPyConnection, timeout_s: float | None) -> Iterator[None]:
    """Interrupt what the connection does after some seconds."""
    if timeout_s is None:
        yield
        return
    timer = threading.Timer(seconds_argument("timeout_s", timeout_s), con.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def names_metrics(query: str) -> bool:
    """Whether a query may read the view ``metrics``."""
    return _POINTS.search(query) is not None and _LISTED.search(query) is None


def define_metrics(con: duckdb.DuckDBPyConnection, select: str) -> None:
    """Make the view ``metrics``.

    Args:
        con: The database, for one query alone.
        select: All points, with the columns run_id, key, step, time and value.
    """
    con.execute(f"CREATE OR REPLACE TEMP VIEW all_points AS {select}")
    con.execute("CREATE OR REPLACE TEMP VIEW metrics AS FROM all_points")


def answer_query(
    con: duckdb.DuckDBPyConnection,
    query: str,
    params: Sequence[Any] | Mapping[str, Any] | None = None,
    *,
    prepare: Callable[[], None],
    explain: Callable[[duckdb.Error], Exception | None] = lambda _: None,
) -> pa.Table:
    """The result of one SELECT on a database with the views of a store.

    The column ``key`` of ``metrics`` was called ``metric``: queries that say so are answered.

    Args:
        con: The database, for this query alone.
        query: The statement.
        params: Values for ``?`` or ``$name`` in it.
        prepare: Makes the view ``metrics`` by `define_metrics`, where the query names it.
        explain: The error to raise for one of DuckDB's that is not the query's fault.

    Raises:
        UsageError: it is not a single reading statement, or fails; the message is DuckDB's.
    """
    query = encodable(query)
    if params is not None and not isinstance(params, Mapping):
        params = list_argument("params", params)
    _check(con, query)
    if _ALL_TABLES.fullmatch(query):
        query = "SHOW TABLES"
    try:
        prepare()
        try:
            return _answer(con, query, params)
        except duckdb.BinderException as error:
            if not (names_metrics(query) and _OLD_KEY.search(str(error))):
                raise
            con.execute("CREATE OR REPLACE TEMP VIEW metrics AS SELECT *, key AS metric FROM all_points")
            return _answer(con, query, params)
    except duckdb.Error as error:
        raise explain(error) or usage_error(con, query, error) from error


def _answer(con: duckdb.DuckDBPyConnection, query: str, params: Sequence[Any] | Mapping[str, Any] | None) -> pa.Table:
    con.execute("BEGIN TRANSACTION READ ONLY")
    try:
        relation = con.sql(query, params=params) if params is not None else con.sql(query)
        return relation.to_arrow_table()
    finally:
        con.execute("ROLLBACK")


def _check(con: duckdb.DuckDBPyConnection, query: str) -> None:
    try:
        statements = con.extract_statements(query)
    except duckdb.Error as error:
        raise usage_error(con, query, error) from error
    allowed = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)
    if len(statements) != 1 or statements[0].type not in allowed:
        raise UsageError("only one reading statement at a time is allowed", hint=f"SELECT from {', '.join(VIEWS)}")


def _explained(error: duckdb.Error, layout: Layout) -> Exception | None:
    line = error_line(error)
    if str(layout.runs) in line and not isinstance(error, duckdb.PermissionException):
        path = next(word.strip("\"',:") for word in line.split() if str(layout.runs) in word)
        return CorruptionError(line, path=path, hint="see what else is damaged: mltrack check")
    if "Corrupt database file" in line or isinstance(error, duckdb.FatalException):
        return error
    return None


# --- all points of all runs ------------------------------------------------------------------------------------


def _make_metrics(con: duckdb.DuckDBPyConnection, layout: Layout, report: Callable[[CorruptionError], None]) -> None:
    """The view ``metrics``: points in the catalog, in segments, and still in journals, each once."""
    direct = not _PATTERN.search(str(layout.runs))
    partly = [row[0] for row in con.execute("SELECT run_id FROM base.folders WHERE counting <> ''").fetchall()]
    chosen = _Chosen(con, layout, report)
    unsealed = [*_unsealed(con, layout, report, all_points=not direct)]
    if direct:
        unsealed += [piece for run_id in partly for piece in chosen.take(run_id)]
    con.register("unsealed", pa.concat_tables([pa.Table.from_batches([], _UNSEALED), *unsealed]).unify_dictionaries())
    parts = [
        f"SELECT {POINT_COLUMNS} FROM base.points",
        f"SELECT {POINT_COLUMNS} FROM unsealed",
    ]
    rows = con.execute(
        "SELECT s.* FROM base.segments s JOIN base.folders f USING (run_id) WHERE f.counting = '' ORDER BY ALL"
    ).fetchall()
    files, damage = verified(
        con,
        [
            (run_id, layout.run(run_id).segments / f"{writer}.{first}-{last}.parquet")
            for run_id, writer, first, last in (rows if direct else [])
        ],
    )
    for error in damage:
        report(error)
    if files:
        parts.append(
            "SELECT regexp_extract(filename, '([0-9a-f]{32})/segments/[^/]*$', 1) AS run_id, metric AS key, step, time,"
            f" value FROM {_read(files)}"
        )
    define_metrics(con, " UNION ALL ".join([*parts, *chosen.parts]))


def _read(files: Sequence[Path]) -> str:
    return f"read_parquet([{', '.join(_literal(str(file)) for file in files)}], filename = true)"


class _Chosen:
    """Runs of which not all points count, and forks: their segments by statements of their own."""

    def __init__(
        self, con: duckdb.DuckDBPyConnection, layout: Layout, report: Callable[[CorruptionError], None]
    ) -> None:
        self.parts: list[str] = []
        self._con = con
        self._layout = layout
        self._report = report
        kept = con.execute("SELECT run_id, writer FROM base.writers WHERE kept").fetchall()
        self._kept = {(run_id, writer) for run_id, writer in kept}

    def take(self, run_id: str) -> Iterator[pa.Table]:
        """Add statements for what is sealed of a run; returns what is not, nor in the catalog."""
        try:
            run = StoredRun(self._layout.run(run_id), report=self._report)
        except (NotFoundError, OSError) as error:
            if isinstance(error, OSError):
                self._report(unreadable(run_id, error))
            return
        for source in run.point_sources():
            if (run_id, source.writer) in self._kept:
                continue
            segments = segments_of(source.folder, source.writer)
            files, damage = verified(self._con, [(source.folder.run_id, path) for _, path in segments])
            for fault in damage:
                self._report(fault)
            if files:
                rule = "true" if source.rule is None else _condition(source.rule)
                columns = f"{_literal(run_id)} AS run_id, metric AS key, step, time, value"
                self.parts.append(f"SELECT {columns} FROM {_read(files)} WHERE {rule}")
            sealed = max((name.last + 1 for name, _ in segments), default=0)
            for points in source.read(sealed, run.damage):
                yield _unsealed_table(run_id, points)


def _condition(rule: PointRule) -> str:
    """Which rows of a writer's segments count."""
    system = f"starts_with(metric, {_literal(SYSTEM_METRICS)})"
    hidden = " OR ".join(f"(seq < {one.end} AND step > {one.step})" for one in rule.hidden) or "false"
    if rule.end is None:
        return f"({system} OR NOT ({hidden}))"
    return f"(seq < {rule.end} AND NOT {system} AND NOT ({hidden}))"


def _unsealed(
    con: duckdb.DuckDBPyConnection, layout: Layout, report: Callable[[CorruptionError], None], *, all_points: bool
) -> Iterator[pa.Table]:
    """The points that are neither in the catalog nor in its known segments; ``all_points`` adds those in segments.

    Without these, of runs of which all points count.
    """
    rows = con.execute(
        "SELECT run_id, writer, points, coalesce(max(last) + 1, 0) FROM base.writers JOIN base.folders USING (run_id)"
        " LEFT JOIN base.segments USING (run_id, writer) WHERE NOT kept AND (? OR counting = '') GROUP BY ALL"
        " HAVING ? OR points > coalesce(max(last) + 1, 0) ORDER BY run_id",
        [all_points, all_points],
    ).fetchall()
    after: dict[str, dict[str, int]] = {}
    for run_id, writer, _, sealed in rows:
        after.setdefault(run_id, {})[writer] = 0 if all_points else sealed
    for run_id, positions in after.items():
        try:
            run = StoredRun(layout.run(run_id), report=report)
        except OSError as error:
            report(unreadable(run_id, error))
            continue
        for source in run.point_sources():
            if source.writer in positions:
                for points in source.read(positions[source.writer], run.damage):
                    yield _unsealed_table(run_id, points)


def _unsealed_table(run_id: str, points: PointColumns) -> pa.Table:
    numbers = zip((points.steps, points.times, points.values), _UNSEALED.types[2:], strict=True)
    columns = [array_column(array, kind) for array, kind in numbers]
    names = [repeated_text(run_id, len(points)), metric_column(points)]
    return pa.Table.from_arrays([*names, *columns], schema=_UNSEALED)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
