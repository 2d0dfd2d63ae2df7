"""Reading segments: checked before Arrow sees them, whole or by metric, and every damage as one kind of error."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mltrack.disk.arrow_columns import array_column, column_array
from mltrack.disk.codec import SEGMENT_MARK_SIZE, SEGMENT_TAIL_SIZE, BadLine, decode_segment_mark
from mltrack.disk.fields import COUNT_MAX, KEY_CHARACTERS_MAX
from mltrack.disk.filesystem import EXHAUSTED, NotRegularError, reading
from mltrack.disk.segment import (
    BLOCK_ROWS,
    POINTS_SCHEMA,
    PointColumns,
    SegmentName,
    crc_up_to,
    read_footer,
    segment_name,
)
from mltrack.disk.segment_check import check_block, check_footer, check_pages, check_statistics
from mltrack.errors import CorruptionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import IO

    import numpy.typing as npt

__all__ = ["GroupBounds", "read_blocks", "read_bounds", "read_metric", "verify_segment"]


_UNREADABLE = (pa.ArrowException, OSError, LookupError, TypeError, ValueError, OverflowError)
"""What damaged pages raise: Arrow's own errors; LookupError where codes exceed a dictionary that was cut short, or a
column is missing; the rest where statistics, names or numbers are of another kind, or text is not UTF-8."""


def verify_segment(path: Path) -> None:
    """Check every byte of a segment against its mark, and the claims of its footer and pages against what is possible.

    Raises:
        CorruptionError: it differs; ``offset`` is where the damaged part begins.
        FileNotFoundError: it does not exist.
    """
    with _opened(path) as segment:
        segment.plain.seek(0)
        if crc_up_to(segment.plain, segment.rows_end) != segment.rows_crc:
            raise _damaged(path, "checksum of its rows differs", 0)
        for group in range(segment.parquet.num_row_groups):
            segment.check_pages([group])
            try:
                _check_values(segment, group)
            except (*_UNREADABLE, BadLine) as error:
                raise _damaged(path, error, 0) from error


def _check_values(segment: _Segment, group: int) -> None:
    """Compare the values of a row group with its statistics in the footer and with the file's name."""
    table = segment.parquet.read_row_group(group, columns=POINTS_SCHEMA.names)
    keys, codes = _metric_codes(table.column("metric"))
    times = table.column("time").cast(pa.int64())
    whole = (table.column("seq"), table.column("step"), times)
    numbers = [column_array(column, np.int64) for column in whole]
    segment.check_seqs(numbers[0])
    check_statistics(
        segment.parquet.metadata.row_group(group),
        [keys[code] for code in np.flatnonzero(np.bincount(codes)).tolist()],
        [*numbers, column_array(table.column("value"), np.float64)],
    )


def _check_footer(path: Path, file: IO[bytes]) -> tuple[int, int]:
    """The byte where the mark is, and the checksum that it gives for all before it."""
    try:
        at, data = read_footer(file, SEGMENT_MARK_SIZE)
        return at, decode_segment_mark(data[:SEGMENT_MARK_SIZE], data[SEGMENT_MARK_SIZE:])
    except BadLine as error:
        size = file.seek(0, os.SEEK_END)
        raise _damaged(path, error, max(0, size - SEGMENT_TAIL_SIZE)) from None


def _damaged(path: Path, error: Exception | str, offset: int | None = None) -> CorruptionError:
    return CorruptionError(
        f"{path}: {error}",
        path=str(path),
        offset=offset,
        hint="restore the file from a copy; the other files are not affected",
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Segment:
    """A segment with a verified footer: the file, where its rows end, their checksum, and Arrow's reader of it."""

    path: Path
    name: SegmentName | None
    plain: IO[bytes]
    rows_end: int
    rows_crc: int
    parquet: pq.ParquetFile

    def check_pages(self, groups: Iterable[int]) -> None:
        """Check that these row groups unpack to no more than they can hold."""
        try:
            check_pages(self.plain.fileno(), self.parquet.metadata, groups)
        except BadLine as error:
            raise _damaged(self.path, error, 0) from None

    def check_seqs(self, seqs: npt.NDArray[np.int64]) -> None:
        """Check that these are in the range of the file's name.

        Raises:
            BadLine: one is not.
        """
        name = self.name
        if name is not None and len(seqs) and not (name.first <= seqs.min() and seqs.max() <= name.last):
            raise BadLine(f"it holds points {seqs.min()} to {seqs.max()}, its name says {name.first} to {name.last}")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[_Segment]:
    """A segment open for reading.

    Raises:
        CorruptionError: it is not a segment, or its footer claims the impossible.
        FileNotFoundError: it does not exist.
    """
    with contextlib.ExitStack() as stack:
        try:
            plain = stack.enter_context(reading(path))
        except FileNotFoundError:
            raise
        except OSError as error:
            if error.errno in EXHAUSTED:
                raise
            what = f"can't be read: {error.strerror}"
            if isinstance(error, NotRegularError):
                what = str(error.strerror)
            raise _damaged(path, what) from None
        at, rows_crc = _check_footer(path, plain)  # first, as Arrow may crash on a damaged footer
        name = segment_name(path.name)
        points_max = name.last - name.first + 1 if name is not None else COUNT_MAX
        try:
            parquet = stack.enter_context(
                pq.ParquetFile(path, page_checksum_verification=True, read_dictionary=["metric"], memory_map=False)
            )
            check_footer(parquet.metadata, at, points_max)
        except FileNotFoundError:
            raise
        except KeyError as error:
            raise _damaged(path, "it has no column 'metric'") from error
        except (*_UNREADABLE, BadLine) as error:
            raise _damaged(path, error) from error
        yield _Segment(path, name, plain, at, rows_crc, parquet)


def _metric_codes(column: pa.ChunkedArray) -> tuple[list[str], npt.NDArray[np.int64]]:
    """The metric column as names and the index of each row's name."""
    if not pa.types.is_dictionary(column.type):
        column = pc.dictionary_encode(column)
    whole = pa.chunked_array(column.unify_dictionaries().chunks, column.type).combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        whole = whole.chunk(0) if whole.num_chunks else pa.nulls(0, column.type)
    codes = column_array(whole.indices, np.int32).astype(np.int64)
    if len(codes) and codes.max() >= len(whole.dictionary):
        raise IndexError("a metric that is not in the dictionary")
    keys = whole.dictionary.to_pylist()
    if not all(keys) or max(map(len, keys), default=0) > KEY_CHARACTERS_MAX:
        raise pa.ArrowInvalid("a metric has no name, or one that is too long")
    return keys, codes


def read_blocks(path: Path, first: int = 0, rows_max: int = BLOCK_ROWS) -> Iterator[PointColumns]:
    """The points with seq >= ``first``, in the order of logging, at most ``rows_max`` rows of one block at a time.

    Fewer rows at a time take less memory and more time, as the block is decoded again for each part.

    Raises:
        CorruptionError: the file, or a page of it, fails its checksum or shape.
        FileNotFoundError: it does not exist.
    """
    with _opened(path) as segment:
        try:
            blocks = _blocks(segment.parquet)
        except _UNREADABLE as error:
            raise _damaged(path, error, 0) from error
        for groups in blocks:
            if groups[1] < first:
                continue
            segment.check_pages(groups[0])
            try:
                check_block(segment.parquet.metadata, groups[0], BLOCK_ROWS)
                yield from _in_order(segment, groups[0], first, rows_max)
            except _UNREADABLE as error:
                raise _damaged(path, error, 0) from error


def _in_order(segment: _Segment, groups: list[int], first: int, rows_max: int) -> Iterator[PointColumns]:
    """The points of a block with seq >= ``first``, in the order of logging; read by column, which takes less memory."""

    def read(name: str) -> pa.ChunkedArray:
        return segment.parquet.read_row_groups(groups, columns=[name]).column(0)

    def part(rows: npt.NDArray[np.int32]) -> PointColumns:
        keys, codes = _metric_codes(read("metric"))
        return PointColumns(
            keys,
            codes[rows],
            column_array(read("seq"), np.int64)[rows],
            column_array(read("step"), np.int64)[rows],
            column_array(read("time").cast(pa.int64()), np.int64)[rows],
            column_array(read("value"), np.float64)[rows],
        )

    seqs = column_array(read("seq"), np.int64)
    segment.check_seqs(seqs)
    order = np.argsort(seqs, kind="stable").astype(np.int32)
    ordered = seqs[order]
    if (ordered[1:] == ordered[:-1]).any():
        raise BadLine("it holds a point twice")
    if first:
        order = order[ordered >= first]
    del seqs, ordered
    for at in range(0, len(order), rows_max):
        yield part(order[at : at + rows_max])


def _blocks(file: pq.ParquetFile) -> list[tuple[list[int], int]]:
    """The row groups of each block, and its last seq.

    A block ends where all earlier seqs are less than all later ones. (Within a block rows are sorted by metric first.)
    """
    at = 1  # seq
    count = file.num_row_groups
    found = [file.metadata.row_group(group).column(at).statistics for group in range(count)]
    known = all(statistics is not None and statistics.has_min_max for statistics in found)
    lows = np.array([statistics.min if known else 0 for statistics in found], np.int64)
    highs = np.array([statistics.max if known else (1 << 63) - 1 for statistics in found], np.int64)
    high_before = np.maximum.accumulate(highs)
    low_after = np.minimum.accumulate(lows[::-1])[::-1]
    ends = [group for group in range(1, count) if high_before[group - 1] < low_after[group]]
    edges = [0, *ends, count] if count else []
    return [(list(range(first, last)), int(high_before[last - 1])) for first, last in pairwise(edges)]


def _groups_of(file: pq.ParquetFile, key: str) -> list[int]:
    """The row groups that may hold points of a metric."""
    groups = []
    for group in range(file.num_row_groups):
        statistics = file.metadata.row_group(group).column(0).statistics
        if statistics is None or not statistics.has_min_max or statistics.min <= key <= statistics.max:
            groups.append(group)
    return groups


def read_metric(path: Path, key: str) -> pa.Table:
    """The points of one metric: columns ``seq, step, time, value``, in the order of logging.

    Raises:
        CorruptionError, FileNotFoundError: as read_blocks.
    """
    columns = ["seq", "step", "time", "value"]
    with _opened(path) as segment:
        file = segment.parquet
        try:
            groups = _groups_of(file, key)
        except _UNREADABLE as error:
            raise _damaged(path, error, 0) from error
        segment.check_pages(groups)
        try:
            table = file.read_row_groups(groups, columns=["metric", *columns])
            keys, codes = _metric_codes(table.column("metric"))
        except _UNREADABLE as error:
            raise _damaged(path, error, 0) from error
    if key not in keys:
        return table.select(columns).slice(0, 0)
    rows = np.flatnonzero(codes == keys.index(key))
    if not len(rows):
        return table.select(columns).slice(0, 0)
    if rows[-1] - rows[0] + 1 == len(rows):  # sorted by metric: one range within one block
        return table.select(columns).slice(int(rows[0]), len(rows))
    return table.select(columns).take(array_column(rows, pa.int64()))


class GroupBounds(NamedTuple):
    """The bounds of one metric's points in a row group: how many there are, steps, times (ns), finite values.

    The values are NaN where none is finite.
    """

    points: int
    step_min: int
    step_max: int
    time_min: int
    time_max: int
    value_min: float
    value_max: float


def read_bounds(path: Path, key: str) -> list[GroupBounds]:
    """The bounds of one metric's points, some 32,768 of them at a time, in the order of logging.

    Most are in the footer's statistics: ten million points take some ten milliseconds. Row groups that have points of
    other metrics too, or values that are not finite, are read.

    Raises:
        CorruptionError, FileNotFoundError: as read_blocks.
    """
    found = []
    with _opened(path) as segment:
        try:
            for group in _groups_of(segment.parquet, key):
                bounds = _bounds_in_footer(segment.parquet, group, key)
                if bounds is None:
                    segment.check_pages([group])
                    bounds = _bounds_of_rows(segment.parquet, group, key)
                if bounds is not None:
                    found.append(bounds)
        except _UNREADABLE as error:
            raise _damaged(path, error, 0) from error
    return found


def _bounds_in_footer(file: pq.ParquetFile, group: int, key: str) -> GroupBounds | None:
    """What the footer says of a row group that has points of this metric alone, with finite values; else None."""
    row_group = file.metadata.row_group(group)
    metric, step, value = (row_group.column(at).statistics for at in (0, 2, 4))
    every = (metric, step, value)
    if not all(one is not None and one.has_min_max for one in every) or not metric.min == key == metric.max:
        return None
    if not (np.isfinite(value.min) and np.isfinite(value.max)):
        return None
    times = row_group.column(3).statistics
    if times is None or not times.has_min_max:
        return None
    first, last = times.min_raw, times.max_raw  # min and max would import pandas, where that is installed
    return GroupBounds(row_group.num_rows, step.min, step.max, first, last, value.min, value.max)


def _bounds_of_rows(file: pq.ParquetFile, group: int, key: str) -> GroupBounds | None:
    table = file.read_row_group(group, columns=["metric", "step", "time", "value"])
    keys, codes = _metric_codes(table.column("metric"))
    if key not in keys:
        return None
    mine = codes == keys.index(key)
    if not mine.any():
        return None
    steps = column_array(table.column("step"), np.int64)[mine]
    times = column_array(table.column("time").cast(pa.int64()), np.int64)[mine]
    values = column_array(table.column("value"), np.float64)[mine]
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (np.nan, np.nan)
    ends = (int(steps.min()), int(steps.max()), int(times.min()), int(times.max()))
    return GroupBounds(len(values), *ends, low, high)
