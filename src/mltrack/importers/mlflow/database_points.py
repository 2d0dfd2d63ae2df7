"""The points in MLflow's database, run by run, streamed in the order in which they were logged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from mltrack.importers.batches import make_batch
from mltrack.importers.mlflow.terms import NS_PER_MS, TIME_MS_MAX, as_text

if TYPE_CHECKING:
    import pyarrow as pa

    from mltrack.importers.findings import Findings
    from mltrack.importers.mlflow.database import Database

__all__ = ["DatabasePoints"]

LARGEST = float(np.finfo(np.float64).max)
"""MLflow writes infinity as this: it is read as infinity again."""


class DatabasePoints:
    """Reads them. A database without an index on runs (before MLflow 1.21) is sorted once, into a temporary file."""

    def __init__(self, database: Database, findings: Findings) -> None:
        self._database = database
        self._findings = findings
        self._sorted = False

    def of(self, run_id: str) -> Iterator[pa.RecordBatch]:
        """The points of a run.

        Raises:
            SourceError: the database is damaged.
        """
        database = self._database
        if not database.has("metrics"):
            return
        step = "step" if database.has("metrics", "step") else "0"
        is_nan = "is_nan" if database.has("metrics", "is_nan") else "0"
        columns = f"key, value, timestamp, {step}, {is_nan}"
        if database.is_indexed("metrics", "run_uuid"):
            # the + keeps SQLite from another index, by which rows would come sorted by key
            query = f"SELECT {columns} FROM metrics WHERE run_uuid = ? ORDER BY rowid"
        else:
            self._sort()
            query = f"SELECT {columns} FROM metrics WHERE rowid IN (SELECT at FROM temp.points_of_runs WHERE run = ?)"
            query += " ORDER BY rowid"
        for rows in database.rows(query, (run_id,)):
            yield from self._batch(rows, run_id)

    def _sort(self) -> None:
        if not self._sorted:
            self._database.execute(
                "CREATE TEMP TABLE points_of_runs (run, at INTEGER, PRIMARY KEY (run, at)) WITHOUT ROWID"
            )
            self._database.execute("INSERT INTO temp.points_of_runs SELECT run_uuid, rowid FROM metrics ORDER BY 1, 2")
            self._sorted = True

    def _batch(self, rows: list[tuple[Any, ...]], run_id: str) -> Iterator[pa.RecordBatch]:
        keys, values, times, steps, nans = zip(*rows, strict=True)
        try:
            columns = (np.array(values, np.float64), np.array(times, np.int64), np.array(steps, np.int64))
            if np.abs(columns[1]).max() > TIME_MS_MAX:
                raise ValueError
        except (TypeError, ValueError, OverflowError):
            good = [row for row in rows if self._is_point(row, run_id)]
            if good:
                yield from self._batch(good, run_id)
            return
        value, time, step = columns
        numbers: dict[str, int] = {}
        codes = np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)
        value = np.where(np.abs(value) == LARGEST, np.copysign(np.inf, value), value)
        value = np.where(np.array(nans, np.bool_), np.nan, value)
        yield make_batch(list(map(as_text, numbers)), codes, step, time * NS_PER_MS, value)

    def _is_point(self, row: tuple[Any, ...], run_id: str) -> bool:
        key, value, time, step, _ = row
        is_time = isinstance(time, int) and abs(time) <= TIME_MS_MAX
        if isinstance(value, int | float) and is_time and isinstance(step, int) and isinstance(key, str):
            return True
        self._findings.problem(f"run {run_id}", f"a point that is not one: {row!r:.200}")
        return False
