"""Reading segments: checked before Arrow sees them, whole or by metric, and every damage as one kind of error."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mltrack.disk.arrow_columns import column_array, take_rows
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

__all__ = ["GroupBounds", "GroupRange", "Needless", "read_blocks", "read_bounds", "read_metric", "verify_segment"]


class GroupRange(NamedTuple):
    """The bounds of a row group, as its statistics say: metrics, seqs, and the least step."""

    metric_min: str
    metric_max: str
    seq_min: int
    seq_max: int
    step_min: int


Needless = Callable[[GroupRange], bool]
"""Whether a reader has no use for a row group with these bounds, so that it is not read."""


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

    def check_pages(self, groups: Iterable[int], first_column: int = 0) -> None:
        """Check that these row groups unpack to no more than they can hold, from some column on."""
        try:
            check_pages(self.plain.fileno(), self.parquet.metadata, groups, first_column)
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
                pq.ParquetFile(
                    path,
                    page_checksum_verification=True,
                    read_dictionary=["metric"],
                    memory_map=False,
                    pre_buffer=False,
                )
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


def read_blocks(
    path: Path,
    first: int = 0,
    rows_max: int = BLOCK_ROWS,
    *,
    end: int = COUNT_MAX,
    needless: Needless | None = None,
) -> Iterator[PointColumns]:
    """The points with ``first`` <= seq < ``end``, in the order of logging, up to ``rows_max`` of one block at a time.

    Fewer rows at a time take less memory and more time, as the block is decoded again for each part. Row groups that
    are ``needless`` are left out.

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
            needed = _needed(segment, groups[0], needless)
            if groups[1] < first or not needed:
                continue
            segment.check_pages(needed)
            try:
                check_block(segment.parquet.metadata, needed, BLOCK_ROWS)
                yield from _in_order(segment, needed, first, end, rows_max)
            except _UNREADABLE as error:
                raise _damaged(path, error, 0) from error


def _in_order(segment: _Segment, groups: list[int], first: int, end: int, rows_max: int) -> Iterator[PointColumns]:
    """The points of a block from a seq on and up to one, in the order of logging.

    They are read by column, which takes less memory.
    """

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
    order = order[slice(*np.searchsorted(ordered, (first, end)).tolist())]
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


def _needed(segment: _Segment, groups: list[int], needless: Needless | None) -> list[int]:
    """The row groups that are not needless; those without statistics are needed."""
    if needless is None:
        return groups
    try:
        ranges = ((group, _range_of(segment.parquet.metadata.row_group(group))) for group in groups)
        return [group for group, bounds in ranges if bounds is None or not needless(bounds)]
    except _UNREADABLE as error:
        raise _damaged(segment.path, error, 0) from error


def _range_of(group: pq.RowGroupMetaData) -> GroupRange | None:
    metric, seq, step = (group.column(at).statistics for at in (0, 1, 2))
    if not all(one is not None and one.has_min_max for one in (metric, seq, step)):
        return None
    return GroupRange(metric.min, metric.max, seq.min, seq.max, step.min)


def read_metric(path: Path, key: str, needless: Needless | None = None) -> pa.Table:
    """The points of one metric: columns ``seq, step, time, value``, in the order of logging.

    Row groups that are ``needless`` are left out.

    Raises:
        CorruptionError, FileNotFoundError: as read_blocks.
    """
    with _opened(path) as segment:
        try:
            groups = _groups_of(segment.parquet, key)
        except _UNREADABLE as error:
            raise _damaged(path, error, 0) from error
        parts = groupby(_needed(segment, groups, needless), partial(_is_own, segment.parquet.metadata, key))
        tables = [_rows_of_metric(segment, list(part), key, own) for own, part in parts]
    return pa.concat_tables(tables) if tables else pa.table(POINTS_SCHEMA.empty_table()).select(_NUMBERS)


_NUMBERS = ["seq", "step", "time", "value"]


def _is_own(metadata: pq.FileMetaData, key: str, group: int) -> bool:
    """Whether a row group has points of this metric alone."""
    statistics = metadata.row_group(group).column(0).statistics
    if statistics is None or not statistics.has_min_max or not statistics.has_null_count or statistics.null_count:
        return False
    return bool(statistics.min == key == statistics.max)


def _rows_of_metric(segment: _Segment, groups: list[int], key: str, own: bool) -> pa.Table:
    """The metric's rows of some row groups; of those that are its own no names are read."""
    segment.check_pages(groups, first_column=1 if own else 0)
    try:
        if own:
            return segment.parquet.read_row_groups(groups, columns=_NUMBERS)
        table = segment.parquet.read_row_groups(groups, columns=["metric", *_NUMBERS])
        keys, codes = _metric_codes(table.column("metric"))
    except _UNREADABLE as error:
        raise _damaged(segment.path, error, 0) from error
    table = table.select(_NUMBERS)
    return take_rows(table, codes == keys.index(key)) if key in keys else table.slice(0, 0)


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
