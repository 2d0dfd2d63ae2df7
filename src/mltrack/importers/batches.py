"""Points on their way from a source: as Arrow batches, and as columns of numpy's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from mltrack.disk.arrow_columns import array_column, column_array, text_column
from mltrack.importers.source import SourceError

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["BATCH_ROWS", "BATCH_SCHEMA", "Columns", "columns_of", "make_batch", "rebatched"]

BATCH_ROWS = 1 << 18
"""How many points are written at a time. An importer's batches may have any number; tens of thousands are good."""

BATCH_SCHEMA = pa.schema(
    [
        ("metric", pa.dictionary(pa.int32(), pa.string())),
        ("step", pa.int64()),
        ("time", pa.timestamp("ns", tz="UTC")),
        ("value", pa.float64()),
    ]
)
"""What importers give. No value is null: a number that is missing is a point that is missing, NaN is a value."""


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Points: ``keys[codes[i]]`` is the metric of point ``i``; times in ns since the epoch."""

    keys: Sequence[str]
    codes: npt.NDArray[np.int64]
    steps: npt.NDArray[np.int64]
    times: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.values)

    def take(self, index: npt.NDArray[np.int64] | npt.NDArray[np.bool_] | slice) -> Columns:
        """The points at ``index``, keys unchanged."""
        return Columns(self.keys, self.codes[index], self.steps[index], self.times[index], self.values[index])


def make_batch(
    keys: Sequence[str],
    codes: npt.NDArray[np.int64],
    steps: npt.NDArray[np.int64],
    times: npt.NDArray[np.int64],
    values: npt.NDArray[np.float64],
) -> pa.RecordBatch:
    """A batch of points.

    Args:
        keys: Names of metrics.
        codes: Of each point, the index of its metric in ``keys``; shape (n,).
        steps: Shape (n,).
        times: In ns since the epoch, shape (n,).
        values: Shape (n,).

    Raises:
        UnicodeEncodeError: a name has half a surrogate pair.
    """
    metric = pa.DictionaryArray.from_arrays(array_column(codes, pa.int32()), text_column(keys))
    numbers = [
        array_column(array, kind) for array, kind in zip((steps, times, values), BATCH_SCHEMA.types[1:], strict=True)
    ]
    return pa.RecordBatch.from_arrays([metric, *numbers], schema=BATCH_SCHEMA)


def columns_of(batch: pa.RecordBatch) -> Columns:
    """The batch as columns.

    Raises:
        SourceError: it does not have BATCH_SCHEMA, or a value is missing.
    """
    if not batch.schema.equals(BATCH_SCHEMA):
        raise SourceError(f"points of another form: {batch.schema.to_string(truncate_metadata=True)}")
    metric = batch.column(0)
    try:
        return Columns(
            metric.dictionary.to_pylist(),
            column_array(metric.indices, np.int32).astype(np.int64),
            column_array(batch.column(1), np.int64),
            column_array(batch.column(2), np.int64),
            column_array(batch.column(3), np.float64),
        )
    except pa.ArrowInvalid as error:
        raise SourceError(f"points that are not whole: {error}") from error


def rebatched(parts: Iterable[Columns], rows: int = BATCH_ROWS) -> Iterator[Columns]:
    """The same points in the same order, in parts of about ``rows`` points.

    Raises:
        SourceError: they can't be read further; all before were given.
    """
    held: list[Columns] = []
    count = 0
    fault: SourceError | None = None
    try:
        for part in parts:
            if not len(part):
                continue
            held.append(part)
            count += len(part)
            if count >= rows:
                yield _joined(held)
                held, count = [], 0
    except SourceError as error:
        fault = error
    if held:
        yield _joined(held)
    if fault is not None:
        raise fault


def _joined(parts: list[Columns]) -> Columns:
    if len(parts) == 1:
        return parts[0]
    numbers: dict[str, int] = {}
    codes = []
    for part in parts:
        into = np.array([numbers.setdefault(key, len(numbers)) for key in part.keys], np.int64)
        codes.append(into[part.codes])
    return Columns(
        list(numbers),
        np.concatenate(codes),
        np.concatenate([part.steps for part in parts]),
        np.concatenate([part.times for part in parts]),
        np.concatenate([part.values for part in parts]),
    )
