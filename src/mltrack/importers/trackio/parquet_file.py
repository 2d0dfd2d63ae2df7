"""A project's Parquet files, as trackio keeps them on the Hub: a column for each metric."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mltrack.importers.batches import Columns
from mltrack.importers.logged_rows import LoggedItem
from mltrack.importers.source import SourceError
from mltrack.importers.times import ns_of
from mltrack.importers.trackio.rows import METRICS, SYSTEM, Part, RunHeads
from mltrack.text.counting import plural

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from mltrack.importers.findings import Findings

__all__ = ["ParquetFile"]

OWN_COLUMNS = {"id", "run_id", "timestamp", "run_name", "step", "log_id", "space_id"}
ROWS = 1 << 16
KEPT_BYTES_MAX = 128 << 20
"""A table of no more is kept in memory, as rows of all runs are mixed in it; a larger one is read for each run."""


class ParquetFile:
    """They, open to read: ``metrics``, and where they are there, ``system`` and ``configs``."""

    def __init__(self, paths: dict[str, Path], where: str, findings: Findings) -> None:
        """Open them.

        Raises:
            SourceError: one can't be read.
        """
        self.where = where
        self._findings = findings
        self._paths = {METRICS: paths["metrics"], SYSTEM: paths.get("system"), "configs": paths.get("configs")}
        self._kept: dict[str, list[pa.RecordBatch]] = {}

    def close(self) -> None:
        """Forget what is kept in memory."""
        self._kept.clear()

    def _batches(self, table: str) -> Iterator[pa.RecordBatch]:
        path = self._paths[table]
        if path is None:
            return
        if table in self._kept:
            yield from self._kept[table]
            return
        try:
            with pq.ParquetFile(path) as file:
                if (
                    sum(file.metadata.row_group(at).total_byte_size for at in range(file.num_row_groups))
                    > KEPT_BYTES_MAX
                ):
                    yield from map(_checked, file.iter_batches(ROWS))
                    return
                self._kept[table] = list(map(_checked, file.iter_batches(ROWS)))
        except (OSError, pa.ArrowException) as error:
            raise SourceError(f"{path.name} can't be read: {_words(error)}") from error
        yield from self._kept[table]

    # --- runs ---

    def heads(self) -> RunHeads:
        """The runs.

        Raises:
            SourceError: a file can't be read.
        """
        try:
            return self._heads()
        except pa.ArrowException as error:
            raise SourceError(f"{self.where} has other things than trackio writes: {_words(error)}") from error

    def _heads(self) -> RunHeads:
        found = RunHeads()
        for table in (METRICS, SYSTEM):
            for batch in self._batches(table):
                rows = pa.table(
                    {"run": _run_ids(batch), "name": _texts(batch, "run_name"), "at": _texts(batch, "timestamp")}
                )
                grouped = rows.group_by(["run", "name"], use_threads=False).aggregate([("at", "min"), ("at", "max")])
                for row in grouped.to_pylist():
                    if row["run"] is not None:
                        found.meet(row["run"], row["name"] or "", ns_of(row["at_min"]), ns_of(row["at_max"]))
        for batch in self._batches("configs"):
            for row in batch.to_pylist():
                name = str(row.get("run_name"))
                head = found.meet(str(row.get("run_id") or name), name, 0, 0)
                own = OWN_COLUMNS | {"created_at"}
                head.config = {key: value for key, value in row.items() if key not in own and value is not None}
        return found

    # --- rows ---

    def parts(self, run_id: str, table: str) -> Iterator[Part]:
        """The rows of a run, in the order of the file.

        Raises:
            SourceError: a file can't be read.
        """
        try:
            yield from self._parts(run_id, table)
        except pa.ArrowException as error:
            raise SourceError(f"{self.where} has other things than trackio writes: {_words(error)}") from error

    def _parts(self, run_id: str, table: str) -> Iterator[Part]:
        step = 0
        for whole in self._batches(table):
            batch = whole.filter(pc.fill_null(pc.equal(_run_ids(whole), run_id), False))
            if not len(batch):
                continue
            times = _times(batch)
            if table == SYSTEM:
                steps, has_step = np.arange(step, step + len(batch), dtype=np.int64), np.ones(len(batch), np.bool_)
                step += len(batch)
            else:
                steps, has_step = self._steps(batch)
            yield _points(batch, steps, times, has_step), list(_items(batch, steps, times, has_step))

    def _steps(self, batch: pa.RecordBatch) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        column = batch.column("step")
        with contextlib.suppress(pa.ArrowException):
            valid = np.asarray(column.is_valid().to_numpy(zero_copy_only=False))
            if not valid.all():
                self._findings.problem(self.where, f"without a step: {plural(int((~valid).sum()), 'row')}")
            return np.asarray(pc.fill_null(column.cast(pa.int64()), 0)), valid
        raise SourceError(f"{self.where}: the column step has other things than steps")


def _checked(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A batch that is whole: damaged pages may be read as offsets that lead anywhere."""
    batch.validate(full=True)
    return batch


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _run_ids(batch: pa.RecordBatch) -> pa.Array:
    """What names the run of each row: its id, or in older versions its name."""
    names = _texts(batch, "run_name")
    return pc.coalesce(_texts(batch, "run_id"), names) if "run_id" in batch.schema.names else names


def _texts(batch: pa.RecordBatch, column: str) -> pa.Array:
    return batch.column(column).cast(pa.string())


def _times(batch: pa.RecordBatch) -> npt.NDArray[np.int64]:
    coded = _texts(batch, "timestamp").dictionary_encode()
    times = np.array([*(ns_of(text) for text in coded.dictionary.to_pylist()), 0], np.int64)
    codes: npt.NDArray[np.int64] = np.asarray(pc.fill_null(coded.indices, len(times) - 1))
    return times[codes].astype(np.int64)


def _is_number(column: pa.Array) -> bool:
    kind = column.type
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind))


def _points(
    batch: pa.RecordBatch, steps: npt.NDArray[np.int64], times: npt.NDArray[np.int64], has_step: npt.NDArray[np.bool_]
) -> Columns:
    """The numbers, row by row."""
    names, masks, columns = [], [], []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if name in OWN_COLUMNS or not _is_number(column) or column.null_count == len(column):
            continue
        names.append(name)
        masks.append(np.asarray(column.is_valid().to_numpy(zero_copy_only=False)) & has_step)
        columns.append(np.asarray(pc.fill_null(column.cast(pa.float64(), safe=False), 0.0)))
    if not names:
        empty = np.zeros(0, np.int64)
        return Columns([], empty, empty, empty, np.zeros(0, np.float64))
    row, code = np.nonzero(np.stack(masks, axis=1))
    return Columns(names, code, steps[row], times[row], np.stack(columns, axis=1)[row, code])


def _items(
    batch: pa.RecordBatch, steps: npt.NDArray[np.int64], times: npt.NDArray[np.int64], has_step: npt.NDArray[np.bool_]
) -> Iterator[LoggedItem]:
    """What is not a number."""
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if name in OWN_COLUMNS or _is_number(column) or column.null_count == len(column):
            continue
        for row in np.flatnonzero(np.asarray(column.is_valid().to_numpy(zero_copy_only=False)) & has_step).tolist():
            yield LoggedItem(name, int(steps[row]), int(times[row]), _without_nulls(column[row].as_py()))


def _without_nulls(value: Any) -> Any:
    """A value as it was before all objects of a column had the same fields."""
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return value
