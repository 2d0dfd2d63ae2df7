"""The flusher: one background thread a process that makes what was logged survive power loss, twice a second."""

from __future__ import annotations

import threading
import time
from typing import Protocol

from mltrack.process.trouble import TROUBLE, say, words_of

__all__ = ["FLUSHER", "FLUSH_INTERVAL_S", "Flusher"]

FLUSH_INTERVAL_S = 0.5
PULSE_EVERY = 30  # flushes between two signs of life, where there are no locks


class Flushed(Protocol):
    """What the flusher looks after."""

    def sync(self) -> None:
        """Make what was logged survive power loss; does not raise for what the disk does."""

    def pulse(self) -> None:
        """Show life where there are no locks."""


class Flusher:
    """Calls ``sync`` of everything added, until it is removed. The thread starts with the first and is a daemon."""

    def __init__(self, interval_s: float = FLUSH_INTERVAL_S) -> None:
        self._interval_s = interval_s
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._all: list[Flushed] = []
        self._thread: threading.Thread | None = None
        self._said = False

    def add(self, one: Flushed) -> None:
        """Look after ``one`` from now on."""
        with self._lock:
            self._all.append(one)
            self._start()

    def _start(self) -> None:
        """Start the thread where there is none; where none can be had, the next that is added tries again."""
        if self._thread is None or not self._thread.is_alive():  # it may have run out of memory
            thread = threading.Thread(target=self._work, name="mltrack-flusher", daemon=True)
            try:
                thread.start()
            except (RuntimeError, MemoryError) as error:
                self._thread = None
                if not self._said:
                    self._said = True
                    say("%s; until it can, power loss costs all since the last flush() or the start", words_of(error))
            else:
                self._thread = thread

    def remove(self, one: Flushed) -> None:
        """No longer look after ``one``; a sync under way ends on its own."""
        with self._lock:
            self._all = [other for other in self._all if other is not one]

    def after_fork(self) -> None:
        """In a forked child there is no thread and nothing to look after yet."""
        self._reset()

    def _work(self) -> None:
        rounds = 0
        while True:
            time.sleep(self._interval_s)
            with self._lock:
                everything = list(self._all)
                if not everything:
                    self._thread = None
                    return
            rounds += 1
            for one in everything:
                try:
                    one.sync()
                    if rounds % PULSE_EVERY == 0:
                        one.pulse()
                except TROUBLE:  # no memory for it just now: the next round does it
                    continue


FLUSHER = Flusher()
