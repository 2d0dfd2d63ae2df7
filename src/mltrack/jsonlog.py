"""An append-only file of checksummed JSON lines: events, the workspace and the ledgers are all one of these.

A torn last line never happened. A bad line in the middle is corruption: reported with its path and offset, and the
lines around it are still read. The torn end of an append that failed is cut off again, so the next one starts a line.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from mltrack.errors import CorruptionError
from mltrack.format import BadLine, decode_line, encode_line
from mltrack.fs import LOCAL, FileSystem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["JsonLog", "LogRead", "read_log"]


class LogRead(NamedTuple):
    """What read_log found: the lines' fields, the byte after the last whole line, and the damage met."""

    lines: list[dict[str, Any]]
    end: int
    damage: list[CorruptionError]


def read_log(path: Path, start: int = 0) -> LogRead:
    """Every good line from byte ``start`` on. A missing file is an empty one.

    Raises:
        OSError: the file is there and can't be read.
    """
    try:
        with open(path, "rb") as file:
            file.seek(start)
            data = file.read()
    except FileNotFoundError:
        return LogRead([], start, [])
    lines: list[dict[str, Any]] = []
    damage: list[CorruptionError] = []
    at = 0
    whole = data.rfind(b"\n") + 1
    for line in data[:whole].split(b"\n")[:-1]:
        try:
            lines.append(decode_line(line))
        except BadLine as error:
            damage.append(
                CorruptionError(
                    f"{path}: bad line at byte {start + at}: {error}",
                    path=str(path),
                    offset=start + at,
                    hint="the lines around it are intact; restore the file from a copy to get this one back",
                )
            )
        at += len(line) + 1
    return LogRead(lines, start + whole, damage)


class JsonLog:
    """One such file open for appending by one process."""

    def __init__(self, path: Path, *, fs: FileSystem = LOCAL, create: bool = False) -> None:
        """Open ``path``; ``create`` insists that it is new. A torn tail left by a crash is cut off.

        Raises:
            OSError: the file can't be opened (FileExistsError with ``create`` when it is there).
        """
        self.path = path
        self._fs = fs
        self.fd = fs.create(path) if create else fs.open_append(path)
        self._size = 0 if create else self._cut_torn_tail()
        self.count = 0  # lines appended by this object
        self._torn = False  # set while the end of the file is not known for sure

    @property
    def size(self) -> int:
        """Bytes of whole lines: where the next line will begin."""
        return self._size

    def _cut_torn_tail(self) -> int:
        size = os.fstat(self.fd).st_size
        step, end = 1 << 16, size
        while end > 0:
            at = max(0, end - step)
            newline = os.pread(self.fd, end - at, at).rfind(b"\n")
            if newline >= 0:
                end = at + newline + 1
                break
            end = at
        if end != size:
            self._fs.truncate(self.fd, end)
        return end

    def append(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Add lines in one write: when this returns they survive ``kill -9``; sync() makes them survive power loss.

        Raises:
            OSError: not all of them were added (a full disk, a lost mount). Those that were stay, as readers may have
                seen them: ``count`` tells how many.
        """
        self.settle()
        data = b"".join([encode_line(line) for line in lines])
        self._torn = True
        try:
            self._fs.write_all(self.fd, data)
        except BaseException:  # an interrupt too may come when some or all of it is written
            with contextlib.suppress(OSError):
                self.settle()
            raise
        self._size, self.count, self._torn = self._size + len(data), self.count + data.count(b"\n"), False

    def settle(self) -> None:
        """After an append that failed: count the lines that went in whole, and cut off what follows them.

        Raises:
            OSError: the file can't be read or cut; nothing can be appended until it can.
        """
        if not self._torn:
            return
        added = os.pread(self.fd, os.fstat(self.fd).st_size - self._size, self._size)
        whole = added.rfind(b"\n") + 1
        end = self._size + whole
        if whole != len(added):
            self._fs.truncate(self.fd, end)
        os.lseek(self.fd, end, os.SEEK_SET)
        self._size, self.count, self._torn = end, self.count + added.count(b"\n"), False

    def sync(self) -> None:
        """Return when all appended lines are on the disk."""
        self._fs.sync(self.fd)

    def close(self) -> None:
        """Close the file (without a sync)."""
        os.close(self.fd)
