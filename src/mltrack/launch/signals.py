"""The signals that a launcher gets while its program runs, and how they reach the program."""

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
"""So many signals are passed over once the program has ended, as the rest is soon done; the next one ends us."""


class Signals:
    """Passes the signals we get on to the program; those that came before it ran, once it does.

    Those that are ignored when we start (by ``nohup``) stay so, here and in the program. Once the program has ended, a
    signal no longer interrupts what is left to record. To be entered in the main thread.
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

    def pass_on_to(self, child: subprocess.Popen[bytes], *, on_resize: Sequence[Callable[[], None]] = ()) -> None:
        """From now on, to this one; ``on_resize`` are told when our terminal has another size."""
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
            self._send(number)  # once more: the program may have looked before its terminal was told

    def _send(self, number: int) -> None:
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                self._child.send_signal(number)


def _is_from_terminal(child: int) -> bool:
    """Whether a key at the terminal is what sent us a signal, as far as can be told: then the program got it too.

    That is so where we are used at a terminal, in its foreground, and the program is in the same process group.
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
