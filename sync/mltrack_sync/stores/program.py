"""A program that is started to reach a store elsewhere: its standard input and output are the connection."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import threading
from typing import TYPE_CHECKING, BinaryIO, cast

from mltrack.text.printing import say

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mltrack.errors import MltrackError

__all__ = ["ProgramWire", "has_terminal"]

STDERR_KEPT_BYTES = 16 << 10
SHOWN_AFTER_S = 2.0
"""What the program says on its standard error is shown after so long, where somebody is at a terminal: a banner, or
that a key has to be touched. A program that ends sooner has its last line in the error's message instead."""

HELLO_TIMEOUT_S = 120.0
END_TIMEOUT_S = 5.0
PIPE_BYTES = 1 << 20


def has_terminal() -> bool:
    """Whether somebody can be asked for a password."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


class ProgramWire:
    """A started program.

    Args:
        argv: The program and its arguments.
        explain: Makes the error for when no hello came, of the exit code (None: still running), what it said on its
            standard error, and what it printed instead of a hello.
        interactive: Somebody is at a terminal, and may be asked for a password.

    Raises:
        OSError: it can't be started.
    """

    def __init__(
        self,
        argv: Sequence[str],
        explain: Callable[[int | None, str, str], MltrackError],
        *,
        interactive: bool = False,
    ) -> None:
        self._explain = explain
        self._interactive = interactive
        self._said = bytearray()
        self._shown = 0
        self._greeted = False
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=-1
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        for stream in (self._process.stdin, self._process.stdout):
            _widen(stream.fileno())
        self.reader = cast("BinaryIO", self._process.stdout)
        self.write_fd = self._process.stdin.fileno()
        self._listener = threading.Thread(target=self._listen, name="mltrack-ssh-stderr", daemon=True)
        self._listener.start()
        if interactive:
            timer = threading.Timer(SHOWN_AFTER_S, self._show)
            timer.daemon = True
            timer.start()

    @property
    def pid(self) -> int:
        """The program's process."""
        return self._process.pid

    @property
    def hello_timeout_s(self) -> float | None:
        """None where somebody may be typing a password."""
        return None if self._interactive else HELLO_TIMEOUT_S

    def greeted(self) -> None:
        """The hello has come: nothing that was said before it is shown any more."""
        self._greeted = True

    def explain(self, noise: str) -> MltrackError:
        """Why no hello came."""
        code: int | None = None
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._process.wait(END_TIMEOUT_S)
            self._listener.join(1.0)
        return self._explain(code, bytes(self._said).decode("utf-8", "replace"), noise)

    def close_write(self) -> None:
        """End the program's input."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def close(self) -> None:
        """Wait a little until the program has ended, then end it by signals."""
        try:
            self._process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_TIMEOUT_S)
            self._process.kill()
            self._process.wait()

    # --- what it says ---

    def _listen(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stream:
            while data := os.read(stream.fileno(), 4096):
                with self._lock:
                    self._said += data
                    cut = len(self._said) - STDERR_KEPT_BYTES
                    if cut > 0:
                        del self._said[:cut]
                        self._shown = max(0, self._shown - cut)
                if self._shown:
                    self._show()

    def _show(self) -> None:
        if self._greeted or self._process.poll() is not None:
            return
        with self._lock:
            text = bytes(self._said[self._shown :]).decode("utf-8", "replace")
            self._shown = len(self._said)
        with contextlib.suppress(OSError, ValueError):
            for line in text.splitlines():
                say(line, err=True)


def _widen(fd: int) -> None:
    """Let a pipe hold more, where the system allows it: fewer switches between two processes."""
    with contextlib.suppress(OSError, AttributeError):
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
