"""Pseudo-terminals for a program's output, so that at a terminal it behaves as it does without a launcher."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import termios
from typing import NamedTuple

__all__ = ["Channel", "copy_size", "open_channel", "read_some"]

PIPE_BYTES = 1 << 20
"""The size requested for a pipe, so that the program seldom waits for its output to be read."""


class Channel(NamedTuple):
    """A channel for a program's output: it writes to ``inner``, we read from ``outer``."""

    outer: int
    inner: int
    is_terminal: bool


def open_channel(target: int | None) -> Channel:
    """A terminal with the size of ``target`` if that is one, or else a pipe.

    Raises:
        OSError: no more files can be opened.
    """
    if target is not None and os.isatty(target):
        with contextlib.suppress(OSError, termios.error):  # none available: use a pipe
            return _open_terminal(target)
    outer, inner = os.pipe()
    with contextlib.suppress(OSError, AttributeError):
        fcntl.fcntl(outer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return Channel(outer, inner, is_terminal=False)


def _open_terminal(like: int) -> Channel:
    outer, inner = os.openpty()
    try:
        attributes = termios.tcgetattr(inner)
        attributes[1] &= ~termios.OPOST  # bytes pass unchanged: the real terminal processes them
        attributes[3] &= ~(termios.ECHO | termios.ICANON | termios.ISIG)
        termios.tcsetattr(inner, termios.TCSANOW, attributes)
        copy_size(like, outer)
    except (OSError, termios.error):
        os.close(outer)
        os.close(inner)
        raise
    return Channel(outer, inner, is_terminal=True)


def copy_size(source: int, target: int) -> None:
    """Give one terminal the size of another; does nothing if either has none."""
    with contextlib.suppress(OSError, termios.error):
        termios.tcsetwinsize(target, termios.tcgetwinsize(source))


def read_some(fd: int, buffer: memoryview) -> int:
    """Read what is available; returns the number of bytes, 0 at the end."""
    try:
        return os.readv(fd, [buffer])
    except OSError as error:
        if error.errno == errno.EIO:  # a terminal that no process has open any more
            return 0
        raise
