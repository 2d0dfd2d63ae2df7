"""The output of a launched program on disk, bounded: its first half and its end are kept, with a mark between them.

While the program runs, its output is in ``live/`` in the run's folder, where ``mltrack logs -f`` reads it; at its end
it becomes an artifact. If several launches resume one run at once, each has its own log, by number.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mltrack.disk.filesystem import NotRegularError, open_or_make, reading
from mltrack.disk.locks import try_lock
from mltrack.errors import BusyError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["LIVE_FOLDER", "LOG_BYTES_MAX", "LOG_NAME", "OutputLog", "log_name", "open_log", "read_output", "unfinished"]

LIVE_FOLDER = "live"
"""The folder, in a run's, of files that are still written and become artifacts when complete."""

LOG_NAME = "user_logs/std_log.txt"
"""The artifact's name, that of Azure Machine Learning."""

LOG_BYTES_MAX = 1 << 28
"""How much output of a run is kept by default: 256 MiB."""

READ_BYTES = 1 << 20

LOGS_MAX = 10_000
"""How many launches may record into one run at once."""

_HEAD = re.compile(r"std_log(?:_(\d+))?\.txt")


def log_name(number: int) -> str:
    """The artifact that the log of this number becomes: ``user_logs/std_log.txt``, ``user_logs/std_log_1.txt`` ..."""
    return LOG_NAME if not number else f"user_logs/std_log_{number}.txt"


def _files(folder: Path, number: int) -> tuple[Path, tuple[Path, Path]]:
    """The head of a log, and its two tails."""
    stem = f"std_log_{number}" if number else "std_log"
    return folder / f"{stem}.txt", (folder / f"{stem}.tail0", folder / f"{stem}.tail1")


class OutputLog:
    """One run's output on disk, written by the launcher alone.

    It never fails the program: if the disk fails, ``lost`` counts the bytes, and writing continues after them.
    """

    def __init__(
        self, folder: Path, bytes_max: int = LOG_BYTES_MAX, *, number: int = 0, before: Path | None = None
    ) -> None:
        """Append to what an earlier launch of the same run left in ``folder``, or else to the content of ``before``.

        Args:
            folder: where the log is.
            bytes_max: how much output is kept.
            number: the log's.
            before: an artifact to start with.

        Raises:
            BusyError: another process writes the log of that number.
            OSError: the folder can't be made or written.
        """
        self.lost = 0
        self.number = number
        self._head, self._tails = _files(folder, number)
        self._head_max = max(1, bytes_max // 2)
        self._tail_max = max(1, bytes_max // 4)  # of each of two files, the older of which is dropped
        self._dropped = 0
        self._tail = -1  # the tail file being written; -1 while the head is
        self._gap = False  # something was lost since the last byte that was written
        folder.mkdir(exist_ok=True)
        self._lock = self._fd = _open_locked(self._head)  # the lock is held while it is open
        size = os.fstat(self._fd).st_size
        self._room = self._head_max - size
        self._resume_tails()
        if before is not None and not size:
            with contextlib.suppress(FileNotFoundError, NotRegularError), reading(before, follow=False) as source:
                while chunk := source.read(READ_BYTES):
                    self.write(chunk)

    def write(self, data: bytes | memoryview) -> None:
        """Add output."""
        view = memoryview(data)
        while view:
            if self._room <= 0 and not self._next_file():
                break
            try:
                if self._gap:
                    self._room -= os.write(self._fd, f"\n[mltrack: {self.lost:,} bytes lost by now]\n".encode())
                    self._gap = False
                written = os.write(self._fd, view[: max(self._room, 1)])
            except OSError:
                break
            self._room -= written
            view = view[written:]
        self.lost += len(view)
        self._gap = self._gap or bool(view)

    def _resume_tails(self) -> None:
        """Append to the tail that an earlier launch was writing when it was killed."""
        tails = sorted(filter(Path.exists, self._tails), key=_age)
        self._was_cut = len(tails) == len(self._tails)  # by an unknown number of bytes
        if tails:
            self._tail = self._tails.index(tails[-1])
            self._fd = os.open(tails[-1], os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            self._room = self._tail_max - os.fstat(self._fd).st_size

    def _next_file(self) -> bool:
        """Start the next tail file; its old content is dropped."""
        self._tail = (self._tail + 1) % len(self._tails)
        path = self._tails[self._tail]
        with contextlib.suppress(OSError):
            self._dropped += path.stat().st_size
        try:
            fd = open_or_make(path, os.O_WRONLY | os.O_TRUNC | os.O_APPEND)
        except OSError:
            return False
        if self._fd != self._lock:
            with contextlib.suppress(OSError):
                os.utime(self._fd, ns=(0, 0))  # complete, so older than what follows within the same tick
            os.close(self._fd)
        self._fd, self._room = fd, self._tail_max
        return True

    def move_to(self, folder: Path) -> None:
        """Use ``folder`` from now on: the store was moved."""
        self._head, self._tails = _files(folder, self.number)

    def finish(self) -> Path | None:
        """Join the head and tails; returns the file, or None without any output. ``close`` must still be called.

        Raises:
            OSError: the disk is full or fails; the head and tails stay.
        """
        tails = sorted(filter(Path.exists, self._tails), key=_age)
        if tails:
            size = self._head.stat().st_size
            try:
                self._append(tails)
            except OSError:
                os.truncate(self._head, size)
                raise
            for path in tails:
                path.unlink()
        if self._head.stat().st_size:
            return self._head
        self._head.unlink()
        return None

    def _append(self, tails: Sequence[Path]) -> None:
        with open(self._head, "ab") as file:
            if self._was_cut or self._dropped:
                many = "at least " if self._was_cut else ""
                file.write(f"\n[mltrack: {many}{self._dropped:,} bytes of output omitted here]\n".encode())
            for part in tails:
                with reading(part, follow=False) as source:
                    while chunk := source.read(READ_BYTES):
                        file.write(chunk)

    def close(self) -> None:
        """Release the log for other launches; calling it again does nothing."""
        for fd in {self._fd, self._lock} - {-1}:
            os.close(fd)
        self._fd = self._lock = -1


def _open_locked(path: Path) -> int:
    """A log's head, open for appending and locked until it is closed.

    Raises:
        BusyError: another process holds it.
        OSError: it can't be written.
    """
    while True:
        fd = open_or_make(path, os.O_WRONLY | os.O_APPEND)
        if try_lock(fd) is False:
            os.close(fd)
            raise BusyError(f"{path} is being written", hint="wait until that launch has ended")
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(fd), os.stat(path)):
                return fd
        os.close(fd)  # between opening and locking it became an artifact


def open_log(folder: Path, artifacts: Path, bytes_max: int = LOG_BYTES_MAX) -> OutputLog:
    """The first log of a run that no process writes; it appends to what ``folder`` or the artifact holds.

    Raises:
        BusyError: all are being written.
        OSError: the folder can't be made or written.
    """
    for number in range(LOGS_MAX):
        with contextlib.suppress(BusyError):
            return OutputLog(folder, bytes_max, number=number, before=artifacts / log_name(number))
    raise BusyError(f"{LOGS_MAX:,} launches record into one run", hint="wait until some have ended")


def unfinished(folder: Path) -> list[int]:
    """The numbers of the logs in ``folder``: still written, or left by launchers that were killed."""
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(int(found[1] or 0) for found in map(_HEAD.fullmatch, names) if found is not None)


def read_output(folder: Path, start: int = 0, *, number: int = 0) -> Iterator[bytes]:
    """The output in ``folder``, from byte ``start`` on; not exact once the log exceeds its limit."""
    position = 0
    head, tails = _files(folder, number)
    for path in (head, *sorted(tails, key=_age)):
        try:
            with reading(path, follow=False) as file:
                size = os.fstat(file.fileno()).st_size
                if position + size > start:
                    file.seek(max(0, start - position))
                    while chunk := file.read(READ_BYTES):
                        yield chunk
                position += size
        except (FileNotFoundError, NotRegularError):
            continue


def _age(path: Path) -> tuple[int, int]:
    """Sorts the older tail first: the one that is complete, or else was written before, or else is full."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return 0, 0
    return stat.st_mtime_ns, -stat.st_size
