"""A run's facts and points that come from elsewhere, added by a writer of its own.

Unlike a recorder, which shields a training from the disk, this raises whatever the disk refuses: who imports has the
original, and tries again later. Until then everything that was added is valid as it is.
"""

from __future__ import annotations

import contextlib
import threading
from time import time_ns
from typing import TYPE_CHECKING, Any

from mltrack.disk.filesystem import LOCAL, FileSystem
from mltrack.entities import Position
from mltrack.errors import StoreError
from mltrack.journal.events import EventJournal, begin_writer, check_events, new_writer_name
from mltrack.journal.points import SEAL_POINTS_MIN, SERIES_POINTS_MIN
from mltrack.journal.seal import seal_writer
from mltrack.journal.written_points import open_points
from mltrack.values.scalars import check_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from mltrack.disk.layout import Layout, RunFolder

__all__ = ["RunImport"]

SYNC_POINTS = 1 << 22
"""After so many points their files are synced and closed."""


class RunImport:
    """Appends to one run, which it makes if the first event is a ``start``. Close it, also after an error.

    Its writer has the role edit, so that it makes no run live, and says where its facts came from. Any thread may add.
    """

    def __init__(
        self,
        layout: Layout,
        run_id: str,
        origin: str,
        *,
        not_before: int = 0,
        fs: FileSystem = LOCAL,
        stand_in: bool = False,
    ) -> None:
        """Nothing is made on the disk until something is added.

        Args:
            layout: The store.
            run_id: The run's id.
            origin: Where its facts come from, without secrets; it stands in the writer's first line.
            not_before: A time in ns that its events come after: that of the run's last event.
            fs: The file system to write with.
            stand_in: Its points are those of the run's own writers, which may come later (see stand_ins.py).
        """
        self.run_id = run_id
        self._layout = layout
        self._folder: RunFolder = layout.run(run_id)
        self._said: dict[str, str | bool] = {"origin": origin, **({"stand_in": True} if stand_in else {})}
        self._not_before = not_before
        self._fs = fs
        self._events: EventJournal | None = None
        self._folders_dirty = False
        self._error: Exception | None = None
        self._lock = threading.RLock()  # over the events
        self._unsynced = 0
        self.writer = new_writer_name(time_ns())
        self._points = open_points(
            self._folder.points,
            self.writer,
            fs=fs,
            on_new_metric=lambda number, key: self._append([{"type": "metric", "number": number, "key": key}]),
            on_loss=self._note,
            sync_names=self._sync_events,
        )

    @property
    def folder(self) -> RunFolder:
        """The run's folder."""
        return self._folder

    @property
    def position(self) -> Position:
        """How many events and points it has added."""
        return Position(self._events.seq if self._events is not None else 0, self._points.seq)

    @property
    def began(self) -> bool:
        """Whether anything was added."""
        return self._events is not None

    def begin(self) -> None:
        """Make the writer's file, where nothing was added yet.

        Raises:
            StoreError: the disk refuses.
        """
        with self._raising():
            self._append([])

    def add(self, *events: Mapping[str, Any]) -> None:
        """Add events, in order. On return they survive ``kill -9``.

        Raises:
            UsageError: readers would refuse one of them; none was added.
            StoreError: the disk refuses.
        """
        if self._events is None:
            check_events(events)
        if events:
            with self._raising():
                self._append(list(events))

    def log(
        self,
        key: str,
        values: npt.NDArray[np.float64],
        steps: npt.NDArray[np.int64],
        times: npt.NDArray[np.int64],
    ) -> None:
        """Add points of one metric, in order. On return they survive ``kill -9``.

        Args:
            key: The metric's name.
            values: Shape (n,).
            steps: Shape (n,).
            times: In ns since the epoch, shape (n,).

        Raises:
            InvalidMetricError: the name is not one that a metric can have; nothing was added.
            StoreError: the disk refuses; some of them may have been added.
        """
        check_key(key)
        with self._raising():
            if not self.began:
                self._append([])
            if len(values) >= SERIES_POINTS_MIN:
                self._points.log_series(key, values, steps, times)
                return
            log = self._points.log
            for value, step, time in zip(values.tolist(), steps.tolist(), times.tolist(), strict=True):
                log(key, value, step, time)

    def log_rows(
        self,
        keys: Sequence[str],
        codes: npt.NDArray[np.int64],
        values: npt.NDArray[np.float64],
        steps: npt.NDArray[np.int64],
        times: npt.NDArray[np.int64],
    ) -> None:
        """Add points of several metrics, in order. On return they survive ``kill -9``.

        Args:
            keys: Names of metrics.
            codes: Of each point, the index of its metric in ``keys``; shape (n,).
            values: Shape (n,).
            steps: Shape (n,).
            times: In ns since the epoch, shape (n,).

        Raises:
            InvalidMetricError: a name is not one that a metric can have; nothing was added.
            StoreError: the disk refuses; some of them may have been added.
        """
        for key in keys:
            check_key(key)
        with self._raising():
            if not self.began:
                self._append([])
            self._points.log_rows(keys, codes, values, steps, times)
            self._unsynced += len(values)
            if self._unsynced >= SYNC_POINTS:
                self._points.sync()
                self._unsynced = 0

    def close(self, *events: Mapping[str, Any], whole: bool = True) -> Position:
        """Add the last events, make everything durable, and seal the points. Returns how much was added in all.

        ``whole=False``: something failed before. The writer then ends as one that died, which is as valid.

        Raises:
            UsageError, StoreError: as add; everything before is stored, and the writer is closed.
        """
        try:
            if whole:
                self.add(*events)
                self._finish()
        finally:
            with contextlib.suppress(OSError):
                self._points.close()
            if self._events is not None:
                with contextlib.suppress(OSError):
                    self._events.close()
        return self.position

    def _finish(self) -> None:
        """Everything durable; the run's start before its points, these before the line that says how many there are."""
        if self._events is None:
            return
        with self._raising():
            count = self._points.seq
            self._points.sync()
            self._points.close()
            self._append([{"type": "close", "points": count}])
            self._sync_events()
            if count >= SEAL_POINTS_MIN:
                seal_writer(self._folder, self.writer, self._points.names, fs=self._fs)

    # --- the writer's files ---

    def _append(self, events: list[Mapping[str, Any]]) -> None:
        with self._lock:
            journal = self._events or self._open()
            if events:
                journal.append(events, time_ns())

    def _open(self) -> EventJournal:
        journal = begin_writer(
            self._layout,
            self._folder,
            self.writer,
            role="edit",
            not_before=self._not_before,
            fs=self._fs,
            **self._said,
        )
        self._events = journal
        self._folders_dirty = True
        return journal

    def _sync_events(self) -> None:
        """Make the run's start and all events so far survive power loss, with the folder entries that lead to them."""
        with self._lock:
            self._sync_journal()

    def _sync_journal(self) -> None:
        journal = self._events
        if journal is not None and journal.dirty:
            journal.sync()
        if journal is not None and self._folders_dirty:
            folder = self._folder  # innermost first: the run is on the disk with its start, or not at all
            for path in (folder.events, self._layout.changed, folder.path, folder.path.parent):
                self._fs.sync_folder(path)
            self._folders_dirty = False

    def sync_start(self) -> None:
        """Make the run's start survive power loss: before files of it other than events are made.

        Raises:
            StoreError: the disk refuses.
        """
        with self._raising():
            self._sync_events()

    # --- what the disk refuses ---

    def _note(self, error: Exception) -> None:
        """A point could not be stored: told to whoever is adding points."""
        self._error = self._error or error

    @contextlib.contextmanager
    def _raising(self) -> Any:
        try:
            yield
            error = self._error
        except OSError as refused:
            error = refused
        if error is not None:
            self._error = error
            words = getattr(error, "strerror", None) or str(error)
            raise StoreError(
                f"run {self._folder.run_id} can't be written to {self._layout.root}: {words}",
                hint="make room or fix its permissions; what is missing comes with the next try",
            ) from error
