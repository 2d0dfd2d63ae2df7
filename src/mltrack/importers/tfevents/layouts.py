"""Events that hold scalars only, decoded many at a time.

Programs log the same few metrics again and again, so events of one size mostly differ in nothing but time, step, name
and value. The first of them is taken apart by hand, which gives a layout: where these four are. All events that have
the same bytes elsewhere are then read with NumPy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mltrack.importers.protobuf import BYTES, FIXED32, FIXED64, VARINT, WireError, message, varint

__all__ = ["Layout", "ValuePlace", "layout_of", "text_codes", "times_of"]

SCALARS = b"scalars"
DT_FLOAT, DT_DOUBLE = 1, 2
BILLION = 1_000_000_000


@dataclass(frozen=True, slots=True)
class ValuePlace:
    """Where a scalar of an event is: its name, and its number of type ``code``; ``at`` is -1 for a zero left out."""

    tag: tuple[int, int]
    at: int
    code: str


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Where time, step and scalars are; ``bytes & mask`` are the same in all events of the layout."""

    time: int
    step: tuple[int, int]
    values: tuple[ValuePlace, ...]
    words: npt.NDArray[np.uint64]
    mask: npt.NDArray[np.uint64]

    def matches(self, rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        """Which events have it; their size is the layout's, filled up to whole words."""
        differs = (rows.view(np.uint64) ^ self.words) & self.mask
        return np.logical_not(differs.any(axis=1, keepdims=True))[:, 0]

    def walls(self, rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """Times in seconds since the epoch."""
        return _column(rows, self.time, "<f8") if self.time >= 0 else np.zeros(len(rows))

    def steps(self, rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        """Steps."""
        start, end = self.step
        found = np.zeros(len(rows), np.uint64)
        for shift, place in enumerate(range(start, end)):
            found |= (rows[:, place] & np.uint8(0x7F)).astype(np.uint64) << np.uint64(7 * shift)
        return found.view(np.int64)

    def numbers(self, rows: npt.NDArray[np.uint8], value: ValuePlace) -> npt.NDArray[np.float64]:
        """The values of one of its scalars."""
        if value.at < 0:
            return np.zeros(len(rows))
        with np.errstate(invalid="ignore"):
            return _column(rows, value.at, value.code).astype(np.float64)


def _column(rows: npt.NDArray[np.uint8], at: int, code: str) -> npt.NDArray[Any]:
    return np.ascontiguousarray(rows[:, at : at + np.dtype(code).itemsize]).view(code)[:, 0]


def text_codes(rows: npt.NDArray[np.uint8], place: tuple[int, int]) -> tuple[list[bytes], npt.NDArray[np.int64]]:
    """The different texts at a place, and which one each row has."""
    start, end = place
    width = -(start - end) + (start - end) % 8
    texts = np.zeros((len(rows), max(8, width)), np.uint8)
    texts[:, : end - start] = rows[:, start:end]
    words = texts.view(np.uint64)
    if (words == words[0]).all():
        return [texts[0, : end - start].tobytes()], np.zeros(len(rows), np.int64)
    hashes = np.zeros(len(rows), np.uint64)
    for column in words.T:
        hashes = (hashes ^ column) * np.uint64(0x9E3779B97F4A7C15)
        hashes ^= hashes >> np.uint64(29)
    _, firsts, codes = np.unique(hashes, return_index=True, return_inverse=True)
    if not (words == words[firsts][codes]).all():  # two texts have one hash
        _, firsts, codes = np.unique(words, axis=0, return_index=True, return_inverse=True)
    return [texts[first, : end - start].tobytes() for first in firsts.tolist()], codes.astype(np.int64).ravel()


def times_of(walls: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Seconds since the epoch in ns; 0 for what is not a time."""
    usable = np.where(np.isfinite(walls) & (np.abs(walls) < 9e9), walls, 0.0)
    seconds = np.floor(usable)
    times: npt.NDArray[np.int64] = seconds.astype(np.int64) * BILLION
    times += np.rint((usable - seconds) * BILLION).astype(np.int64)
    return times


def layout_of(event: bytes) -> Layout | None:
    """The layout of an event; None if it holds anything but scalars."""
    try:
        return _layout(event)
    except WireError:
        return None


def _layout(event: bytes) -> Layout | None:
    time, step, summary = -1, (0, 0), None
    for number, wire, at, end in message(event, 0, len(event)):
        if (number, wire) == (1, FIXED64) and time < 0:
            time = at
        elif (number, wire) == (2, VARINT) and step == (0, 0):
            step = (at, end)
        elif (number, wire) == (5, BYTES) and summary is None:
            summary = (at, end)
        else:
            return None
    if summary is None:
        return None
    values = []
    for number, wire, at, end in message(event, *summary):
        value = _value(event, at, end) if (number, wire) == (1, BYTES) else None
        if value is None:
            return None
        values.append(value)
    return _masked(event, time, step, tuple(values))


def _masked(event: bytes, time: int, step: tuple[int, int], values: tuple[ValuePlace, ...]) -> Layout:
    size = -(-len(event) // 8) * 8
    mask, words = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
    mask[: len(event)] = 0xFF
    words[: len(event)] = np.frombuffer(event, np.uint8)
    if time >= 0:
        mask[time : time + 8] = 0
    mask[step[0] : step[1]] = 0x80  # whether the number goes on
    for value in values:
        mask[slice(*value.tag)] = 0
        if value.at >= 0:
            mask[value.at : value.at + np.dtype(value.code).itemsize] = 0
    return Layout(time, step, values, words.view(np.uint64), mask.view(np.uint64))


def _value(event: bytes, start: int, end: int) -> ValuePlace | None:
    tag, found = None, None
    for number, wire, at, after in message(event, start, end):
        if (number, wire) == (1, BYTES) and tag is None:
            tag = (at, after)
        elif (number, wire) == (2, FIXED32) and found is None:
            found = (at, "<f4")
        elif (number, wire) == (8, BYTES) and found is None:
            found = _tensor(event, at, after)
        elif (number, wire) != (7, BYTES) and not ((number, wire) == (9, BYTES) and _is_scalar(event, at, after)):
            return None
    return None if tag is None or found is None else ValuePlace(tag, *found)


def _is_scalar(event: bytes, start: int, end: int) -> bool:
    """Whether metadata says that a value is a scalar, or nothing of it."""
    for number, _, at, after in message(event, start, end):
        if number == 1:
            names = [event[first:last] for field, _, first, last in message(event, at, after) if field == 1]
            return names in ([], [SCALARS])
    return True


def _tensor(event: bytes, start: int, end: int) -> tuple[int, str] | None:
    """Where the only number of a tensor of rank 0 is."""
    kind, found = 0, None
    for number, wire, at, after in message(event, start, end):
        if number == 1:
            kind, _ = varint(event, at, after)
        elif number == 2 and at < after:
            return None
        elif number in (4, 5, 6) and found is None and wire != VARINT:
            found = (number, at, after - at)
        elif number not in (2, 3):
            return None
    code = {DT_FLOAT: "<f4", DT_DOUBLE: "<f8"}.get(kind)
    if code is None:
        return None
    if found is None:
        return -1, code
    number, at, size = found
    fits = size == np.dtype(code).itemsize and number in (4, 5 if kind == DT_FLOAT else 6)
    return (at, code) if fits else None
