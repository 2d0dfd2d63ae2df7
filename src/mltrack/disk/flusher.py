"""The flusher: one background thread per process that syncs what was logged, twice a second, against power loss."""

from __future__ import annotations

import threading
import time
from typing import Protocol

from mltrack.process.trouble import TROUBLE, say, words_of

__all__ = ["FLUSHER", "FLUSH_INTERVAL_S", "Flusher"]

FLUSH_INTERVAL_S = 0.5
PULSE_EVERY = 30  # flushes between two pulses, which replace locks where locks don't work


class Syncable(Protocol):
    """What the flusher syncs."""

    def sync(self) -> None:
        """Make what was logged survive power loss; does not raise when the disk fails."""

    def pulse(self) -> None:
        """Show that the writer is alive, where locks don't work."""


class Flusher:
    """Calls ``sync`` of everything added until it is removed. Its daemon thread starts with the first."""

    def __init__(self, interval_s: float = FLUSH_INTERVAL_S) -> None:
        self._interval_s = interval_s
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._all: list[Syncable] = []
        self._thread: threading.Thread | None = None
        self._said = False

    def add(self, one: Syncable) -> None:
        """Sync ``one`` from now on."""
        with self._lock:
            self._all.append(one)
            self._start()

    def _start(self) -> None:
        """Start the thread if it is not running; if it can't be started, the next ``add`` tries again."""
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

    def remove(self, one: Syncable) -> None:
        """Stop syncing ``one``; a sync that is running completes."""
        with self._lock:
            self._all = [other for other in self._all if other is not one]

    def after_fork(self) -> None:
        """In a forked child there is no thread, and nothing to sync yet."""
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
                except TROUBLE:  # no memory at the moment: the next round tries again
                    continue


FLUSHER = Flusher()
