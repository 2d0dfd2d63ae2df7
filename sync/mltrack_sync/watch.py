"""Passes in a loop: woken by watchdog when a run begins or ends, and by the clock in any case.

Points reach the disk through mapped memory, and file events do not cross network file systems: polling is the floor.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from mltrack.errors import BusyError
from mltrack_sync.errors import RemoteUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from watchdog.observers.api import BaseObserver

    from mltrack.errors import MltrackError
    from mltrack.reading import Store
    from mltrack_sync.report import PushReport

__all__ = ["Waker", "watch"]

INTERVAL_S = 5.0
WAIT_MAX_S = 300.0


class Waker:
    """Waits between passes, for a time or until something happens in the store; and knows when to stop."""

    def __init__(self) -> None:
        self._woken = threading.Event()
        self.stop = threading.Event()

    def wake(self) -> None:
        """Something happened."""
        self._woken.set()

    def end(self) -> None:
        """Stop the loop, and the pass that runs."""
        self.stop.set()
        self._woken.set()

    def wait(self, seconds: float) -> None:
        """Return after that time, or earlier when woken."""
        self._woken.wait(seconds)
        if not self.stop.is_set():
            self._woken.clear()


def watch(
    store: Store,
    one_pass: Callable[[threading.Event], PushReport],
    *,
    on_pass: Callable[[PushReport], None],
    on_trouble: Callable[[MltrackError], None],
    interval_s: float = INTERVAL_S,
    waker: Waker | None = None,
) -> None:
    """Run ``one_pass(stop)`` again and again until the waker is ended. A remote that is away is waited for.

    Raises:
        MltrackError: what waiting does not mend: no MLflow server there, no entry, a bad selection.
    """
    waker = waker or Waker()
    observer = _observe(store, waker)
    pause = interval_s
    try:
        while not waker.stop.is_set():
            try:
                on_pass(one_pass(waker.stop))
                pause = interval_s
            except (RemoteUnavailableError, BusyError) as error:
                on_trouble(error)
                pause = min(pause * 2, max(WAIT_MAX_S, interval_s))
            waker.wait(pause)
    finally:
        if observer is not None:
            observer.stop()
            observer.join()


def _observe(store: Store, waker: Waker) -> BaseObserver | None:
    """Wake the waker when runs begin, end or are edited; None where the system offers no such events."""
    from watchdog.events import FileSystemEvent, FileSystemEventHandler
    from watchdog.observers import Observer

    class Handler(FileSystemEventHandler):
        def on_any_event(self, event: FileSystemEvent) -> None:
            if event.event_type in ("created", "deleted", "moved"):
                waker.wake()

    observer = Observer()
    try:
        for folder in (store.layout.changed, store.layout.runs):
            folder.mkdir(exist_ok=True)
            observer.schedule(Handler(), str(folder))
        observer.start()
    except OSError:
        return None
    return observer
