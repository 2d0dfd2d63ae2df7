"""Whether a writer's process still runs: by its lock, or where locks don't work by its pid or its pulse."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING

from mltrack.disk.filesystem import open_regular
from mltrack.disk.locks import open_lock, unlock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["PULSE_INTERVAL_S", "PULSE_LOST_S", "holds_lock", "is_alive", "is_locked", "own_lock"]

PULSE_INTERVAL_S = 15.0
"""How often a writer without a lock touches its events file."""

PULSE_LOST_S = 300.0
"""A writer without a lock, on another host, counts as dead once its events file was not touched for this long."""


def holds_lock(events_file: Path) -> bool:
    """Whether some process holds the writer's lock. A check takes it shared, so checks don't disturb each other."""
    try:
        fd = open_regular(events_file)
    except OSError:
        return False
    try:
        return is_locked(fd)
    finally:
        os.close(fd)


def is_locked(fd: int) -> bool:
    """The same of an open events file, whose descriptor is of no further use than to read and to close it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def is_alive(
    events_file: Path, *, locked: bool, host: str, pid: int, opened_ns: int, now: Callable[[], float] = time.time
) -> bool:
    """Whether the writer of an events file still runs.

    Args:
        events_file: The file.
        locked: Whether the writer could take its lock.
        host: The host it ran on.
        pid: Its process id on that host.
        opened_ns: When it started, in ns since the epoch.
        now: The time now, in seconds since the epoch.
    """
    if locked:
        return holds_lock(events_file)
    if host == os.uname().nodename:
        import psutil

        try:
            return bool(psutil.Process(pid).create_time() * 1e9 <= opened_ns + 1e9)
        except psutil.Error:
            return False
    try:
        return now() - os.stat(events_file).st_mtime < PULSE_LOST_S
    except OSError:
        return False


@contextlib.contextmanager
def own_lock(events_file: Path) -> Iterator[bool]:
    """Hold a dead writer's lock for the body; yields False, without the lock, if it lives or another one seals it."""
    try:
        fd = open_lock(events_file, make=False)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            try:
                yield True
            finally:
                unlock(fd)
    finally:
        os.close(fd)
