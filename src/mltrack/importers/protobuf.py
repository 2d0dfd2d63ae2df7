"""Protocol buffers' wire format, read by hand: the fields of a message, and where in the bytes they are."""

from __future__ import annotations

import struct
from collections.abc import Iterator

__all__ = ["BYTES", "FIXED32", "FIXED64", "VARINT", "Buffer", "Fields", "WireError", "message", "signed", "varint"]

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types. Groups (3 and 4) are not read: no format here has them."""

VARINT_BYTES_MAX = 10

Buffer = bytes | memoryview


class WireError(ValueError):
    """Bytes that are not a message."""


def varint(data: Buffer, at: int, end: int) -> tuple[int, int]:
    """The number at ``at``, unsigned, and where it ends.

    Raises:
        WireError: it goes on after ``end``, or over ten bytes.
    """
    if at < end and data[at] < 0x80:
        return data[at], at + 1
    number = shift = 0
    for place in range(at, min(end, at + VARINT_BYTES_MAX)):
        byte = data[place]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number & 0xFFFF_FFFF_FFFF_FFFF, place + 1
        shift += 7
    raise WireError(f"byte {at}: a number that does not end")


def signed(number: int) -> int:
    """An int64 of what was read as an unsigned number."""
    return number - (1 << 64) if number >> 63 else number


def message(data: Buffer, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """The fields of a message: number, wire type, and where the content begins and ends.

    Raises:
        WireError: it is cut, or not a message.
    """
    at = start
    while at < end:
        key, at = varint(data, at, end)
        wire = key & 7
        if wire == BYTES:
            size, at = varint(data, at, end)
            after = at + size
        elif wire == VARINT:
            _, after = varint(data, at, end)
        elif wire == FIXED64:
            after = at + 8
        elif wire == FIXED32:
            after = at + 4
        else:
            raise WireError(f"byte {at}: wire type {wire}")
        if after > end:
            raise WireError(f"byte {at}: a field that goes on after the end of its message")
        yield key >> 3, wire, at, after
        at = after


class Fields:
    """The fields of a message by their numbers; of one that is repeated the last counts, as the format has it."""

    __slots__ = ("_data", "_places")

    def __init__(self, data: Buffer, start: int = 0, end: int | None = None) -> None:
        """Read where they are.

        Raises:
            WireError: it is not a message.
        """
        self._data = data
        self._places: dict[int, list[tuple[int, int, int]]] = {}
        for number, wire, at, after in message(data, start, len(data) if end is None else end):
            self._places.setdefault(number, []).append((wire, at, after))

    def __contains__(self, number: int) -> bool:
        return number in self._places

    def _last(self, number: int, *wires: int) -> tuple[int, int] | None:
        for wire, at, after in reversed(self._places.get(number, ())):
            if wire in wires:
                return at, after
        return None

    def integer(self, number: int) -> int:
        """An int32, int64, bool or enum; 0 where it is missing."""
        place = self._last(number, VARINT)
        return 0 if place is None else signed(varint(self._data, *place)[0])

    def double(self, number: int) -> float:
        """A double; 0 where it is missing."""
        place = self._last(number, FIXED64)
        return 0.0 if place is None else float(struct.unpack_from("<d", self._data, place[0])[0])

    def single(self, number: int) -> float:
        """A float; 0 where it is missing."""
        place = self._last(number, FIXED32)
        return 0.0 if place is None else float(struct.unpack_from("<f", self._data, place[0])[0])

    def content(self, number: int) -> bytes:
        """Bytes; empty where they are missing."""
        place = self._last(number, BYTES)
        return b"" if place is None else bytes(self._data[place[0] : place[1]])

    def text(self, number: int) -> str:
        """A string; what is not UTF-8 in it is replaced."""
        return self.content(number).decode("utf-8", "replace")

    def inner(self, number: int) -> Fields:
        """A message; empty where it is missing."""
        place = self._last(number, BYTES)
        return Fields(b"") if place is None else Fields(self._data, *place)

    def each(self, number: int) -> Iterator[Fields]:
        """The messages of a repeated field."""
        for place in self.places(number):
            yield Fields(self._data, *place)

    def places(self, number: int) -> Iterator[tuple[int, int]]:
        """Where the contents of a repeated field of bytes, texts or messages are."""
        for wire, at, after in self._places.get(number, ()):
            if wire == BYTES:
                yield at, after

    def contents(self, number: int) -> Iterator[bytes]:
        """The bytes of a repeated field."""
        for at, after in self.places(number):
            yield bytes(self._data[at:after])

    def packed(self, number: int, code: str) -> bytes:
        """The bytes of repeated numbers of a fixed size, packed or not; ``code`` is ``d`` or ``f``."""
        wires = (BYTES, FIXED64 if code == "d" else FIXED32)
        return b"".join(
            bytes(self._data[at:after]) for wire, at, after in self._places.get(number, ()) if wire in wires
        )

    def integers(self, number: int) -> list[int]:
        """Repeated int32 or int64, packed or not.

        Raises:
            WireError: they are cut.
        """
        found = []
        for wire, at, after in self._places.get(number, ()):
            while wire in (BYTES, VARINT) and at < after:
                value, at = varint(self._data, at, after)
                found.append(signed(value))
        return found
