"""Runs whose names are like one that was misspelled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack.text.encodable import encodable

if TYPE_CHECKING:
    import duckdb

__all__ = ["names_like"]

LIKE_MIN = 0.9  # of 1, which only the same text has
NAMES_MAX = 3


def names_like(con: duckdb.DuckDBPyConnection, name: str) -> list[str]:
    """The names of runs that are like ``name``, the likest first; at most three."""
    rows = con.execute(
        "SELECT run_name FROM base.runs WHERE lifecycle_stage = 'active' AND run_name IS NOT NULL GROUP BY run_name"
        " HAVING jaro_winkler_similarity(run_name, ?) >= ?"
        " ORDER BY jaro_winkler_similarity(run_name, ?) DESC, max(start_time) DESC LIMIT ?",
        [encodable(name), LIKE_MIN, encodable(name), NAMES_MAX],
    ).fetchall()
    return [row[0] for row in rows]
