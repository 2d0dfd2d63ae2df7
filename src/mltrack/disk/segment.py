"""Segments: a writer's sealed points as Parquet, sorted by metric in blocks of a quarter million rows.

A segment holds the columns ``metric, seq, step, time, value``. Its rows come in *blocks* of consecutive seqs; a block
is sorted by (metric, seq) and cut into row groups, so that reading one metric opens few of them, and reading in the
order of logging needs one block in memory at a time. Parquet checks its pages but not its footer, so a mark stands
before that, with checksums of the footer and of the rows; other readers of Parquet don't see it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mltrack.disk.codec import (
    SEGMENT_MARK_SIZE,
    SEGMENT_TAIL_SIZE,
    BadLine,
    decode_segment_mark,
    encode_segment_mark,
    segment_footer_size,
)
from mltrack.disk.fields import COUNT_MAX, KEY_CHARACTERS_MAX
from mltrack.disk.filesystem import EXHAUSTED, NotRegularError, reading
from mltrack.disk.segment_check import (
    FOOTER_BYTES_MAX,
    NAMES_BYTES_MAX,
    check_block,
    check_footer,
    check_pages,
    check_statistics,
)
from mltrack.errors import CorruptionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import IO

    import numpy.typing as npt

__all__ = [
    "BLOCK_ROWS",
    "POINTS_SCHEMA",
    "PointColumns",
    "SegmentName",
    "column",
    "read_blocks",
    "read_metric",
    "segment_name",
    "verify_segment",
    "write_segment",
]

Number = TypeVar("Number", np.int32, np.int64, np.float64)

BLOCK_ROWS = 1 << 18
ROW_GROUP_ROWS = 1 << 15
ZSTD_LEVEL = 3
CRC_CHUNK_BYTES = 1 << 20

_UNREADABLE = (pa.ArrowException, OSError, LookupError, TypeError, ValueError, OverflowError)
"""What comes of damaged pages: Arrow's own; LookupError where codes lead out of a dictionary that is cut short, or a
column is not there; the rest where statistics, names or numbers are of another kind, or no text in UTF-8."""

POINTS_SCHEMA = pa.schema(
    [
        ("metric", pa.dictionary(pa.int32(), pa.string())),
        ("seq", pa.int64()),
        ("step", pa.int64()),
        ("time", pa.timestamp("ns", tz="UTC")),
        ("value", pa.float64()),
    ]
)


@dataclass(frozen=True, slots=True, eq=False)
class PointColumns:
    """Points of one writer in the order of logging: ``keys[codes[i]]`` is the metric of point ``i``; times in ns."""

    keys: Sequence[str]
    codes: npt.NDArray[np.int64]
    seqs: npt.NDArray[np.int64]
    steps: npt.NDArray[np.int64]
    times: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.values)

    def take(self, index: npt.NDArray[np.int64] | npt.NDArray[np.bool_] | slice) -> PointColumns:
        """The points at ``index``, keys unchanged."""
        return PointColumns(
            self.keys,
            self.codes[index],
            self.seqs[index],
            self.steps[index],
            self.times[index],
            self.values[index],
        )

    def to_table(self) -> pa.Table:
        """As an Arrow table of POINTS_SCHEMA."""
        metric = pa.DictionaryArray.from_arrays(column(self.codes, pa.int32()), _strings(self.keys))
        rest = zip((self.seqs, self.steps, self.times, self.values), POINTS_SCHEMA.types[1:], strict=True)
        return pa.Table.from_arrays([metric, *(column(array, kind) for array, kind in rest)], schema=POINTS_SCHEMA)


def column(array: npt.NDArray[Any], kind: pa.DataType) -> pa.Array:
    """An array as an Arrow column of a fixed-width type. (``pa.array`` would import pandas: too slow for a close.)"""
    width: type = {pa.int32(): np.int32, pa.float64(): np.float64}.get(kind, np.int64)
    held: npt.NDArray[Any] = np.ascontiguousarray(array, dtype=width)
    return pa.Array.from_buffers(kind, len(held), [None, pa.py_buffer(held)])


def _strings(texts: Sequence[str]) -> pa.StringArray:
    encoded = [text.encode("utf-8", "replace") for text in texts]
    offsets = np.zeros(len(encoded) + 1, np.int32)
    np.cumsum([len(text) for text in encoded], out=offsets[1:])
    return pa.StringArray.from_buffers(len(encoded), pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded)))


class SegmentName(NamedTuple):
    """What a segment's file name says: its writer and its first and last seq."""

    writer: str
    first: int
    last: int


_NAME = re.compile(r"([0-9a-f]{16})\.([0-9]+)-([0-9]+)\.parquet")


def segment_name(name: str) -> SegmentName | None:
    """``<writer>.<first>-<last>.parquet`` taken apart; None for any other name, also where the numbers can't be."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    found = SegmentName(match[1], int(match[2]), int(match[3]))
    return found if found.first <= found.last < COUNT_MAX else None


def write_segment(path: Path, blocks: Iterable[PointColumns]) -> int:
    """Write blocks (at most BLOCK_ROWS points each, seqs ascending throughout) to ``path``; returns the rows written.

    The file is not synced: publish it.

    Raises:
        OSError: it could not be written whole, or its metrics' names are more than a reader takes; the caller removes
            it.
    """
    rows = 0
    with pq.ParquetWriter(
        path,
        POINTS_SCHEMA,
        compression="zstd",
        compression_level=ZSTD_LEVEL,
        use_dictionary=["metric"],
        dictionary_pagesize_limit=NAMES_BYTES_MAX,  # else each row of a group with many names had its own whole
        column_encoding={
            "seq": "DELTA_BINARY_PACKED",
            "step": "DELTA_BINARY_PACKED",
            "time": "DELTA_BINARY_PACKED",
            "value": "BYTE_STREAM_SPLIT",
        },
        write_page_checksum=True,
        store_schema=False,
    ) as writer:
        for block in blocks:
            used = np.flatnonzero(np.bincount(block.codes)).tolist()
            if sum(4 + len(block.keys[code].encode("utf-8", "replace")) for code in used) > NAMES_BYTES_MAX:
                raise OSError(errno.EFBIG, "the names of its metrics are too many bytes for a segment", str(path))
            # by metric name, and within one in the order of logging, so that row groups hold few metrics each
            rank = np.argsort(np.argsort(np.asarray(block.keys, dtype=object)))
            order = np.argsort(rank[block.codes].astype(np.uint32), kind="stable")
            writer.write_table(block.take(order).to_table(), row_group_size=ROW_GROUP_ROWS)
            rows += len(block)
    _set_mark(path)
    return rows


def _set_mark(path: Path) -> None:
    """Move the footer on by the size of the mark, and put the mark in between."""
    with open(path, "r+b") as file:
        at, footer = _footer(file, 0)
        file.seek(0)
        mark = encode_segment_mark(_crc_up_to(file, at), footer)
        file.seek(at)
        file.write(mark + footer)


def _footer(file: IO[bytes], before: int) -> tuple[int, bytes]:
    """Where the footer, with ``before`` bytes that stand before it, begins; and these bytes.

    Raises:
        BadLine: this is no whole Parquet file.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - SEGMENT_TAIL_SIZE))
    length = segment_footer_size(file.read())
    at = size - length - before
    if at < 0:
        raise BadLine("not a whole Parquet file")
    if length > FOOTER_BYTES_MAX:
        raise BadLine(f"its footer is said to have {length:,} bytes")
    file.seek(at)
    return at, file.read()


def _crc_up_to(file: IO[bytes], end: int) -> int:
    crc = 0
    while file.tell() < end:
        chunk = file.read(min(CRC_CHUNK_BYTES, end - file.tell()))
        crc = zlib.crc32(chunk, crc)
    return crc


def verify_segment(path: Path) -> None:
    """Check every byte of a segment against its mark, and what its footer and pages say against what can be.

    Raises:
        CorruptionError: it differs; ``offset`` tells where the damaged part begins.
        FileNotFoundError: it is gone.
    """
    with _opened(path) as segment:
        segment.plain.seek(0)
        if _crc_up_to(segment.plain, segment.rows_end) != segment.rows_crc:
            raise _damaged(path, "checksum of its rows differs", 0)
        for group in range(segment.parquet.num_row_groups):
            segment.check_pages([group])
            try:
                _check_values(segment, group)
            except (*_UNREADABLE, BadLine) as error:
                raise _damaged(path, error, 0) from error


def _check_values(segment: _Segment, group: int) -> None:
    """Compare the values of a row group with what the footer and the file's name say of them."""
    table = segment.parquet.read_row_group(group, columns=POINTS_SCHEMA.names)
    keys, codes = _metric_codes(table.column("metric"))
    times = table.column("time").cast(pa.int64())
    whole = (table.column("seq"), table.column("step"), times)
    numbers = [_numbers(column, np.int64) for column in whole]
    segment.check_seqs(numbers[0])
    check_statistics(
        segment.parquet.metadata.row_group(group),
        [keys[code] for code in np.flatnonzero(np.bincount(codes)).tolist()],
        [*numbers, _numbers(table.column("value"), np.float64)],
    )


def _check_footer(path: Path, file: IO[bytes]) -> tuple[int, int]:
    """Where the mark is, and the checksum that it gives for what is before it."""
    try:
        at, data = _footer(file, SEGMENT_MARK_SIZE)
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
    """A segment whose footer was verified: the file, where its rows end, their checksum, and Arrow's reader of it."""

    path: Path
    name: SegmentName | None
    plain: IO[bytes]
    rows_end: int
    rows_crc: int
    parquet: pq.ParquetFile

    def check_pages(self, groups: Iterable[int]) -> None:
        """See to it that these row groups unpack to no more than they can hold."""
        try:
            check_pages(self.plain.fileno(), self.parquet.metadata, groups)
        except BadLine as error:
            raise _damaged(self.path, error, 0) from None

    def check_seqs(self, seqs: npt.NDArray[np.int64]) -> None:
        """See to it that these are of the range which the file's name gives.

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
        CorruptionError: it is none, or what it says of itself can't be.
        FileNotFoundError: it is gone.
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
        at, rows_crc = _check_footer(path, plain)  # Arrow may end the process on a damaged one: it must not see it
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
    """The metric column as names and, for each row, the index of its name."""
    if not pa.types.is_dictionary(column.type):
        column = pc.dictionary_encode(column)
    whole = pa.chunked_array(column.unify_dictionaries().chunks, column.type).combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        whole = whole.chunk(0) if whole.num_chunks else pa.array([], column.type)
    codes = _numbers(whole.indices, np.int32).astype(np.int64)
    if len(codes) and codes.max() >= len(whole.dictionary):
        raise IndexError("a metric that is not in the dictionary")
    keys = whole.dictionary.to_pylist()
    if not all(keys) or max(map(len, keys), default=0) > KEY_CHARACTERS_MAX:
        raise pa.ArrowInvalid("a metric has no name, or one that is too long")
    return keys, codes


def _numbers(column: pa.Array | pa.ChunkedArray, width: type[Number]) -> npt.NDArray[Number]:
    """A fixed-width column as an array, not to be written to. (``to_numpy`` would import pandas: 35 MB and 0.2 s.)"""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if whole.null_count:
        raise pa.ArrowInvalid("a value is missing")
    if not len(whole):
        return np.empty(0, width)
    if whole.type.bit_width != np.dtype(width).itemsize * 8:
        raise pa.ArrowInvalid(f"a column of type {whole.type}")
    return np.frombuffer(whole.buffers()[1], width, len(whole), whole.offset * np.dtype(width).itemsize)


def read_blocks(path: Path, first: int = 0, rows_max: int = BLOCK_ROWS) -> Iterator[PointColumns]:
    """The points with seq >= ``first``, in the order of logging, a block at a time, or ``rows_max`` rows of one.

    Fewer rows at a time take less memory and more time, as the block is decoded anew for each.

    Raises:
        CorruptionError: the file, or a page of it, fails its checksum or shape.
        FileNotFoundError: it is gone.
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
            _numbers(read("seq"), np.int64)[rows],
            _numbers(read("step"), np.int64)[rows],
            _numbers(read("time").cast(pa.int64()), np.int64)[rows],
            _numbers(read("value"), np.float64)[rows],
        )

    seqs = _numbers(read("seq"), np.int64)
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
    """The row groups of each block, together with its last seq.

    A block ends where all seqs before are less than all that follow. (Within one they are sorted by metric first.)
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
    return table.select(columns).take(rows)
