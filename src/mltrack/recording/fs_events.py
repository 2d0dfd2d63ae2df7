"""Events about changed files below a folder: by watchdog, if the file system supports it."""

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
    """A source of events."""

    def follow(self, folder: Path) -> None:
        """Report changes below this folder too, if it exists and that is possible."""

    def close(self) -> None:
        """Report no more changes."""


class NoEvents:
    """Reports no changes: polling has to do."""

    def follow(self, folder: Path) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""


_observed_by: int | None = None  # the process whose watchdog it is: a forked child would take its parent's events


def folder_events(wake: Callable[[], None]) -> Events | None:
    """Events by watchdog; None if it can't run, as without free descriptors or in a forked child."""
    global _observed_by
    if _observed_by not in (None, os.getpid()):
        return None
    try:
        from watchdog.observers import Observer

        observer = Observer()
        observer.start()
    except TROUBLE:  # no descriptor, no thread: polling has to do
        return None
    _observed_by = os.getpid()
    return _Watchdog(observer, wake)


class _Watchdog:
    """Watchdog's events, of the kinds sent when a file is complete, not with each write."""

    def __init__(self, observer: object, wake: Callable[[], None]) -> None:
        from watchdog.events import FileSystemEvent, FileSystemEventHandler

        class Handler(FileSystemEventHandler):
            def on_any_event(self, event: FileSystemEvent) -> None:
                wake()

        self._observer: Any = observer
        self._handler = Handler()
        self._followed: dict[Path, tuple[int, object]] = {}

    def follow(self, folder: Path) -> None:
        """Follow it, and again after it was recreated."""
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
        with contextlib.suppress(*TROUBLE):  # no more watches available: polling has to do
            watch = self._observer.schedule(self._handler, str(folder), recursive=True, event_filter=kinds)
        self._followed[folder] = (number, watch)

    def close(self) -> None:
        """Stop the observer."""
        self._observer.stop()
        self._observer.join()
