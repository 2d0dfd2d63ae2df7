"""A terminal that says it can show images, and keeps what a program sends to it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

WAIT_S = 60.0
QUESTION = re.compile(rb"(?P<attributes>\x1b\[c)|\x1b_Gi=(?P<kitty>\d+)[^\x1b]*a=q[^\x1b]*\x1b\\|(?P<cell>\x1b\[16t)")


class PixelTerminal:
    """80 by 24 characters of 10 by 20 pixels; ``sixels`` or Kitty's graphics protocol."""

    def __init__(self, ours: int, *, sixels: bool) -> None:
        self._ours = ours
        self._sixels = sixels
        self._answered = 0
        self.shown = b""

    def press(self, keys: bytes) -> None:
        """Send keys."""
        os.write(self._ours, keys)

    def wait_for(self, *words: bytes) -> bytes:
        """Read on until any of these words has come, and say which."""
        until = time.monotonic() + WAIT_S
        while not (come := [word for word in words if word in self.shown]):
            assert time.monotonic() < until, f"{words!r} did not come within {WAIT_S:.0f} s: {self.shown[-3000:]!r}"
            if select.select([self._ours], [], [], 0.2)[0]:
                self.shown += os.read(self._ours, 1 << 16)
                self._answer()
        return come[0]

    def _answer(self) -> None:
        for asked in QUESTION.finditer(self.shown, self._answered):
            if asked["attributes"]:
                os.write(self._ours, b"\x1b[?62;4;22c" if self._sixels else b"\x1b[?62;22c")
            elif asked["kitty"]:
                os.write(self._ours, b"\x1b_Gi=" + asked["kitty"] + b";OK\x1b\\")
            else:
                os.write(self._ours, b"\x1b[6;20;10t")
            self._answered = asked.end()


@contextmanager
def pixel_terminal(command: Sequence[str], variables: Mapping[str, str], *, sixels: bool) -> Iterator[PixelTerminal]:
    """Run a program in such a terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 800, 480))
    environment = {**os.environ, "TERM": "xterm-256color", **variables}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    try:
        yield PixelTerminal(ours, sixels=sixels)
    finally:
        process.terminate()
        while process.poll() is None:  # what it draws at its end has to go somewhere
            with contextlib.suppress(OSError):
                if select.select([ours], [], [], 0.1)[0]:
                    os.read(ours, 1 << 16)
        os.close(ours)
