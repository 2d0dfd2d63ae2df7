"""A run that this process has open for writing through MLflow."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING, Any

from mltrack.entities import ACTIVE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mltrack.journal.recorder import Recorder
    from mltrack.storage.runs.state import RunState

__all__ = ["OpenRun"]

SETTLE_S = 0.05
"""For how long after a folder changed its time is not yet trusted to tell of a further change: clocks tick coarsely."""


class OpenRun:
    """One run open for writing. Points need no lock; ``lock`` is held over its events and its end."""

    __slots__ = (
        "_events",
        "_noticed",
        "_seen",
        "_seen_at",
        "_settled",
        "closed",
        "lock",
        "recorder",
        "stage",
        "state",
        "used",
    )

    def __init__(self, recorder: Recorder, state: RunState) -> None:
        self.recorder = recorder
        self.state = state
        self.lock = threading.RLock()
        self.closed = False
        self.stage = ACTIVE
        self.used = 0.0
        self._events = str(recorder.folder.events)
        self._seen = 0
        self._seen_at = 0.0
        self._settled = False
        self._noticed = 0

    def others_came(self) -> bool:
        """Whether a writer has come since this was last asked, as whoever deletes or ends a run is one.

        Raises:
            FileNotFoundError: the run is gone.
        """
        before, self._noticed = self._noticed, os.stat(self._events).st_mtime_ns
        return self._noticed != before

    def look(self, now: float) -> None:
        """Read what was written meanwhile, if a writer has come since: whoever deletes a run is a new one.

        Where the disk fails or descriptors have run out, what is known of the run holds: its calls go on.

        Raises:
            FileNotFoundError: the run is gone.
        """
        try:
            self._look(now)
        except FileNotFoundError:
            raise
        except OSError:
            self._settled = False

    def _look(self, now: float) -> None:
        changed = os.stat(self._events).st_mtime_ns
        if changed == self._seen and self._settled:
            return
        with self.lock:
            if changed != self._seen:
                self._seen, self._seen_at = changed, now
            self._settled = now - self._seen_at > SETTLE_S
            self.state.update()
            self.stage = self.state.stage if self.state.exists else ACTIVE  # none yet: the disk was full at its start

    def refresh(self) -> None:
        """Read what was written meanwhile, as far as the disk lets us. The lock is held."""
        with contextlib.suppress(OSError):
            self.state.update()

    def emit(self, events: Iterable[Mapping[str, Any]]) -> bool:
        """Add events; False where another thread has let go of the run meanwhile.

        Raises:
            StoreError: the store can't be written to.
        """
        with self.lock:
            if not self.closed:
                self.recorder.start(events)
            return not self.closed

    def close(self, *events: dict[str, Any]) -> bool:
        """Add the last events and let go of the run; False where another thread has done so."""
        with self.lock:
            if self.closed:
                return False
            self.closed = True
            self.recorder.close(*events)
            return True
