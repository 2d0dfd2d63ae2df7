"""Rows in a saved index of traces, each with its checksum: read from the file as they are asked for."""

from __future__ import annotations

import os
import weakref
import zlib
from bisect import bisect_right
from typing import TYPE_CHECKING

from mltrack.errors import CorruptionError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Rows", "encode_row"]

BLOCK_BYTES = 64 * 1024
"""So much is read at once where rows are read one after the other, as those of a page of the latest."""

READS_MAX = 1000
"""After so many reads of a row, or a block, all rows are read."""


def encode_row(content: bytes) -> bytes:
    """A row as it is saved. The content has no line breaks."""
    return b"%x\n%b\n" % (zlib.crc32(content), content)


class Rows:
    """Rows of the file: read in blocks as long as few are, else at once. It stays open as long as this is used."""

    def __init__(self, fd: int, path: Path, start: int, ends: Sequence[int]) -> None:
        """They begin at ``start`` of an open file; each ends so many bytes after that."""
        self._path = path
        self._fd = os.dup(fd)
        weakref.finalize(self, os.close, self._fd)
        self._start = start
        self._ends = ends
        self._left = READS_MAX
        self._next = 0  # after the row that was read last
        self._block: tuple[int, bytes] = (0, b"")  # where it begins, and the bytes; all of them in the end

    def saved(self, row: int) -> bytes:
        """A row as it is saved, not checked.

        Raises:
            CorruptionError: the file is too short.
        """
        start, end = self._ends[row - 1] if row else 0, self._ends[row]
        at, block = self._block  # another thread may put another one in its place
        follows = start == self._next
        self._next = end
        if at <= start and end <= at + len(block):
            return block[start - at : end - at]
        self._left -= 1
        if self._left < 0:
            return self._whole()[start:end]
        size = max(end - start, BLOCK_BYTES) if follows else end - start
        block = self._pread(start, min(size, self._ends[-1] - start))
        self._block = (start, block)
        return block[: end - start]

    def content(self, row: int) -> str:
        """The content of a row.

        Raises:
            CorruptionError: it is not what was saved.
        """
        try:
            checksum, content = self.saved(row).split(b"\n")[:2]
            if zlib.crc32(content) == int(checksum, 16):
                return content.decode("ascii")
        except ValueError:  # a page of zeros, for example
            pass
        raise self._damaged()

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

    def _whole(self) -> bytes:
        start, block = self._block
        if start or len(block) < self._ends[-1]:
            block = self._pread(0, self._ends[-1])
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
