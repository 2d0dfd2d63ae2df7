"""All runs that pass a filter, a line each: what a list of thousands of runs shows, and not more."""

from __future__ import annotations

from time import time_ns
from typing import TYPE_CHECKING, NamedTuple

from mltrack.catalog.filter_parser import ATTRIBUTE, PARAM, TAG, Name, Reader, parse_filter
from mltrack.catalog.filter_sql import TABLES, Parameters, attribute_columns, compile_filter
from mltrack.catalog.schema import CATALOG_FILE, CATALOG_LOCK, is_ours
from mltrack.disk.locks import file_lock
from mltrack.entities import ACTIVE
from mltrack.errors import BusyError, FilterError, UsageError
from mltrack.text.shown import shown

if TYPE_CHECKING:
    import duckdb

    from mltrack.disk.layout import Layout

__all__ = ["Overview", "RunLine", "find_keys", "find_overview", "group_name", "overview_on_disk"]

LINES_MAX = 100_000
"""How many runs an overview has at most: the latest ones."""


class RunLine(NamedTuple):
    """A run in a list. Times are ms since the epoch; ``value`` is that of the param or tag it is grouped by.

    ``alerts`` counts what guards have found in it.
    """

    run_id: str
    name: str
    experiment: str
    status: str
    start_time: int
    end_time: int | None
    parent_run_id: str | None
    crashed: bool
    live: bool
    value: str | None = None
    alerts: int = 0

    @property
    def state(self) -> str:
        """The status, or CRASHED if the process that wrote the run died without ending it."""
        return "CRASHED" if self.crashed else self.status


class Overview(NamedTuple):
    """What is asked for: a filter in MLflow's grammar, a regular expression for names (RE2), a param or tag."""

    filter: str = ""
    name_pattern: str = ""
    group: Name | None = None


def find_overview(con: duckdb.DuckDBPyConnection, asked: Overview, most: int = LINES_MAX) -> list[RunLine]:
    """Runs that are not deleted, of experiments that are not, the latest start first; ``most`` of them at most.

    Raises:
        FilterError: the filter or the pattern does not parse.
    """
    import duckdb

    condition = parse_filter(asked.filter)
    parameters = Parameters()
    where = [f"runs.lifecycle_stage = '{ACTIVE}'", f"coalesce(e.lifecycle_stage, '{ACTIVE}') = '{ACTIVE}'"]
    attributes = attribute_columns(time_ns() // 1_000_000, parameters)
    attributes["artifact_uri"] = "(runs.run_id || '/artifacts')"
    if condition is not None:
        where.append(compile_filter(condition, parameters, attributes))
    if asked.name_pattern:
        where.append(f"regexp_matches(runs.run_name, {parameters.add(asked.name_pattern)})")
    value, join = "NULL", ""
    if asked.group is not None and asked.group.entity == ATTRIBUTE:
        value = f"CAST({attributes[asked.group.key]} AS VARCHAR)"
    elif asked.group is not None:
        value = "g.value"
        rows = f"SELECT run_id, value FROM {TABLES[asked.group.entity]} WHERE key = {parameters.add(asked.group.key)}"
        join = f"LEFT JOIN ({rows}) g ON g.run_id = runs.run_id"
    sql = (
        "SELECT runs.run_id, runs.run_name, coalesce(e.name, runs.experiment_name), runs.status, runs.start_time,"
        f" runs.end_time, runs.parent_run_id, runs.crashed, runs.live, {value},"
        " (SELECT count(*) FROM base.alerts a WHERE a.run_id = runs.run_id) FROM base.runs runs"
        f" LEFT JOIN base.experiments e ON e.experiment_id = runs.experiment_id {join}"
        f" WHERE {' AND '.join(where)} ORDER BY runs.start_time DESC, runs.run_id LIMIT {most}"
    )
    try:
        rows_found = con.execute(sql, parameters.used_in(sql)).fetchall()
    except duckdb.InvalidInputException as error:
        words = str(error).partition("\n")[0].removeprefix("Invalid Input Error: ")
        raise FilterError(f"/{asked.name_pattern}/: {words}", hint="escape ( ) [ ] . with a backslash") from None
    return [RunLine(*row) for row in rows_found]


def overview_on_disk(layout: Layout, asked: Overview, most: int) -> list[RunLine]:
    """The same from the catalog as it is on disk, without a look at the run folders.

    Nothing where it can't be used now. It needs no more than DuckDB: the rest of mltrack need not be imported.

    Raises:
        FilterError: as find_overview.
    """
    import duckdb

    from mltrack.catalog.database import CatalogDatabase

    file = layout.root / CATALOG_FILE
    database = CatalogDatabase(file, layout.runs)
    try:
        with file_lock(layout.root / CATALOG_LOCK, timeout_s=0):
            if not file.exists():
                return []
            with database.attached(read_only=True) as con:
                return find_overview(con, asked, most) if is_ours(con, layout.store_id) else []
    except (BusyError, OSError, duckdb.Error):
        return []  # a search finds out why, and reports it or makes a new one
    finally:
        database.stop()


def find_keys(con: duckdb.DuckDBPyConnection, entity: str) -> list[str]:
    """The keys of all params, tags or metrics in the store, sorted."""
    if not isinstance(entity, str) or entity not in TABLES:
        raise UsageError(f"entity is {shown(entity)}", hint=f"one of {', '.join(TABLES)}")
    rows = con.execute(f"SELECT DISTINCT key FROM {TABLES[entity]} ORDER BY key").fetchall()
    return [row[0] for row in rows]


def group_name(text: str) -> Name:
    """The param, tag or attribute that ``params.lr``, ``tags.team`` or ``status`` names.

    Raises:
        FilterError: it names none, or one that has no groups.
    """
    reader = Reader(text)
    name = reader.name()
    if reader.peek.kind != "end" or name.entity not in (PARAM, TAG, ATTRIBUTE):
        raise reader.error(f"runs can't be grouped by {text!r}", "write params.NAME, tags.NAME, status or user_id", 0)
    return name
