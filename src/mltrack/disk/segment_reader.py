"""Reading segments: every byte checked, or the points in the order of logging."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mltrack.disk.arrow_columns import column_array
from mltrack.disk.codec import BadLine
from mltrack.disk.fields import COUNT_MAX
from mltrack.disk.segment import BLOCK_ROWS, POINTS_SCHEMA, PointColumns, crc_up_to
from mltrack.disk.segment_check import check_block, check_statistics
from mltrack.disk.segment_file import UNREADABLE, damaged, metric_codes, opened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

    from mltrack.disk.segment_file import Needless, Segment

__all__ = ["read_blocks", "verify_segment"]


def verify_segment(path: Path) -> None:
    """Check every byte of a segment against its mark, and the claims of its footer and pages against what is possible.

    Raises:
        CorruptionError: it differs; ``offset`` is where the damaged part begins.
        FileNotFoundError: it does not exist.
    """
    with opened(path, fresh=True) as segment:
        segment.plain.seek(0)
        if crc_up_to(segment.plain, segment.footer.rows_end) != segment.footer.rows_crc:
            raise damaged(path, "checksum of its rows differs", 0)
        for group in range(segment.parquet.num_row_groups):
            segment.check_pages([group])
            try:
                _check_values(segment, group)
            except (*UNREADABLE, BadLine) as error:
                raise damaged(path, error, 0) from error


def _check_values(segment: Segment, group: int) -> None:
    """Compare the values of a row group with its statistics in the footer and with the file's name."""
    table = segment.parquet.read_row_group(group, columns=POINTS_SCHEMA.names)
    keys, codes = metric_codes(table.column("metric"))
    times = table.column("time").cast(pa.int64())
    whole = (table.column("seq"), table.column("step"), times)
    numbers = [column_array(column, np.int64) for column in whole]
    segment.check_seqs(numbers[0])
    check_statistics(
        segment.parquet.metadata.row_group(group),
        [keys[code] for code in np.flatnonzero(np.bincount(codes)).tolist()],
        [*numbers, column_array(table.column("value"), np.float64)],
    )


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
    with opened(path) as segment:
        try:
            blocks = _blocks(segment.parquet)
        except UNREADABLE as error:
            raise damaged(path, error, 0) from error
        for groups in blocks:
            needed = _needed(segment, groups[0], needless)
            if groups[1] < first or not needed:
                continue
            segment.check_pages(needed)
            try:
                check_block(segment.parquet.metadata, needed, BLOCK_ROWS)
                yield from _in_order(segment, needed, first, end, rows_max)
            except UNREADABLE as error:
                raise damaged(path, error, 0) from error


def _in_order(segment: Segment, groups: list[int], first: int, end: int, rows_max: int) -> Iterator[PointColumns]:
    """The points of a block from a seq on and up to one, in the order of logging.

    They are read by column, which takes less memory.
    """

    def read(name: str) -> pa.ChunkedArray:
        return segment.parquet.read_row_groups(groups, columns=[name]).column(0)

    def part(rows: npt.NDArray[np.int32]) -> PointColumns:
        keys, codes = metric_codes(read("metric"))
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


def _needed(segment: Segment, groups: list[int], needless: Needless | None) -> list[int]:
    """The row groups that are not needless; those without statistics are needed."""
    if needless is None:
        return groups
    try:
        ranges = ((group, segment.footer.range_of(group)) for group in groups)
        return [group for group, bounds in ranges if bounds is None or not needless(bounds)]
    except UNREADABLE as error:
        raise damaged(segment.path, error, 0) from error
