"""A log that many processes change: read without a lock, changed under one that is held for a few milliseconds."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from mltrack.errors import CorruptionError, StoreError
from mltrack.fs import LOCAL, FileSystem, file_lock
from mltrack.jsonlog import JsonLog, read_log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mltrack.store.layout import Layout

__all__ = ["SharedLog"]

LOCK_TIMEOUT_S = 30.0


class SharedLog:
    """One such file in a store's workspace folder."""

    def __init__(self, layout: Layout, name: str, *, clock: Callable[[], int], fs: FileSystem = LOCAL) -> None:
        """``clock`` gives ns since the epoch."""
        self.path = layout.workspace / name
        self._lock = layout.workspace / "lock"
        self._clock = clock
        self._fs = fs
        self.damage: list[CorruptionError] = []

    def replay(self, apply: Callable[[dict[str, Any]], None]) -> int:
        """Give each good line to ``apply``, in order; returns how many there were. Others are put into ``damage``."""
        read = read_log(self.path)
        self.damage = list(read.damage)
        for line in read.lines:
            try:
                apply(line)
            except (KeyError, TypeError, ValueError):
                message = f"{self.path}: a {line.get('type')!r} without what that needs"
                self.damage.append(
                    CorruptionError(message, path=str(self.path), hint="was it written by another program?")
                )
        return len(read.lines)

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the workspace's lock, to look and append without another coming between.

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

    def append(self, *lines: dict[str, Any]) -> None:
        """Add lines, each with its time; on return they survive power loss. The lock is held by the caller.

        Raises:
            OSError: they could not be added.
        """
        log = JsonLog(self.path, fs=self._fs)
        try:
            log.append([{"time": self._clock(), **line} for line in lines])
            log.sync()
        finally:
            log.close()
