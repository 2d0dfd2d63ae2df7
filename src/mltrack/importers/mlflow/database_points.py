"""The points in MLflow's database, run by run, streamed in the order in which they were logged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from mltrack.importers.batches import make_batch
from mltrack.importers.mlflow.terms import NS_PER_MS, TIME_MS_MAX

if TYPE_CHECKING:
    import pyarrow as pa

    from mltrack.importers.database import Database
    from mltrack.importers.findings import Findings

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
        step = "m.step" if database.has("metrics", "step") else "0"
        value = "CASE WHEN m.is_nan THEN NULL ELSE m.value END" if database.has("metrics", "is_nan") else "m.value"
        columns = f"m.key, {value}, m.timestamp, {step}"
        if database.is_indexed("metrics", "run_uuid"):
            query = f"SELECT {columns} FROM metrics m WHERE m.run_uuid = ? ORDER BY m.rowid"
        else:
            self._sort()
            query = f"SELECT {columns} FROM temp.points_of_runs p CROSS JOIN metrics m ON m.rowid = p.at"
            query += " WHERE p.run = ? ORDER BY p.at"
        for rows in database.rows(query, (run_id,), raw=True):
            yield from self._batch(rows, run_id)

    def _sort(self) -> None:
        if not self._sorted:
            self._database.execute(
                "CREATE TEMP TABLE points_of_runs (run, at INTEGER, PRIMARY KEY (run, at)) WITHOUT ROWID"
            )
            self._database.execute("INSERT INTO temp.points_of_runs SELECT run_uuid, rowid FROM metrics ORDER BY 1, 2")
            self._sorted = True

    def _batch(self, rows: list[tuple[Any, ...]], run_id: str) -> Iterator[pa.RecordBatch]:
        keys, values, times, steps = zip(*rows, strict=True)
        numbers = _Numbers()
        try:
            value, time = np.array(values, np.float64), np.array(times, np.int64)
            step, codes = np.array(steps, np.int64), np.array(list(map(numbers.__getitem__, keys)), np.int64)
            if np.abs(time).max() > TIME_MS_MAX or any(type(key) is not bytes for key in numbers):
                raise ValueError
        except (TypeError, ValueError, OverflowError):
            good = [row for row in rows if self._is_point(row, run_id)]
            if good:
                yield from self._batch(good, run_id)
            return
        value = np.where(np.abs(value) == LARGEST, np.copysign(np.inf, value), value)
        names = [key.decode("utf-8", "replace") for key in numbers]
        yield make_batch(names, codes, step, time * NS_PER_MS, value)

    def _is_point(self, row: tuple[Any, ...], run_id: str) -> bool:
        key, value, time, step = row
        is_time = isinstance(time, int) and abs(time) <= TIME_MS_MAX
        is_value = value is None or isinstance(value, int | float)
        if is_value and is_time and isinstance(step, int) and isinstance(key, bytes):
            return True
        said = ", ".join(_shown(each) for each in row)
        self._findings.problem(f"run {run_id}", f"a point that is not one: {said}")
        return False


def _shown(value: Any) -> str:
    return repr(value.decode("utf-8", "replace") if isinstance(value, bytes) else value)[:60]


class _Numbers(dict[bytes, int]):
    """Numbers names as they come."""

    def __missing__(self, key: bytes) -> int:
        self[key] = number = len(self)
        return number
