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
"""The size asked for a pipe, so that the program seldom waits for its output to be taken."""


class Channel(NamedTuple):
    """A way out of a program: it writes to ``inner``, we read from ``outer``."""

    outer: int
    inner: int
    is_terminal: bool


def open_channel(onward: int | None) -> Channel:
    """A terminal as wide and as high as ours where the output goes on to one, or else a pipe.

    Raises:
        OSError: no more files can be opened.
    """
    if onward is not None and os.isatty(onward):
        with contextlib.suppress(OSError, termios.error):  # none left: a pipe will do
            return _open_terminal(onward)
    outer, inner = os.pipe()
    with contextlib.suppress(OSError, AttributeError):
        fcntl.fcntl(outer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return Channel(outer, inner, is_terminal=False)


def _open_terminal(like: int) -> Channel:
    outer, inner = os.openpty()
    try:
        attributes = termios.tcgetattr(inner)
        attributes[1] &= ~termios.OPOST  # bytes pass as they are: the real terminal makes of them what it does
        attributes[3] &= ~(termios.ECHO | termios.ICANON | termios.ISIG)
        termios.tcsetattr(inner, termios.TCSANOW, attributes)
        copy_size(like, outer)
    except (OSError, termios.error):
        os.close(outer)
        os.close(inner)
        raise
    return Channel(outer, inner, is_terminal=True)


def copy_size(source: int, target: int) -> None:
    """Give one terminal the size of another; does nothing where either has none."""
    with contextlib.suppress(OSError, termios.error):
        termios.tcsetwinsize(target, termios.tcgetwinsize(source))


def read_some(fd: int, buffer: memoryview) -> int:
    """Read what there is; returns how many bytes, 0 at the end."""
    try:
        return os.readv(fd, [buffer])
    except OSError as error:
        if error.errno == errno.EIO:  # how a terminal says that nobody has it open any more
            return 0
        raise
