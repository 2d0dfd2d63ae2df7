"""DuckDB's errors with our hints: what it suggests itself may be a table that only the catalog uses."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING

from mltrack.catalog.schema import VIEWS
from mltrack.errors import UsageError

if TYPE_CHECKING:
    import duckdb

__all__ = ["error_line", "usage_error"]

_TABLE = re.compile(r'(?:Table|View) with name "?([^"]*?)"? does not exist')
_COLUMN = re.compile(r'[Cc]olumn (?:named )?"([^"]+)"')
_SUGGESTED = re.compile(r"\s*(Did you mean|Candidate (bindings|tables)).*$", re.DOTALL)
_ALIKE = {"view": 0.6, "column": 0.5}  # columns' names have several words


def usage_error(con: duckdb.DuckDBPyConnection, query: str, error: duckdb.Error) -> UsageError:
    """What was wrong with a query, with what there is in place of DuckDB's suggestions."""
    line = error_line(error)
    views = f"views: {', '.join(VIEWS)}"
    if missing := _TABLE.search(line):
        return UsageError(_SUGGESTED.sub("", line), hint=_meant("view", missing[1], VIEWS) + views)
    if missing := _COLUMN.search(line):
        columns = _columns(con, query)
        known = dict.fromkeys(name for names in columns.values() for name in names)
        listed = [f"{view}: {', '.join(names)}" for view, names in columns.items()] or [views]
        meant = "" if missing[1].lower() in known else _meant("column", missing[1], list(known))
        return UsageError(_SUGGESTED.sub("", line), hint=meant + "; ".join(listed))
    return UsageError(line, hint=views)


def error_line(error: duckdb.Error) -> str:
    """The error as one line, without the part that shows the query."""
    return " ".join(str(error).split("\n\n")[0].split())


def _meant(what: str, text: str, names: tuple[str, ...] | list[str]) -> str:
    near = get_close_matches(text.lower().rpartition(".")[2], names, n=1, cutoff=_ALIKE[what])
    return f"did you mean {near[0]}? " if near else ""


def _columns(con: duckdb.DuckDBPyConnection, query: str) -> dict[str, list[str]]:
    """The columns of the views whose names are in the query."""
    words = set(re.findall(r"\w+", query.lower()))
    return {view: [row[0] for row in con.execute(f"DESCRIBE {view}").fetchall()] for view in VIEWS if view in words}
