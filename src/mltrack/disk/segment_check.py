"""Whether a segment has the shape that mltrack writes, checked before a Parquet reader reads its rows.

Readers trust the sizes and counts in a Parquet file: a page of a few bytes may claim to unpack to two gigabytes. So
the claims of the footer and of page headers are compared with what a segment can hold.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from mltrack.disk.codec import BadLine

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt
    import pyarrow.parquet as pq

__all__ = ["FOOTER_BYTES_MAX", "NAMES_BYTES_MAX", "check_block", "check_footer", "check_pages", "check_statistics"]

FOOTER_BYTES_MAX = 64 << 20
"""Enough for two billion points."""

GROUP_ROWS_MAX = 1 << 18
GROUP_ROWS_MEAN_MIN = 1 << 12
GROUPS_MORE = 16
"""The mean size of row groups is at least GROUP_ROWS_MEAN_MIN, but GROUPS_MORE of them may be smaller."""

NAMES_BYTES_MAX = 128 << 20
"""The most bytes that the metric names of one row group may take."""

BLOCK_NAMES_BYTES_MAX = 256 << 20
"""The same for all row groups of a block."""

SLACK_BYTES = 1 << 20
PAGE_HEAD_BYTES = 1 << 12
PAGE_HEAD_BYTES_MAX = 1 << 20

_TIME = "Timestamp(isAdjustedToUTC=true, timeUnit=nanoseconds"
_COLUMNS = (
    ("metric", "BYTE_ARRAY", "String"),
    ("seq", "INT64", "None"),
    ("step", "INT64", "None"),
    ("time", "INT64", _TIME),
    ("value", "DOUBLE", "None"),
)
_TAKEN = frozenset((*(name for name, _, _ in _COLUMNS), "filename"))
"""Names that columns of a later version can't have, in any case; DuckDB adds "filename"."""


def check_footer(metadata: pq.FileMetaData, rows_end: int, points_max: int) -> None:
    """Compare a footer with a segment's: the columns, their types, the row groups and their sizes.

    ``rows_end`` is the byte where the rows end, ``points_max`` the most points that the file's name allows.

    Raises:
        BadLine: it differs.
    """
    _check_columns(metadata.schema)
    if metadata.num_row_groups > metadata.num_rows // GROUP_ROWS_MEAN_MIN + GROUPS_MORE:
        raise BadLine(f"{metadata.num_row_groups:,} row groups for {metadata.num_rows:,} rows")
    if metadata.metadata:
        raise BadLine("its footer has fields that a segment's does not have")
    stored = 0
    rows = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        if not 0 < group.num_rows <= GROUP_ROWS_MAX:
            raise BadLine(f"row group {number} claims {group.num_rows:,} rows")
        rows += group.num_rows
        for at, (name, _, _) in enumerate(_COLUMNS):
            column = group.column(at)
            start, size = _place(column)
            if column.num_values != group.num_rows or column.compression not in ("ZSTD", "UNCOMPRESSED"):
                raise BadLine(f"column {name!r} of row group {number} is not one of a segment")
            if column.file_path or column.bloom_filter_offset is not None or column.has_column_index:
                raise BadLine(f"column {name!r} of row group {number} has an index, which a segment's does not have")
            if start < 4 or size <= 0 or start + size > rows_end:
                raise BadLine(f"column {name!r} of row group {number} claims to lie outside of the rows")
            if column.total_uncompressed_size > _bytes_max(name, group.num_rows):
                raise BadLine(f"column {name!r} of row group {number} claims to unpack to too many bytes")
            stored += size
    if rows > points_max or rows != metadata.num_rows:
        raise BadLine(f"{rows:,} rows, more than the {points_max:,} points of the file's name")
    if metadata.num_columns == len(_COLUMNS) and rows_end > stored + SLACK_BYTES:
        raise BadLine(f"{rows_end:,} bytes before the footer, but its rows take {stored:,}")


def _check_columns(schema: pq.ParquetSchema) -> None:
    """The columns of a segment come first; those of a later version may follow."""
    if len(schema) < len(_COLUMNS):
        raise BadLine(f"{len(schema)} columns: this is not a segment")
    for at, (name, physical, logical) in enumerate(_COLUMNS):
        column = schema.column(at)
        if column.path != name:
            raise BadLine(f"column {at} is {ascii(column.path)[:40]}, not {name!r}: this is not a segment")
        kind = (column.physical_type, str(column.logical_type))
        if kind[0] != physical or not kind[1].startswith(logical) or column.max_repetition_level:
            raise BadLine(f"column {name!r} is of type {kind[0]} {kind[1]}")
    for at in range(len(_COLUMNS), len(schema)):
        name = schema.column(at).path
        if name.split(".")[0].lower() in _TAKEN:
            raise BadLine(f"column {at} has the name {ascii(name)[:40]}, which is reserved")


def _place(column: Any) -> tuple[int, int]:
    """Where a column of a row group begins, and how many bytes it takes."""
    start = column.data_page_offset
    if column.has_dictionary_page and column.dictionary_page_offset is not None:
        start = min(start, column.dictionary_page_offset)
    return int(start), int(column.total_compressed_size)


def _bytes_max(name: str, rows: int) -> int:
    return NAMES_BYTES_MAX if name == "metric" else 16 * rows + SLACK_BYTES


def check_block(metadata: pq.FileMetaData, groups: Iterable[int], rows_max: int) -> None:
    """Check that row groups that must be read together, as their seqs overlap, are no more than a block.

    Raises:
        BadLine: they are more.
    """
    rows = names = 0
    for number in groups:
        group = metadata.row_group(number)
        rows += group.num_rows
        names += group.column(0).total_uncompressed_size
    if rows > rows_max:
        raise BadLine(f"{rows:,} rows without an order, more than the {rows_max:,} of a block")
    if names > BLOCK_NAMES_BYTES_MAX:
        raise BadLine("the metric names of a block claim to unpack to too many bytes")


def check_statistics(group: pq.RowGroupMetaData, names: Sequence[str], numbers: Sequence[npt.NDArray[Any]]) -> None:
    """Compare a row group's statistics with its values: readers skip groups by them.

    ``names`` are the metrics in it, ``numbers`` its other columns.

    Raises:
        BadLine: a value is outside of its statistics.
    """
    encoded = [name.encode() for name in names]
    ranges: list[tuple[Any, Any]] = [(min(encoded), max(encoded))]
    ranges += [(np.fmin.reduce(column), np.fmax.reduce(column)) for column in numbers]  # NaN where all are
    for at, (low, high) in enumerate(ranges):
        said = group.column(at).statistics
        if said is None or not said.has_min_max:
            continue
        least, most = said.min_raw, said.max_raw
        if least != least or most != most or low < least or high > most:
            raise BadLine(f"column {_COLUMNS[at][0]!r} holds values outside of the range in its footer")


def check_pages(fd: int, metadata: pq.FileMetaData, groups: Iterable[int], first_column: int = 0) -> None:
    """Compare the headers of all pages of some row groups, from a column on, with what their columns can hold.

    Raises:
        BadLine: one claims more than is possible.
        OSError: the file can't be read.
    """
    for number in groups:
        group = metadata.row_group(number)
        for at, (name, _, _) in enumerate(_COLUMNS[first_column:], first_column):
            start, size = _place(group.column(at))
            try:
                _check_column(fd, start, start + size, group.num_rows, _bytes_max(name, group.num_rows))
            except (BadLine, IndexError) as error:
                raise BadLine(f"a page of column {name!r} of row group {number}: {error}") from None


def _check_column(fd: int, at: int, end: int, rows: int, bytes_max: int) -> None:
    unpacked = values = 0
    while at < end and values < rows:
        head, fields = _page_head(fd, at)
        size, stored = _int(fields, _UNPACKED), _int(fields, _STORED)
        unpacked += size
        if size < 0 or stored < 0 or at + head + stored > end or unpacked > bytes_max:
            raise BadLine("it claims to be larger than the space for it")
        names = fields.get(_DICTIONARY)
        page: Any = next((fields[key] for key in (_DICTIONARY, _DATA, _DATA_2) if key in fields), {})
        count = _int(page, _VALUES) if isinstance(page, dict) else -1
        if not 0 <= count <= (size // 4 if names is not None else rows):  # each name comes after its length
            raise BadLine(f"it claims to hold {count:,} values")
        values += 0 if names is not None else count
        at += head + stored
    if values != rows:
        raise BadLine(f"{values:,} values for {rows:,} rows")


def _int(fields: dict[int, Any], number: int) -> int:
    value = fields.get(number)
    return value if type(value) is int else -1


def _page_head(fd: int, at: int) -> tuple[int, dict[int, Any]]:
    """The length of a page header, and its fields: a small part of Thrift's compact protocol."""
    data = os.pread(fd, PAGE_HEAD_BYTES, at)
    try:
        end, fields = _struct(data, 0)
    except IndexError:
        end, fields = _struct(os.pread(fd, PAGE_HEAD_BYTES_MAX, at), 0)
    return end, fields


# the fields of a page header
_UNPACKED, _STORED, _DATA, _DICTIONARY, _DATA_2 = 2, 3, 5, 7, 8
_VALUES = 1

_DEPTH_MAX = 4
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _STRUCT = 1, 2, 3, 4, 5, 6, 7, 8, 12


def _struct(data: bytes, at: int, depth: int = 0) -> tuple[int, dict[int, Any]]:
    fields: dict[int, Any] = {}
    number = 0
    if depth > _DEPTH_MAX:
        raise BadLine("its header is nested too deeply")
    while head := data[at]:
        at += 1
        if head >> 4:
            number += head >> 4
        else:
            at, number = _signed(data, at)
        kind = head & 15
        if kind in (_TRUE, _FALSE):
            fields[number] = kind == _TRUE
        elif kind in (_I16, _I32, _I64):
            at, fields[number] = _signed(data, at)
        elif kind == _BYTE:
            at += 1
        elif kind == _DOUBLE:
            at += 8
        elif kind == _BINARY:
            at, size = _varint(data, at)
            at += size
        elif kind == _STRUCT:
            at, fields[number] = _struct(data, at, depth + 1)
        else:
            raise BadLine("its header has fields that a page's does not have")
        if at >= len(data):
            raise IndexError("the header is cut short")
    return at + 1, fields


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return at, value
        shift += 7
    raise BadLine("a number in its header has no end")


def _signed(data: bytes, at: int) -> tuple[int, int]:
    at, value = _varint(data, at)
    return at, (value >> 1) ^ -(value & 1)
