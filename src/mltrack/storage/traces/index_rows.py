"""Rows in a saved index of traces, each with its checksum: read from the file as they are asked for.

Together they are one JSON array, so that many are decoded at once.
"""

from __future__ import annotations

import json
import os
import weakref
import zlib
from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from mltrack.errors import CorruptionError

if TYPE_CHECKING:
    from array import array
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Any

__all__ = ["Row", "Rows", "encode_rows"]

BLOCK_BYTES = 64 * 1024
"""So much is read at once where rows are read one after the other, as those of a page of the latest."""

READS_MAX = 1000
"""After so many reads of a row, or a block, all rows are read."""

DECODED_MAX = 1024
"""At most so many rows are decoded at once."""


class Row(NamedTuple):
    """A row as it is saved: JSON in ASCII without line breaks, and the checksum."""

    content: bytes
    crc: int

    @classmethod
    def of(cls, content: str) -> Row:
        """A new row."""
        encoded = content.encode("ascii")
        return cls(encoded, zlib.crc32(encoded))


def encode_rows(rows: Sequence[Row], ends: array[int], crcs: array[int]) -> bytes:
    """The rows as they are saved; where each ends, and its checksum, are appended to columns."""
    ends.extend(accumulate(len(row.content) + 1 for row in rows))
    crcs.extend(row.crc for row in rows)
    return b"[%b]" % b",".join(row.content for row in rows)


class Rows:
    """Rows of the file: read in blocks as long as few are, else at once. It stays open as long as this is used."""

    def __init__(self, fd: int, path: Path, start: int, ends: Sequence[int], crcs: Sequence[int]) -> None:
        """They begin at ``start`` of an open file; ``ends`` and ``crcs`` are the columns."""
        self._path = path
        self._fd = os.dup(fd)
        weakref.finalize(self, os.close, self._fd)
        self._start = start
        self._ends = ends
        self._crcs = crcs
        self._left = READS_MAX
        self._next = 0  # the row after those that were decoded last
        self._decoded = 0  # how many those were
        self._block: tuple[int, bytes] = (0, b"")  # where it begins, and the bytes; all of them in the end

    @property
    def size(self) -> int:
        """Their bytes in the file."""
        return self._ends[-1] + 1 if self._ends else 0

    def saved(self, row: int) -> Row:
        """A row as it is saved, not checked.

        Raises:
            CorruptionError: the file is too short.
        """
        return Row(self._read(self._begin(row), self._ends[row]), self._crcs[row])

    def decoded(self, row: int) -> list[Any]:
        """What a row has, and some rows after it where those before it were decoded.

        Raises:
            CorruptionError: one of them is not what was saved.
        """
        follows = self._next <= row < self._next + max(self._decoded, 1)
        count = min(2 * self._decoded, DECODED_MAX, len(self._ends) - row) if follows and self._decoded else 1
        self._next, self._decoded = row + count, count
        begin = self._begin(row)
        block = self._read(begin, self._ends[row + count - 1])
        at = 0
        for number in range(row, row + count):
            end = self._ends[number] - begin
            if zlib.crc32(block[at:end]) != self._crcs[number]:
                raise self._damaged()
            at = end + 1
        found: list[Any] = _decode(f"[{block.decode('ascii')}]")
        return found

    def holding(self, text: bytes, rows_max: int) -> list[int] | None:
        """The rows with that text; None if they are more.

        Raises:
            CorruptionError: the file is too short.
        """
        found: list[int] = []
        whole = self._whole()
        at = whole.find(text)
        while at >= 0 and len(found) <= rows_max:
            found.append(bisect_right(self._ends, at))
            at = whole.find(text, self._ends[found[-1]])
        return found if len(found) <= rows_max else None

    def _begin(self, row: int) -> int:
        return self._ends[row - 1] + 1 if row else 1

    def _read(self, start: int, end: int) -> bytes:
        at, block = self._block  # another thread may put another one in its place
        if at <= start and end <= at + len(block):
            return block[start - at : end - at]
        self._left -= 1
        if self._left < 0:
            return self._whole()[start:end]
        size = max(end - start, BLOCK_BYTES) if self._decoded > 1 else end - start
        block = self._pread(start, min(size, self.size - start))
        self._block = (start, block)
        return block[: end - start]

    def _whole(self) -> bytes:
        start, block = self._block
        if start or len(block) < self.size:
            block = self._pread(0, self.size)
            self._block = (0, block)
        return block

    def _pread(self, start: int, size: int) -> bytes:
        found = os.pread(self._fd, size, self._start + start)
        if len(found) != size:
            raise self._damaged()
        return found

    def _damaged(self) -> CorruptionError:
        path = str(self._path)
        return CorruptionError(f"{path} is damaged", path=path, hint="delete it: it is made again from other files")


_decode = json.JSONDecoder().decode
