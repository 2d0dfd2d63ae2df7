"""Segments: a writer's sealed points as Parquet, sorted by metric in blocks of a quarter million rows.

A segment holds the columns ``metric, seq, step, time, value``. Its rows come in *blocks* of consecutive seqs; a block
is sorted by (metric, seq) and cut into row groups, so that reading one metric opens few of them, and reading in the
order of logging needs one block in memory at a time. Parquet checks its pages but not its footer, so a mark
before the footer has checksums of the footer and of the rows; other readers of Parquet don't see it.
"""

from __future__ import annotations

import errno
import os
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mltrack.disk.arrow_columns import array_column, text_column
from mltrack.disk.codec import (
    SEGMENT_TAIL_SIZE,
    BadLine,
    encode_segment_mark,
    segment_footer_size,
)
from mltrack.disk.fields import COUNT_MAX
from mltrack.disk.segment_check import (
    FOOTER_BYTES_MAX,
    NAMES_BYTES_MAX,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from typing import IO

    import numpy.typing as npt

__all__ = [
    "BLOCK_ROWS",
    "POINTS_SCHEMA",
    "PointColumns",
    "SegmentName",
    "crc_up_to",
    "read_footer",
    "segment_name",
    "write_segment",
]

Number = TypeVar("Number", np.int32, np.int64, np.float64)

BLOCK_ROWS = 1 << 18
ROW_GROUP_ROWS = 1 << 15
OWN_GROUP_ROWS_MIN = 1 << 13
"""From so many rows of a block on a metric has row groups of its own: who reads it reads no others' rows."""

OWN_GROUP_ROWS_MAX = ROW_GROUP_ROWS + ROW_GROUP_ROWS // 2
ZSTD_LEVEL = 3
CRC_CHUNK_BYTES = 1 << 20

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
        """The points as an Arrow table of POINTS_SCHEMA."""
        names = text_column(self.keys, errors="replace")
        metric = pa.DictionaryArray.from_arrays(array_column(self.codes, pa.int32()), names)
        rest = zip((self.seqs, self.steps, self.times, self.values), POINTS_SCHEMA.types[1:], strict=True)
        numbers = [array_column(array, kind) for array, kind in rest]
        return pa.Table.from_arrays([metric, *numbers], schema=POINTS_SCHEMA)


class SegmentName(NamedTuple):
    """The parts of a segment's file name: its writer and its first and last seq."""

    writer: str
    first: int
    last: int


_NAME = re.compile(r"([0-9a-f]{16})\.([0-9]+)-([0-9]+)\.parquet")


def segment_name(name: str) -> SegmentName | None:
    """The parts of ``<writer>.<first>-<last>.parquet``; None for any other name, impossible numbers included."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    found = SegmentName(match[1], int(match[2]), int(match[3]))
    return found if found.first <= found.last < COUNT_MAX else None


def write_segment(path: Path, blocks: Iterable[PointColumns]) -> int:
    """Write blocks (at most BLOCK_ROWS points each, seqs ascending throughout) to ``path``; returns the rows written.

    The file is not synced: publish it.

    Raises:
        OSError: it could not be written whole, or its metrics' names take more bytes than readers accept; the caller
            removes it.
    """
    rows = 0
    with pq.ParquetWriter(
        path,
        POINTS_SCHEMA,
        compression="zstd",
        compression_level=ZSTD_LEVEL,
        use_dictionary=["metric"],
        dictionary_pagesize_limit=NAMES_BYTES_MAX,  # else each row of a group with many names would repeat its name
        column_encoding={
            "seq": "DELTA_BINARY_PACKED",
            "step": "DELTA_BINARY_PACKED",
            "time": "DELTA_BINARY_PACKED",
            "value": "BYTE_STREAM_SPLIT",
        },
        max_rows_per_page=OWN_GROUP_ROWS_MAX,  # a page a column, as far as its bytes allow: each has a header to check
        write_page_checksum=True,
        store_schema=False,
    ) as writer:
        for block in blocks:
            used = np.flatnonzero(np.bincount(block.codes)).tolist()
            if sum(4 + len(block.keys[code].encode("utf-8", "replace")) for code in used) > NAMES_BYTES_MAX:
                raise OSError(errno.EFBIG, "the names of its metrics are too many bytes for a segment", str(path))
            # by metric name, within each in the order of logging, so that row groups hold few metrics
            rank = np.argsort(np.argsort(np.asarray(block.keys, dtype=object)))
            order = np.argsort(rank[block.codes].astype(np.uint32), kind="stable")
            ordered = block.take(order)
            for first, end in pairwise(_group_edges(ordered.codes)):
                group = _with_used_keys(ordered.take(slice(first, end)))
                writer.write_table(group.to_table(), row_group_size=end - first)
            rows += len(block)
    _set_mark(path)
    return rows


def _group_edges(codes: npt.NDArray[np.int64]) -> list[int]:
    """Where the row groups of a block begin that is sorted by metric, and its end.

    A metric with many rows gets groups of its own, of much the same size; the others share groups.
    """
    edges = [0]
    starts = np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]]).tolist()
    for first, end in pairwise([*starts, len(codes)]):
        if end - first < OWN_GROUP_ROWS_MIN:
            if end - edges[-1] >= ROW_GROUP_ROWS:
                edges.append(end)
            continue
        parts = -(-(end - first) // OWN_GROUP_ROWS_MAX)
        edges += [first + (end - first) * part // parts for part in range(parts + 1)]
    return list(dict.fromkeys([*edges, len(codes)]))


def _with_used_keys(points: PointColumns) -> PointColumns:
    """Points sorted by metric with the keys of their metrics alone: a row group has no other group's names."""
    changes = np.r_[True, points.codes[1:] != points.codes[:-1]]
    keys = [points.keys[code] for code in points.codes[changes].tolist()]
    codes = np.cumsum(changes) - 1
    return PointColumns(keys, codes, points.seqs, points.steps, points.times, points.values)


def _set_mark(path: Path) -> None:
    """Insert the mark before the footer."""
    with open(path, "r+b") as file:
        at, footer = read_footer(file, 0)
        file.seek(0)
        mark = encode_segment_mark(crc_up_to(file, at), footer)
        file.seek(at)
        file.write(mark + footer)


def read_footer(file: IO[bytes], before: int) -> tuple[int, bytes]:
    """The footer with the ``before`` bytes in front of it: the byte where these begin, and all the bytes.

    Raises:
        BadLine: it is not a whole Parquet file.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - SEGMENT_TAIL_SIZE))
    length = segment_footer_size(file.read())
    at = size - length - before
    if at < 0:
        raise BadLine("not a whole Parquet file")
    if length > FOOTER_BYTES_MAX:
        raise BadLine(f"its footer claims {length:,} bytes")
    file.seek(at)
    return at, file.read()


def crc_up_to(file: IO[bytes], end: int) -> int:
    """The CRC-32 of the bytes from the file's present place to byte ``end``."""
    crc = 0
    while file.tell() < end:
        chunk = file.read(min(CRC_CHUNK_BYTES, end - file.tell()))
        crc = zlib.crc32(chunk, crc)
    return crc
