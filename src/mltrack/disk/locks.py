"""Locks of files, by flock: the only place that takes them. They are freed when their process dies."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from typing import TYPE_CHECKING

from mltrack.disk.filesystem import open_or_make
from mltrack.errors import BusyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["file_lock", "open_lock", "try_lock", "unlock"]

_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}
_HELD = {errno.EACCES, errno.EAGAIN}
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


def try_lock(fd: int) -> bool | None:
    """Take the exclusive lock of an open file: True taken, False held by another, None where locks don't work."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            return False
        if error.errno in _NO_LOCKS:
            return None
        raise
    return True


def open_lock(path: Path, *, make: bool = True) -> int:
    """A lock file, made when missing; another user's that may only be read can be locked as well.

    Raises:
        OSError: it can neither be made nor opened.
    """
    try:
        return open_or_make(path, os.O_RDWR) if make else os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            raise error from None  # no new file can be made in the folder


@contextlib.contextmanager
def file_lock(
    path: Path,
    *,
    timeout_s: float,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[None]:
    """Hold the lock file ``path`` (made when missing) for the body; freed at its end or when the process dies.

    Args:
        path: The lock file.
        timeout_s: How long to wait for another process, in seconds.
        sleep: Waits some seconds.
        clock: Monotonic time, in seconds.

    Raises:
        BusyError: another process still holds it after ``timeout_s`` seconds.
        OSError: the lock file can't be made or opened.
    """
    fd = open_lock(path)
    try:
        until = clock() + timeout_s
        pause = 0.0005
        while try_lock(fd) is False:
            if clock() >= until:
                raise BusyError(f"{path} is locked by another process", hint="try again when it is done")
            sleep(pause)
            pause = min(pause * 2, 0.05)
        yield
    finally:
        unlock(fd)
        os.close(fd)


def unlock(fd: int) -> None:
    """Release a lock, even if a process that was forked meanwhile holds a copy of ``fd``."""
    with contextlib.suppress(OSError):
        fcntl.flock(fd, fcntl.LOCK_UN)
