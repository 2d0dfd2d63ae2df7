"""Sync cycles in a loop: woken by watchdog when a run begins, and by the clock in any case.

Points reach the disk through mapped memory, and file events do not cross network file systems: polling is the floor.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from mltrack.errors import BusyError, MltrackError
from mltrack_sync.errors import RemoteUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from watchdog.observers.api import BaseObserver

    from mltrack.store import Store
    from mltrack_sync.report import PushReport

__all__ = ["Trigger", "watch"]

INTERVAL_S = 5.0
WAIT_MAX_S = 30.0
WAIT_MAX_INTERVALS = 20
"""The longest wait for an unreachable remote: the shorter of the two."""

WOKEN_S = 0.2
"""How soon after a cycle the next may follow: it takes along what happens meanwhile."""

BREATHER_MAX_S = 10.0


CURED_EVERY_S = 300.0
"""How often a loop checks whether the remote now takes what it refused."""


class Trigger:
    """Waits between cycles, for a time or until something happens in the store; and knows when to stop."""

    def __init__(self) -> None:
        self._woken = threading.Event()
        self._pass = threading.Event()
        self.stop = threading.Event()

    def wake(self) -> None:
        """Something happened."""
        self._woken.set()

    def end(self) -> None:
        """Stop the loop, and the cycle that runs."""
        self.stop.set()
        self._pass.set()
        self._woken.set()

    def new_cycle(self) -> threading.Event:
        """What stops the cycle that now begins. A cycle that fails sets it too, and that must not end the loop."""
        self._pass = threading.Event()
        if self.stop.is_set():
            self._pass.set()
        return self._pass

    def wait(self, seconds: float) -> None:
        """Return after that time, or earlier when woken."""
        self._woken.wait(seconds)
        if not self.stop.is_set():
            self._woken.clear()


def watch(
    store: Store,
    one_cycle: Callable[[threading.Event], PushReport],
    *,
    on_cycle: Callable[[PushReport], None],
    on_trouble: Callable[[Exception], None],
    interval_s: float = INTERVAL_S,
    patient: bool = False,
    share: float = 1.0,
    rest_s: float = 0.0,
    trigger: Trigger | None = None,
) -> None:
    """Run ``one_cycle(stop)`` again and again until the trigger is ended; an unreachable remote is waited for.

    Once a cycle has succeeded, or from the beginning where ``patient``, no error ends the loop: each is passed to
    ``on_trouble``, and waits grow. ``share`` is how much of one processor the cycles may take. After a cycle that sent
    something, the next one begins ``rest_s`` later, whatever happens in the store.

    Raises:
        MltrackError: an error that waiting does not cure: not an MLflow server, no access, a bad selection.
    """
    trigger = trigger or Trigger()
    observer = _observe(store, trigger)
    pause = interval_s
    wait_max_s = max(interval_s, min(WAIT_MAX_S, WAIT_MAX_INTERVALS * interval_s))
    try:
        while not trigger.stop.is_set():
            used, rest = time.process_time(), 0.0
            try:
                report = one_cycle(trigger.new_cycle())
                rest = rest_s if report.requests else 0.0
                on_cycle(report)
                pause, patient = interval_s, True
            except (MltrackError, OSError) as error:
                if not patient and not isinstance(error, (RemoteUnavailableError, BusyError)):
                    raise
                on_trouble(error)
                pause = min(pause * 2, wait_max_s)
            used = time.process_time() - used
            breather = max(min(used / share - used, BREATHER_MAX_S), min(WOKEN_S, interval_s), rest)
            trigger.stop.wait(breather)
            trigger.wait(max(pause - breather, 0))
    finally:
        if observer is not None:
            observer.stop()
            observer.join()


def _observe(store: Store, trigger: Trigger) -> BaseObserver | None:
    """Wake the trigger when runs begin or are edited; None where the system offers no such events."""
    from watchdog.events import FileSystemEvent, FileSystemEventHandler
    from watchdog.observers import Observer

    class Handler(FileSystemEventHandler):
        def on_any_event(self, event: FileSystemEvent) -> None:
            if event.event_type in ("created", "moved"):
                trigger.wake()

    observer = Observer()
    try:
        for folder in (store.layout.changed, store.layout.runs):
            folder.mkdir(exist_ok=True)
            observer.schedule(Handler(), str(folder))
        observer.start()
    except OSError:
        return None
    return observer
