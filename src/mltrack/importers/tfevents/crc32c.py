"""CRC-32C of many records at once, with NumPy, as TFRecord files have it.

The checksum is linear: zeros in front of a record do not change it once the first four bytes are inverted, which is
what its start value does. So records of different sizes stand in one matrix, aligned at their ends, and all of them are
taken two bytes further at a time. Long records are cut into lanes, whose checksums are then joined two by two.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["crc32c", "masked_crcs"]

POLYNOMIAL = 0x82F63B78
MASK_DELTA = 0xA282EAD8
LANE = 64
"""Bytes in a lane, and the least width of the matrix."""
STEP_BYTES = 1 << 20
"""So many bytes are in a matrix, if more than one record is."""

Numbers = npt.NDArray[np.uint32]
Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]


@cache
def _byte_table() -> Numbers:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> np.uint32(1)) ^ (np.uint32(POLYNOMIAL) * (table & np.uint32(1)))
    return table


@cache
def _pair_table() -> Numbers:
    """What two bytes do to a state of which they are the low ones."""
    table, state = _byte_table(), np.arange(65_536, dtype=np.uint32)
    for _ in range(2):
        state = table[state & np.uint32(255)] ^ (state >> np.uint32(8))
    return state


@cache
def _shift_tables(size: int) -> Numbers:
    """What ``size`` zero bytes do to a state, by each of its four bytes; ``size`` is LANE times a power of two."""
    states = (np.arange(256, dtype=np.uint32)[None, :] << (np.arange(4, dtype=np.uint32) * 8)[:, None]).astype(
        np.uint32
    )
    if size > LANE:
        return _shifted(_shifted(states, size // 2), size // 2)
    table = _byte_table()
    for _ in range(size):
        states = table[states & np.uint32(255)] ^ (states >> np.uint32(8))
    return states


def _shifted(states: npt.NDArray[np.uint32], size: int) -> npt.NDArray[np.uint32]:
    tables = _shift_tables(size)
    found: Numbers = tables[0][states & np.uint32(255)]
    for place in (1, 2, 3):
        found = found ^ tables[place][(states >> np.uint32(8 * place)) & np.uint32(255)]
    return found


def _of_rows(rows: Bytes) -> Numbers:
    """The states after the bytes of each row, from a start value of zero; their width is one of ``_widths``."""
    lane = min(LANE, rows.shape[1])
    pairs = np.ascontiguousarray(rows.reshape(-1, lane).view("<u2").T)
    states = np.zeros(pairs.shape[1], np.uint32)
    lows, index, table = states.view("<u2")[::2], np.empty(len(states), np.intp), _pair_table()
    for column in pairs:
        np.bitwise_xor(lows, column, out=index, casting="unsafe")
        np.right_shift(states, np.uint32(16), out=states)
        np.bitwise_xor(states, table.take(index, mode="clip"), out=states)
    joined, size = states.reshape(len(rows), -1), LANE
    while joined.shape[1] > 1:
        joined = _shifted(joined[:, ::2], size) ^ joined[:, 1::2]
        size *= 2
    return joined.ravel()


def _widths(sizes: Places) -> Places:
    """The width of the matrix in which a part of that size is: whole words, or LANE times a power of two."""
    powers = np.exp2(np.ceil(np.log2(np.maximum(sizes, 1)))).astype(np.int64)
    return np.where(sizes <= LANE, -(-sizes // 8) * 8, powers)


def masked_crcs(data: Bytes, starts: Places, sizes: Places) -> Numbers:
    """The checksums of parts of ``data``, masked as in TFRecord files.

    Args:
        data: Bytes, shape (n,).
        starts: Where each part begins.
        sizes: The bytes of each part.
    """
    found = np.zeros(len(starts), np.uint32)
    widths = _widths(sizes)
    widths[sizes < 4] = 0
    for width in np.unique(widths).tolist():
        mine = np.flatnonzero(widths == width)
        if not width:
            found[mine] = [
                crc32c(data[start : start + size].tobytes())
                for start, size in zip(starts[mine].tolist(), sizes[mine].tolist(), strict=True)
            ]
            continue
        step = max(1, STEP_BYTES // width)
        for first in range(0, len(mine), step):
            part = mine[first : first + step]
            found[part] = ~_of_rows(_aligned(data, starts[part], sizes[part], width))
    return ((found >> np.uint32(15)) | (found << np.uint32(17))) + np.uint32(MASK_DELTA)


def _aligned(data: Bytes, starts: Places, sizes: Places, width: int) -> Bytes:
    """The parts as rows of ``width`` bytes, at their right ends; zeros in front; the first four bytes inverted."""
    rows = np.empty((len(starts), width), np.uint8)
    ends = starts + sizes
    inside = ends >= width
    if inside.any():
        windows: npt.NDArray[Any] = np.lib.stride_tricks.sliding_window_view(data, width)
        rows[inside] = windows[ends[inside] - width]
    for row in np.flatnonzero(~inside).tolist():
        end = int(ends[row])
        rows[row, width - end :] = data[:end]
    front = width - sizes
    if front.any():
        np.multiply(rows, np.arange(width)[None, :] >= front[:, None], out=rows)
    numbers = np.arange(len(rows))
    for place in range(4):
        rows[numbers, front + place] ^= 0xFF
    return rows


def crc32c(data: bytes) -> int:
    """The checksum of a few bytes, not masked."""
    table, state = _byte_table(), 0xFFFF_FFFF
    for byte in data:
        state = int(table[(state ^ byte) & 255]) ^ (state >> 8)
    return state ^ 0xFFFF_FFFF
