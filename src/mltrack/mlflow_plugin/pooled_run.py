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
"""How long a folder's time can't show another change after one: clocks tick coarsely."""


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

    def has_new_writer(self) -> bool:
        """Whether there is a new writer since the last call, as a process that deletes or ends a run is one.

        Raises:
            FileNotFoundError: the run was removed.
        """
        before, self._noticed = self._noticed, os.stat(self._events).st_mtime_ns
        return self._noticed != before

    def catch_up(self, now: float) -> None:
        """Read what was written since, if there is a new writer: a process that deletes a run is one.

        If the disk fails or descriptors have run out, the run is used as it was last read.

        Raises:
            FileNotFoundError: the run was removed.
        """
        try:
            self._catch_up(now)
        except FileNotFoundError:
            raise
        except OSError:
            self._settled = False

    def _catch_up(self, now: float) -> None:
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
        """Read what was written since, if the disk allows it. The lock is held."""
        with contextlib.suppress(OSError):
            self.state.update()

    def emit(self, events: Iterable[Mapping[str, Any]]) -> bool:
        """Add events; False if another thread has closed the run meanwhile.

        Raises:
            StoreError: the store can't be written to.
        """
        with self.lock:
            if not self.closed:
                self.recorder.start(events)
            return not self.closed

    def close(self, *events: dict[str, Any]) -> bool:
        """Add the last events and close the run; False if another thread has done so."""
        with self.lock:
            if self.closed:
                return False
            self.closed = True
            self.recorder.close(*events)
            return True
