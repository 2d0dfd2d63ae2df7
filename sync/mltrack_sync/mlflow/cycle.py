"""What the workers of one cycle, a push or a pull, share whatever they do: counts, problems, and the stop."""

from __future__ import annotations

import threading
from collections import Counter

from mltrack.text.redaction import hide
from mltrack_sync.errors import PushStopped

__all__ = ["CycleState"]


class CycleState:
    """A cycle in progress. Safe to use from many threads."""

    def __init__(self, stop: threading.Event) -> None:
        """``stop`` is set when no further job is to begin."""
        self.stop = stop
        self.fatal: BaseException | None = None
        self.problems: list[str] = []
        self.counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add_counts(self, counts: dict[str, int]) -> None:
        """Add to the counts of the report."""
        with self._lock:
            self.counts.update(counts)

    def check(self) -> None:
        """Check, between requests, whether to go on.

        Raises:
            PushStopped: the cycle is to stop.
        """
        if self.stop.is_set():
            raise PushStopped

    def fail(self, error: BaseException) -> None:
        """End the cycle with this error; the first one counts."""
        with self._lock:
            self.fatal = self.fatal or error
        self.stop.set()

    def problem(self, words: str) -> None:
        """Note something that will be retried in the next cycle."""
        with self._lock:
            self.problems.append(hide(words))
