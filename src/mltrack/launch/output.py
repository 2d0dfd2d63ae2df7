"""The output of a launched program, kept as it would look on paper: bounded, and without overwritten progress bars.

While the program runs, its output grows in ``live/`` in the run's folder, where ``mltrack logs -f`` reads it; at its
end it becomes an artifact. Beyond its bound, the first half and the last part are kept, with a mark between them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["LIVE_FOLDER", "LOG_BYTES_MAX", "LOG_NAME", "LineFilter", "OutputLog", "read_output"]

LIVE_FOLDER = "live"
"""Where, in a run's folder, files grow that become artifacts at their end."""

LOG_NAME = "user_logs/std_log.txt"
"""The artifact's name, as Azure Machine Learning has it."""

LOG_BYTES_MAX = 1 << 28
"""How much output is kept of a run when nothing else is said: 256 MiB."""

HELD_BYTES_MAX = 1 << 16
"""How long a line that is overwritten again and again may be."""

READ_BYTES = 1 << 20

_HEAD = "std_log.txt"
_TAILS = ("std_log.tail0", "std_log.tail1")


class LineFilter:
    """Leaves out what a carriage return overwrites: of a progress bar, only its last state remains.

    Text on a line without carriage returns passes at once; a line with one is held until it ends.
    """

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Take in some output; returns what of it is settled."""
        if not self._held and b"\r" not in data:
            return data
        text = (self._held + data).replace(b"\r\n", b"\n")
        *lines, last = text.split(b"\n")
        settled = b"".join(_shown(line) + b"\n" for line in lines)
        if b"\r" not in last:
            self._held = b""
            return settled + last
        ending = b"\r" if last.endswith(b"\r") else b""  # its line break may be the next byte
        self._held = b"\r" + _shown(last)[-HELD_BYTES_MAX:] + ending
        return settled

    def end(self) -> bytes:
        """What is still held."""
        held, self._held = self._held, b""
        return _shown(held) + b"\n" if held else b""


def _shown(line: bytes) -> bytes:
    """What is left of a line on a screen: what follows its last carriage return that is followed by anything."""
    return line.rstrip(b"\r").rpartition(b"\r")[2]


class OutputLog:
    """One run's output on disk, written by the launcher alone.

    Nothing here fails the program: when the disk takes no more, ``lost`` counts the bytes and the rest goes on.
    """

    def __init__(self, folder: Path, bytes_max: int = LOG_BYTES_MAX, *, before: Path | None = None) -> None:
        """Go on with what an earlier launch of the same run left in ``folder``, or else with the file ``before``.

        Raises:
            OSError: the folder can't be made or written.
        """
        self.lost = 0
        self._folder = folder
        self._head_max = max(1, bytes_max // 2)
        self._tail_max = max(1, bytes_max // 4)  # of each of two files, the older of which is dropped
        folder.mkdir(parents=True, exist_ok=True)
        if before is not None and before.exists() and not (folder / _HEAD).exists():
            shutil.copyfile(before, folder / _HEAD)
        self._dropped = 0
        self._tail = -1  # the tail file being written; -1 while the head is
        self._fd = os.open(folder / _HEAD, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._room = self._head_max - os.fstat(self._fd).st_size

    def write(self, data: bytes) -> None:
        """Add output."""
        view = memoryview(data)
        while view:
            if self._room <= 0 and not self._next_file():
                self.lost += len(view)
                return
            try:
                written = os.write(self._fd, view[: self._room])
            except OSError:
                self.lost += len(view)
                return
            self._room -= written
            view = view[written:]

    def _next_file(self) -> bool:
        """Go on in the next tail file; what it held is dropped."""
        self._tail = (self._tail + 1) % len(_TAILS)
        path = self._folder / _TAILS[self._tail]
        with contextlib.suppress(OSError):
            self._dropped += path.stat().st_size
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError:
            return False
        os.close(self._fd)
        self._fd, self._room = fd, self._tail_max
        return True

    def finish(self) -> Path | None:
        """Close the log and put it together; returns the file, or None where there was no output.

        Raises:
            OSError: the disk takes no more; the pieces stay.
        """
        os.close(self._fd)
        head = self._folder / _HEAD
        if self._tail >= 0:
            newest = self._folder / _TAILS[self._tail]
            older = self._folder / _TAILS[1 - self._tail]
            with open(head, "ab") as file:
                if self._dropped:
                    file.write(f"\n[mltrack: {self._dropped:,} bytes of output left out here]\n".encode())
                for part in (older, newest):
                    with contextlib.suppress(FileNotFoundError), open(part, "rb") as source:
                        while chunk := source.read(READ_BYTES):
                            file.write(chunk)
            for name in _TAILS:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._folder / name)
            self._tail = -1
        if head.stat().st_size:
            return head
        os.unlink(head)
        return None


def read_output(folder: Path, start: int = 0) -> Iterator[bytes]:
    """The output as far as it lies in ``folder``, from byte ``start`` of it on; not exact where it is being cut."""
    position = 0
    for path in _pieces(folder):
        try:
            with open(path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                if position + size > start:
                    file.seek(max(0, start - position))
                    while chunk := file.read(READ_BYTES):
                        yield chunk
                position += size
        except FileNotFoundError:
            continue


def _pieces(folder: Path) -> list[Path]:
    def age(path: Path) -> int:
        try:
            return path.stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    return [folder / _HEAD, *sorted((folder / name for name in _TAILS), key=age)]
