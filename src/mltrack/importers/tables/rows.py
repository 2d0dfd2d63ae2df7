"""Rows of a table as points: wide rows with a metric in each column, and long ones that name theirs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mltrack.importers.batches import make_batch
from mltrack.importers.source import SourceError

if TYPE_CHECKING:
    import numpy.typing as npt

    from mltrack.importers.findings import Findings
    from mltrack.importers.tables.roles import Roles

__all__ = ["TableRows"]

STEP_MAX = 2.0**63
_UNITS = ((1e17, 1), (1e14, 1_000), (1e11, 1_000_000), (0.0, 1_000_000_000))
"""From so large a number on, a time counts in so many ns: 1e11 s are after the year 5000, 1e11 ms before 1974."""


class TableRows:
    """Makes points of batches of rows, in order. Numbers of rows count from 1, without the header."""

    def __init__(self, where: str, roles: Roles, findings: Findings, run: str = "") -> None:
        """``run``: only rows of this run, where a column names it."""
        self._where = where
        self._roles = roles
        self._findings = findings
        self._run = run
        self._row = 0

    def points(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """The points of some rows.

        Raises:
            SourceError: a time can't be read.
        """
        first, self._row = self._row, self._row + len(batch)
        steps, has_step = self._steps(batch, first)
        times = self._times(batch)
        roles = self._roles
        if roles.value:
            yield from self._long(batch, steps, times, has_step)
            return
        used = (roles.step, roles.time)
        metrics = [name for name in batch.schema.names if name not in used]
        kept: list[tuple[str, npt.NDArray[np.bool_], npt.NDArray[np.float64]]] = []
        for name in metrics:
            column = batch.column(name)
            if not pa.types.is_floating(column.type):
                self._left_out(name)
                continue
            valid, values = _numbers(column)
            valid &= has_step
            if name and valid.any():
                kept.append((name, valid, values))
        if kept:
            yield _by_row(kept, steps, times)

    def _left_out(self, name: str) -> None:
        self._findings.left_out(f"{self._where}: column {name[:100]!r}, which is not numbers")

    def _steps(self, batch: pa.RecordBatch, first: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """The step of each row, and whether it has one; without a column of steps, rows are counted."""
        if not self._roles.step:
            return np.arange(first, first + len(batch), dtype=np.int64), np.ones(len(batch), np.bool_)
        column = batch.column(self._roles.step)
        if not pa.types.is_floating(column.type):
            raise SourceError(f"the column {self._roles.step!r} has other things than steps")
        valid, numbers = _numbers(column)
        valid &= np.isfinite(numbers) & (np.abs(numbers) < STEP_MAX)
        if not valid.all():
            row = first + int(np.flatnonzero(~valid)[0]) + 1
            count = int((~valid).sum())
            self._findings.problem(self._where, f"row {row:,}: no step ({count:,} such rows from here on)")
        return np.where(valid, numbers, 0).astype(np.int64), valid

    def _times(self, batch: pa.RecordBatch) -> npt.NDArray[np.int64]:
        """The time of each row in ns; 0 where it has none."""
        if not self._roles.time:
            return np.zeros(len(batch), np.int64)
        column = batch.column(self._roles.time)
        if pa.types.is_floating(column.type):
            valid, numbers = _numbers(column)
            numbers = np.where(valid & np.isfinite(numbers), numbers, 0)
            largest = float(np.abs(numbers).max(initial=0))
            unit = next(unit for least, unit in _UNITS if largest >= least)
            whole = np.floor(numbers)
            return whole.astype(np.int64) * unit + ((numbers - whole) * unit).astype(np.int64)
        try:
            moments = _moments(column)
        except pa.ArrowInvalid as error:
            raise SourceError(f"the column {self._roles.time!r} has other things than times: {error}") from error
        return np.asarray(pc.fill_null(moments.cast(pa.int64()), 0))

    def _long(
        self,
        batch: pa.RecordBatch,
        steps: npt.NDArray[np.int64],
        times: npt.NDArray[np.int64],
        has_step: npt.NDArray[np.bool_],
    ) -> Iterator[pa.RecordBatch]:
        roles = self._roles
        column, names = batch.column(roles.value), batch.column(roles.name).cast(pa.string())
        if not pa.types.is_floating(column.type):
            raise SourceError(f"the column {roles.value!r} has other things than numbers")
        valid, values = _numbers(column)
        valid &= has_step & ~np.asarray(names.is_null().to_numpy(zero_copy_only=False))
        if self._run:
            runs = batch.column(roles.run).cast(pa.string())
            valid &= np.asarray(pc.fill_null(pc.equal(runs, self._run), False).to_numpy(zero_copy_only=False))
        if valid.any():
            coded = names.filter(pa.array(valid)).dictionary_encode()
            codes = coded.indices.to_numpy().astype(np.int64)
            yield make_batch(coded.dictionary.to_pylist(), codes, steps[valid], times[valid], values[valid])


def _moments(column: pa.Array) -> pa.Array:
    """Times in UTC, with zones (as `mltrack export` writes them) or without, which are taken for UTC."""
    try:
        return pc.cast(column, pa.timestamp("ns"))
    except pa.ArrowInvalid:
        if not pa.types.is_string(column.type):
            raise
        return pc.cast(column, pa.timestamp("ns", "UTC"))


def _numbers(column: pa.Array) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """Which values are not missing, and the values."""
    valid = np.asarray(column.is_valid().to_numpy(zero_copy_only=False)).copy()
    filled = column.fill_null(0.0) if column.null_count else column
    return valid, filled.cast(pa.float64()).to_numpy()


def _by_row(
    kept: list[tuple[str, npt.NDArray[np.bool_], npt.NDArray[np.float64]]],
    steps: npt.NDArray[np.int64],
    times: npt.NDArray[np.int64],
) -> pa.RecordBatch:
    """The points of wide rows, row by row."""
    valid = np.stack([mask for _, mask, _ in kept], axis=1)
    values = np.stack([column for _, _, column in kept], axis=1)
    row, code = np.nonzero(valid)
    return make_batch([name for name, _, _ in kept], code, steps[row], times[row], values[valid])
