"""How far a pass is, shown as it goes: points, their rate, the time left, and bytes."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console

__all__ = ["BarProgress", "NoProgress", "Progress"]


class Progress(Protocol):
    """What a pass tells as it goes; called from many threads."""

    def started(self, *, runs: int, points: int) -> None:
        """There is this much to do."""

    def advanced(self, *, points: int, body: int) -> None:
        """So many points more are there; ``body`` bytes were sent for them, or for files."""

    def run_done(self) -> None:
        """One run more is up to date."""


class NoProgress:
    """Shows nothing."""

    def started(self, *, runs: int, points: int) -> None:
        """Nothing."""

    def advanced(self, *, points: int, body: int) -> None:
        """Nothing."""

    def run_done(self) -> None:
        """Nothing."""


class BarProgress:
    """A bar on the terminal."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._bytes = 0
        self._points: Any = None
        self._runs: Any = None
        self._lock = threading.Lock()

    def __enter__(self) -> BarProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def started(self, *, runs: int, points: int) -> None:
        """Draw the bars, anew for each pass."""
        with self._lock:
            for task in (self._points, self._runs):
                if task is not None:
                    self._bar.remove_task(task)
            self._runs = self._bar.add_task("sync", total=runs, unit="runs", rate="")
            self._points = self._bar.add_task("", total=points, unit="points", rate="")

    def advanced(self, *, points: int, body: int) -> None:
        """Move the bar of points; show their rate, and the bytes sent."""
        from rich.filesize import decimal

        if self._points is None:
            return
        with self._lock:
            self._bytes += body
            self._bar.advance(self._points, points)
            task = next((t for t in self._bar.tasks if t.id == self._points), None)
            speed = f"{task.speed:,.0f}/s " if task is not None and task.speed else ""
            self._bar.update(self._points, rate=f"{speed}{decimal(self._bytes)}")

    def run_done(self) -> None:
        """Move the bar of runs."""
        if self._runs is not None:
            self._bar.advance(self._runs, 1)
