"""A log that many processes change: read without a lock, changed under one that is held for a few milliseconds."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING, Any

from mltrack.disk.filesystem import LOCAL, FileSystem, NotRegularError, reading
from mltrack.disk.flusher import FLUSHER
from mltrack.disk.jsonlog import JsonLog, check_lines, read_log
from mltrack.disk.locks import file_lock
from mltrack.errors import CorruptionError, StoreError
from mltrack.process.forks import Stage, after_fork_in_child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mltrack.disk.fields import Records

__all__ = ["SharedLog"]

LOCK_TIMEOUT_S = 30.0
REMEMBERED_BYTES = 64


class SharedLog:
    """One such file: the experiments, the registry, a logged model."""

    def __init__(self, path: Path, records: Records, *, clock: Callable[[], int], fs: FileSystem = LOCAL) -> None:
        """Use a log, which need not exist yet; its lock is the file ``lock`` in the same folder.

        Args:
            path: The log.
            records: The schema of its lines.
            clock: The time now, in ns since the epoch.
            fs: The file system to write with.
        """
        self._records = records
        self.path = path
        self._lock = path.with_name("lock")
        self._clock = clock
        self._fs = fs
        self.damage: list[CorruptionError] = []
        self._seen: tuple[int, int, int, int] | None = None  # the file that follow() read: device, inode, size, mtime
        self._end = 0  # how far it read
        self._last = b""  # the last bytes before that

    def replay(self, apply: Callable[[dict[str, Any]], None]) -> int:
        """Call ``apply`` with each good line, in order; returns their count. Bad ones are added to ``damage``."""
        read = read_log(self.path, records=self._records)
        self.damage = list(read.damage)
        self._give(read.lines, apply)
        return len(read.lines)

    def follow(self, apply: Callable[[dict[str, Any]], None], restart: Callable[[], None]) -> None:
        """Call ``apply`` with the good lines added since the last call; a log only grows, so they are all that is new.

        If the file was replaced (restored from a copy), ``restart`` is called and all of it is read. Call it from one
        thread at a time; ``damage`` then covers all that was read.
        """
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            if self._seen is not None:
                self._start_over(restart)
            return
        seen = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        if seen == self._seen:
            return
        if self._seen is not None and not self._is_same(seen):
            self._start_over(restart)
        read = read_log(self.path, self._end, records=self._records)
        self.damage += read.damage
        self._give(read.lines, apply)
        self._seen, self._end = seen, read.end
        self._last = self._before(read.end)

    def _is_same(self, seen: tuple[int, int, int, int]) -> bool:
        return seen[:2] == (self._seen or ())[:2] and seen[2] >= self._end and self._before(self._end) == self._last

    def _before(self, end: int) -> bytes:
        start = max(0, end - REMEMBERED_BYTES)
        try:
            with reading(self.path) as file:
                return os.pread(file.fileno(), end - start, start)
        except (FileNotFoundError, NotRegularError):
            return b""

    def _start_over(self, restart: Callable[[], None]) -> None:
        self._seen, self._end, self._last, self.damage = None, 0, b"", []
        restart()

    def _give(self, lines: list[dict[str, Any]], apply: Callable[[dict[str, Any]], None]) -> None:
        for line in lines:
            try:
                apply(line)
            except (KeyError, TypeError, ValueError):
                message = f"{self.path}: a {line.get('type')!r} without the fields it needs"
                self.damage.append(
                    CorruptionError(message, path=str(self.path), hint="was it written by another program?")
                )

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the lock, to read and append without another process in between.

        Raises:
            BusyError: another process holds it for too long.
            StoreError: the store can't be written.
        """
        try:
            with file_lock(self._lock, timeout_s=LOCK_TIMEOUT_S):
                yield
        except OSError as error:
            raise StoreError(
                f"{self.path} can't be changed: {error.strerror or error}",
                hint="check the store's permissions and the space on its disk",
            ) from error

    def check(self, *lines: dict[str, Any]) -> None:
        """Check lines that are to be added, before anything is made for them.

        Raises:
            UsageError: readers would refuse one.
        """
        check_lines(({"time": 0, **line} for line in lines), self._records, self.path.name)

    def append(self, *lines: dict[str, Any], soon: bool = False) -> None:
        """Add lines, each with its time; on return they survive ``kill -9``. The lock is held by the caller.

        They survive power loss too; with ``soon`` only half a second later, which the caller does not wait for.

        Raises:
            UsageError: readers would refuse one; nothing was added.
            OSError: they could not be added.
        """
        timed = [{"time": self._clock(), **line} for line in lines]
        self.check(*timed)
        log = JsonLog(self.path, records=None, fs=self._fs, placed=not self._records.numbered)
        try:
            is_new = log.size == 0
            log.append(timed)
            if soon and not is_new:
                _UNSYNCED.add(self.path, self._fs)
            else:
                log.sync()
        finally:
            log.close()


class _Unsynced:
    """Logs whose last lines are not synced yet; the flusher syncs them."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._paths: dict[Path, FileSystem] = {}

    def after_fork(self) -> None:
        """In a forked child: the parent syncs what it added."""
        self._reset()

    def add(self, path: Path, fs: FileSystem) -> None:
        """Sync it soon."""
        with self._lock:
            if not self._paths:
                FLUSHER.add(self)
            self._paths[path] = fs

    def sync(self) -> None:
        """Sync them all; one that was removed, or that the disk refuses, is dropped."""
        with self._lock:
            todo, self._paths = self._paths, {}
            FLUSHER.remove(self)
        for path, fs in todo.items():
            with contextlib.suppress(OSError):
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    fs.sync(fd)
                finally:
                    os.close(fd)

    def pulse(self) -> None:
        """Does nothing: logs have no pulse."""


_UNSYNCED = _Unsynced()
after_fork_in_child(Stage.DISK, _UNSYNCED.after_fork)
