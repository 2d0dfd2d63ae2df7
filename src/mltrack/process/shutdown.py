"""Signals that ask this process to end: remembered, and checked where it can end in order.

A handler that only raises is not enough. Where the signal comes while a destructor or the callback of a weak reference
runs, as imports have them all the time, Python prints the exception and goes on, and the request is lost.
"""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType
    from typing import Self

__all__ = ["SHUTDOWN_SIGNALS", "ShutdownRequested", "ShutdownSignal"]

SHUTDOWN_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class ShutdownRequested(SystemExit):
    """A signal asked this process to end; uncaught, it ends the process without a traceback.

    It is not a `KeyboardInterrupt`: one that is raised in `exec` of text (dataclasses use it while a library is
    imported) is remembered by Python for good, which then ends as if nobody had caught it.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)


class ShutdownSignal:
    """Remembers the signals that come in a ``with`` block; code that waits in it calls ``check`` repeatedly.

    Signals that are ignored when it begins, as under nohup, stay ignored. Enter it in the main thread.
    """

    def __init__(self, numbers: Sequence[int] = SHUTDOWN_SIGNALS, *, raises: bool = False) -> None:
        """``raises``: the handler also raises at once, for a body that does more than wait."""
        self.received: list[int] = []
        self._numbers = numbers
        self._raises = raises
        self._restored = contextlib.ExitStack()

    def __enter__(self) -> Self:
        try:
            for number in self._numbers:
                before = signal.getsignal(number)
                if before not in (signal.SIG_IGN, None):
                    self._restored.callback(signal.signal, number, before)
                    signal.signal(number, self._take)
        except BaseException:  # a signal came in between, to the handler before ours
            self._restored.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._restored.close()

    def check(self) -> None:
        """Return if no signal came so far.

        Raises:
            ShutdownRequested: one came.
            KeyboardInterrupt: it was an interrupt, and the handler ``raises``, as Python's own does.
        """
        if self.received:
            number = self.received[0]
            raise KeyboardInterrupt if self._raises and number == signal.SIGINT else ShutdownRequested(number)

    def _take(self, number: int, _: FrameType | None) -> None:
        self.received.append(number)
        if self._raises:
            self.check()
