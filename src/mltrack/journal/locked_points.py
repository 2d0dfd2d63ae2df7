"""The point journal for interpreters without a global lock: each call takes the journal's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, SupportsFloat, SupportsIndex

from mltrack.journal.points import PointJournal

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LockedPointJournal"]


class LockedPointJournal(PointJournal):
    """The same for an interpreter that runs threads at the same time (no global interpreter lock)."""

    def log(self, key: str, value: SupportsFloat, step: SupportsIndex | None = None, time: int | None = None) -> None:
        """One point."""
        with self.lock:
            super().log(key, value, step, time)

    def log_many(
        self, values: Mapping[str, SupportsFloat], step: SupportsIndex | None = None, time: int | None = None
    ) -> None:
        """One point for each key."""
        with self.lock:
            super().log_many(values, step, time)
