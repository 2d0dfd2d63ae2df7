"""What tells that files below a folder have changed: watchdog, where the file system does, or nothing."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, Protocol

from mltrack.process.trouble import TROUBLE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Events", "NoEvents", "folder_events"]


class Events(Protocol):
    """Where changes are told."""

    def follow(self, folder: Path) -> None:
        """Tell of changes below this folder too, if it is there and they can be had."""

    def close(self) -> None:
        """Tell of no more."""


class NoEvents:
    """Tells of no changes: the clock has to do."""

    def follow(self, folder: Path) -> None:
        """There is nothing to follow."""

    def close(self) -> None:
        """There is nothing to stop."""


_observed_by: int | None = None  # the process whose watchdog it is: a forked child would take its parent's events


def folder_events(wake: Callable[[], None]) -> Events | None:
    """Events by watchdog; None where there are none, as on a system without, or in a forked child."""
    global _observed_by
    if _observed_by not in (None, os.getpid()):
        return None
    try:
        from watchdog.observers import Observer

        observer = Observer()
        observer.start()
    except TROUBLE:  # no descriptor, no thread: the clock has to do
        return None
    _observed_by = os.getpid()
    return _Watchdog(observer, wake)


class _Watchdog:
    """Watchdog's events, of those kinds that come when a file is done, not with each write."""

    def __init__(self, observer: object, wake: Callable[[], None]) -> None:
        from watchdog.events import FileSystemEvent, FileSystemEventHandler

        class Handler(FileSystemEventHandler):
            def on_any_event(self, event: FileSystemEvent) -> None:
                wake()

        self._observer: Any = observer
        self._handler = Handler()
        self._followed: dict[Path, tuple[int, object]] = {}

    def follow(self, folder: Path) -> None:
        """Follow it, and again where it was made anew."""
        from watchdog import events

        try:
            number = os.stat(folder).st_ino
        except OSError:
            return
        held = self._followed.get(folder)
        if held is not None and held[0] == number:
            return
        kinds = [
            events.FileClosedEvent,
            events.FileCreatedEvent,
            events.FileMovedEvent,
            events.DirCreatedEvent,
            events.DirMovedEvent,
        ]
        if held is not None:
            with contextlib.suppress(KeyError, OSError):
                self._observer.unschedule(held[1])
        watch: object = None
        with contextlib.suppress(*TROUBLE):  # no more watches to be had: the clock has to do
            watch = self._observer.schedule(self._handler, str(folder), recursive=True, event_filter=kinds)
        self._followed[folder] = (number, watch)

    def close(self) -> None:
        """Stop the observer."""
        self._observer.stop()
        self._observer.join()
