"""Signals that come at any moment, to see what an interrupt leaves."""

from __future__ import annotations

import gc
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def alarms(handler: Callable[[], None], every_s: float = 0.0003) -> Iterator[None]:
    """Call ``handler`` again and again in this thread, between any two of its bytecodes that allow it."""
    before = signal.signal(signal.SIGALRM, lambda number, frame: handler())
    gc.disable()  # an interrupt in a finalizer of what other tests left would be told as an error of this one
    signal.setitimer(signal.ITIMER_REAL, every_s, every_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.enable()


def interrupted(call: Callable[[], object], times: int) -> None:
    """Call again and again until an interrupt comes, at any moment; so many times over."""

    def handler(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    chance = random.Random(times)
    before = signal.signal(signal.SIGALRM, handler)
    gc.disable()
    try:
        for _ in range(times):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0001 + chance.random() * 0.002)
                while True:
                    call()
            except KeyboardInterrupt:
                pass
    finally:
        signal.signal(signal.SIGALRM, before)
        gc.enable()
