"""Arrow columns made of Python's values and of numpy's, and read as numpy's, buffer by buffer.

``pa.array`` and ``to_numpy`` do the same, but import pandas first wherever that is installed: 35 MB and a good part of
a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["array_column", "column_array", "map_column", "repeated_text", "take_rows", "text_column", "value_column"]

Number = TypeVar("Number", np.int32, np.int64, np.float64)

STRING_BYTES_MAX = 2**31 - 1
"""Longer text needs wider offsets, and is of type ``large_string``."""


def array_column(array: npt.NDArray[Any], kind: pa.DataType) -> pa.Array:
    """An array as a column of booleans, or of a type that is as wide as int32, int64 or float64."""
    if pa.types.is_boolean(kind):
        return pa.Array.from_buffers(kind, len(array), [None, _bits(array)])
    width: type = {pa.int32(): np.int32, pa.float64(): np.float64}.get(kind, np.int64)
    held: npt.NDArray[Any] = np.ascontiguousarray(array, dtype=width)
    return pa.Array.from_buffers(kind, len(held), [None, pa.py_buffer(held)])


def column_array(column: pa.Array | pa.ChunkedArray, width: type[Number]) -> npt.NDArray[Number]:
    """A fixed-width column as an array, not to be written to.

    Raises:
        pa.ArrowInvalid: a value is null, or of another width.
    """
    if isinstance(column, pa.ChunkedArray):  # of one chunk, too, combine_chunks makes a copy
        whole = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    else:
        whole = column
    if whole.null_count:
        raise pa.ArrowInvalid("a value is missing")
    if not len(whole):
        return np.empty(0, width)
    if whole.type.bit_width != np.dtype(width).itemsize * 8:
        raise pa.ArrowInvalid(f"a column of type {whole.type}")
    return np.frombuffer(whole.buffers()[1], width, len(whole), whole.offset * np.dtype(width).itemsize)


RANGES_MAX = 64
"""Rows in so many ranges are taken as slices, without a copy."""


def take_rows(table: pa.Table, wanted: npt.NDArray[np.bool_]) -> pa.Table:
    """The wanted rows of a table: without a copy where they lie in few ranges."""
    if not len(wanted):
        return table
    edges = np.flatnonzero(wanted[1:] != wanted[:-1]) + 1
    if len(edges) > 2 * RANGES_MAX:
        return table.filter(array_column(wanted, pa.bool_()))
    ranges = [(first, end) for first, end in pairwise([0, *edges.tolist(), len(wanted)]) if wanted[first]]
    parts = [table.slice(first, end - first) for first, end in ranges]
    return pa.concat_tables(parts) if parts else table.slice(0, 0)


def value_column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Text, booleans or numbers as a column of that type; None is null."""
    if pa.types.is_string(kind):
        return text_column(values)
    is_null = None in values
    filled = [0 if value is None else value for value in values] if is_null else values
    validity = _validity(values) if is_null else None
    if pa.types.is_boolean(kind):
        return pa.Array.from_buffers(kind, len(values), [validity, _bits(np.array(filled, bool))])
    held = np.array(filled, np.float64 if pa.types.is_floating(kind) else np.int64)
    return pa.Array.from_buffers(kind, len(values), [validity, pa.py_buffer(held)])


def text_column(texts: Sequence[str | None], *, errors: str = "strict", bytes_max: int = STRING_BYTES_MAX) -> pa.Array:
    """Text as a column; None is null. ``errors`` says what becomes of lone surrogates, as in ``str.encode``.

    Raises:
        UnicodeEncodeError: there is one, and ``errors`` is strict.
    """
    is_null = None in texts
    filled: list[str] = [text or "" for text in texts]
    whole = "".join(filled)
    if whole.isascii():
        data, lengths = whole.encode("ascii"), list(map(len, filled))
    else:
        encoded = [text.encode("utf-8", errors) for text in filled]
        data, lengths = b"".join(encoded), list(map(len, encoded))
    kind, width = (pa.string(), np.int32) if len(data) <= bytes_max else (pa.large_string(), np.int64)
    ends = pa.py_buffer(_offsets(lengths, width))
    return pa.Array.from_buffers(kind, len(filled), [_validity(texts) if is_null else None, ends, pa.py_buffer(data)])


def repeated_text(text: str, count: int) -> pa.DictionaryArray:
    """A column of ``count`` times the same text."""
    return pa.DictionaryArray.from_arrays(array_column(np.zeros(count, np.int32), pa.int32()), text_column([text]))


def map_column(rows: Sequence[Sequence[tuple[str, str]]]) -> pa.MapArray:
    """Keys and their values, all text, as a column of maps.

    Raises:
        UnicodeEncodeError: there is a lone surrogate.
    """
    offsets = array_column(_offsets([len(pairs) for pairs in rows], np.int32), pa.int32())
    pairs = list(chain.from_iterable(rows))
    return pa.MapArray.from_arrays(
        offsets, text_column([key for key, _ in pairs]), text_column([text for _, text in pairs])
    )


def _offsets(lengths: Sequence[int], width: type) -> npt.NDArray[Any]:
    offsets: npt.NDArray[Any] = np.zeros(len(lengths) + 1, width)
    np.cumsum(np.array(lengths, width), out=offsets[1:])
    return offsets


def _validity(values: Sequence[Any]) -> pa.Buffer:
    """A bit for each value, set where it is not None."""
    return _bits(np.array([value is not None for value in values], bool))


def _bits(flags: npt.NDArray[Any]) -> pa.Buffer:
    return pa.py_buffer(np.packbits(flags, bitorder="little"))
