"""Forwards the signals that a launcher gets to its program."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Sequence
    from types import FrameType
    from typing import Self

__all__ = ["Signals"]

FORWARDED = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
FROM_THE_TERMINAL = (signal.SIGINT, signal.SIGQUIT)

LATE_MAX = 1
"""How many signals are ignored once the program has ended, as recording is nearly done; the next one ends us."""


class Signals:
    """Forwards signals to the program; those that came before it ran, once it does.

    Signals that are ignored at the start (by ``nohup``) stay ignored, here and in the program. Once the program has
    ended, a signal does not interrupt the rest of the recording. Enter it in the main thread.
    """

    def __init__(self) -> None:
        self.received: list[int] = []
        self._on_resize: Sequence[Callable[[], None]] = ()
        self._child: subprocess.Popen[bytes] | None = None
        self._late = 0
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        for number in (*FORWARDED, signal.SIGWINCH):
            before = signal.getsignal(number)
            if before not in (signal.SIG_IGN, None):
                self._before[number] = before
                signal.signal(number, self._resized if number == signal.SIGWINCH else self._take)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def forward_to(self, child: subprocess.Popen[bytes], *, on_resize: Sequence[Callable[[], None]] = ()) -> None:
        """Forward to this program from now on; ``on_resize`` is called when our terminal's size has changed."""
        self._on_resize = on_resize
        self._child = child
        for number in tuple(self.received):
            self._send(number)

    def _take(self, number: int, _: FrameType | None) -> None:
        if self._child is not None and self._child.returncode is not None:
            self._late += 1
            if self._late > LATE_MAX:
                raise KeyboardInterrupt
            return
        self.received.append(number)
        if self._child is not None and not (number in FROM_THE_TERMINAL and _is_from_terminal(self._child.pid)):
            self._send(number)

    def _resized(self, number: int, _: FrameType | None) -> None:
        for resize in self._on_resize:
            resize()
        if self._on_resize:
            self._send(number)  # again: the program may have read the size before it was changed

    def _send(self, number: int) -> None:
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                self._child.send_signal(number)


def _is_from_terminal(child: int) -> bool:
    """Whether a signal probably came from a key at the terminal, which sends it to the program too.

    That is so if this process runs in a terminal's foreground, with the program in the same process group.
    """
    if not any(map(os.isatty, (0, 1, 2))):
        return False
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp() == os.getpgid(child)
    except OSError:
        return False
    finally:
        os.close(terminal)
