"""How far a sync cycle is, shown as it goes: runs, points, the bytes of files; how fast they go, and the time left."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from rich.console import Console

__all__ = ["BarProgress", "FileMeter", "NoProgress", "Progress"]


class Progress(Protocol):
    """What a sync cycle reports as it goes; called from many threads."""

    def started(self, *, runs: int, points: int) -> None:
        """This much is to be done."""

    def advanced(self, *, points: int, body: int) -> None:
        """``points`` more were acknowledged; ``body`` bytes were sent for them."""

    def files(self, *, total: int = 0, sent: int = 0) -> None:
        """More bytes of files are to be sent, or were sent; negative to correct a former count."""

    def run_done(self) -> None:
        """One more run is up to date."""


class NoProgress:
    """Shows nothing."""

    def started(self, *, runs: int, points: int) -> None:
        """Nothing."""

    def advanced(self, *, points: int, body: int) -> None:
        """Nothing."""

    def files(self, *, total: int = 0, sent: int = 0) -> None:
        """Nothing."""

    def run_done(self) -> None:
        """Nothing."""


class FileMeter:
    """Reports one file's bytes to a Progress as they go. Many threads may report its parts."""

    def __init__(self, progress: Progress, size: int) -> None:
        """The file is to be sent; it has ``size`` bytes."""
        self._progress = progress
        self._size = size
        self._skipped = 0
        self._sent: dict[int, int] = {}
        self._lock = threading.Lock()
        progress.files(total=size)

    def attempt(self, part: int, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """The same chunks, each counted when the next is asked for; an earlier attempt at that part counts no more."""
        self._count(part, -self._sent.get(part, 0))
        for chunk in chunks:
            yield chunk
            self._count(part, len(chunk))

    def skip(self, count: int) -> None:
        """Count bytes, as a total, that need not be sent: the remote has them."""
        self._progress.files(total=self._skipped - count)
        self._skipped = count

    def close(self, *, sent: bool) -> None:
        """The file was sent; or it was not, and no byte of it counts."""
        with self._lock:
            counted = sum(self._sent.values())
        rest = self._size - self._skipped
        self._progress.files(total=0 if sent else -rest, sent=(rest if sent else 0) - counted)

    def _count(self, part: int, count: int) -> None:
        with self._lock:
            self._sent[part] = self._sent.get(part, 0) + count
        self._progress.files(sent=count)


class BarProgress:
    """A bar on the terminal."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[done]}", justify="right"),
            TextColumn("{task.fields[rate]}", justify="right"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._bytes = 0
        self._points: Any = None
        self._runs: Any = None
        self._files: Any = None
        self._lock = threading.Lock()

    def __enter__(self) -> BarProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def started(self, *, runs: int, points: int) -> None:
        """Draw the bars, once more for each cycle; the bar of files appears with the first of them."""
        with self._lock:
            for task in (self._points, self._runs, self._files):
                if task is not None:
                    self._bar.remove_task(task)
            self._bytes, self._files = 0, None
            self._runs = self._bar.add_task("runs", total=runs, done=f"0/{runs:,}", rate="")
            self._points = None  # where runs are copied as files, no points are counted
            if points:
                self._points = self._bar.add_task("points", total=points, done=f"0/{points:,}", rate="")

    def advanced(self, *, points: int, body: int) -> None:
        """Move the bar of points; show their rate, and the bytes sent for them."""
        from rich.filesize import decimal

        with self._lock:
            if self._points is None:
                return
            self._bytes += body
            self._bar.advance(self._points, points)
            task = self._task(self._points)
            speed = f"{task.speed:,.0f}/s " if task.speed else ""
            done = f"{task.completed:,.0f}/{task.total:,.0f}"
            self._bar.update(self._points, done=done, rate=f"{speed}{decimal(self._bytes)}")

    def files(self, *, total: int = 0, sent: int = 0) -> None:
        """Move the bar of the bytes of files; show their rate."""
        from rich.filesize import decimal

        with self._lock:
            if self._files is None:
                self._files = self._bar.add_task("files", total=0, done="", rate="")
            self._bar.update(self._files, total=self._task(self._files).total + total)
            self._bar.advance(self._files, sent)
            task = self._task(self._files)
            done = f"{decimal(int(task.completed))} of {decimal(int(task.total))}"
            self._bar.update(self._files, done=done, rate=f"{decimal(int(task.speed))}/s" if task.speed else "")

    def run_done(self) -> None:
        """Move the bar of runs."""
        with self._lock:
            if self._runs is not None:
                self._bar.advance(self._runs, 1)
                task = self._task(self._runs)
                self._bar.update(self._runs, done=f"{task.completed:,.0f}/{task.total:,.0f}")

    def _task(self, number: Any) -> Any:
        return next(task for task in self._bar.tasks if task.id == number)
