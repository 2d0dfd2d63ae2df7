"""The recorder: one process's writing to one run. It opens a writer, shields training from the disk, survives forks.

Nothing here waits for another process, and no disk error reaches the caller: what can't be stored is kept (events) or
counted (points), warned of once, tried again, and reported when the run is closed.
"""

from __future__ import annotations

import errno
import os
import threading
import weakref
from time import time_ns
from typing import TYPE_CHECKING, Any

from mltrack.disk.anchor import Anchor
from mltrack.disk.filesystem import LOCAL, FileSystem
from mltrack.disk.flusher import FLUSHER
from mltrack.errors import NotFoundError, StoreError
from mltrack.journal.events import EventJournal, begin_writer, check_events, new_writer_name
from mltrack.journal.losses import Losses
from mltrack.journal.points import SEAL_POINTS_MIN, PointJournal
from mltrack.journal.points_checksum import points_checksum
from mltrack.journal.written_points import open_points
from mltrack.process import exits
from mltrack.process.forks import Stage, after_fork_in_child
from mltrack.process.headroom import memory_shortage
from mltrack.process.trouble import TROUBLE, say, words_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mltrack.disk.layout import Layout, RunFolder

__all__ = ["Recorder"]

PENDING_EVENTS_MAX = 100_000
"""How many events are kept in memory while the disk fails; more are counted as lost."""

DISK_TROUBLE = {
    errno.EFBIG,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EIO,
    errno.ESTALE,
    errno.ENOTCONN,
    errno.EREMOTEIO,
    errno.ETIMEDOUT,
    errno.EHOSTDOWN,
}
"""Errors in spite of which a run starts; any other (no permission, no such folder) is raised at once."""

_ALIVE: weakref.WeakSet[Recorder] = weakref.WeakSet()


class Recorder:
    """One process's appends to one run: a writer's events and points, behind calls that don't fail."""

    def __init__(
        self,
        layout: Layout,
        folder: RunFolder,
        role: str,
        *,
        fs: FileSystem = LOCAL,
        not_before: int = 0,
        joins: bool = False,
    ) -> None:
        """Record into a run; nothing is made on disk until the first event.

        Args:
            layout: The store.
            folder: The run's folder.
            role: create, resume, fork or edit.
            fs: The file system to write with.
            not_before: A time, in ns since the epoch, that its events come after: that of the run's last event.
            joins: Check at the first call that the run exists.
        """
        self._joins = joins
        self._folder = folder
        self._anchor = Anchor.of(layout.root)
        self._gone = False
        self.role = role
        self.points: PointJournal
        self._layout = layout
        self._fs = fs
        self._not_before = not_before
        self._closed = False  # by the caller
        self._over = False  # and all that this requires was done
        self._begin()
        _ALIVE.add(self)

    def _begin(self) -> None:
        """Prepare a new writer, with nothing on disk yet."""
        self.writer = new_writer_name(time_ns())
        self._lock = threading.RLock()  # over the events; never held while the disk is synced
        self._sync_lock = threading.RLock()
        self._events_sync_lock = threading.RLock()  # the inner one: no other lock is taken while it is held
        self._events: EventJournal | None = None
        self._pending: list[Mapping[str, Any]] = []
        self._adding = False
        self._losses = Losses()
        self._folders_dirty = False
        self.points = open_points(
            self._folder.points,
            self.writer,
            fs=self._fs,
            on_new_metric=self._name_metric,
            on_loss=self._warn,
            sync_names=self.sync_events,
        )
        self.points.before_file = self._follow

    # --- the run's folder ---

    @property
    def folder(self) -> RunFolder:
        """The run's folder now; its store may have been moved."""
        self._follow()
        return self._folder

    @property
    def layout(self) -> Layout:
        """The store, where it is now."""
        self._follow()
        return self._layout

    def require_folder(self) -> RunFolder:
        """The same, for making files in it: none is made where the store no longer is.

        Raises:
            OSError: the store no longer exists.
        """
        folder = self.folder
        if self._gone:
            raise FileNotFoundError(errno.ENOENT, "the store is gone", str(self._layout.root))
        return folder

    def require_run(self) -> None:
        """For a process that joins a run: make sure, once, that the run can be seen from here.

        Raises:
            NotFoundError: it can't; this may be another machine than the one that made the run.
        """
        if self._joins:
            if not os.path.isdir(self._folder.events):
                raise NotFoundError(
                    f"no run {self._folder.run_id!r} in {self._layout.root}",
                    hint="is the store in a folder that this machine shares?",
                )
            self._joins = False

    def _follow(self) -> None:
        """Follow a store that was moved. Warns once that it was moved or no longer exists."""
        where = self._layout.root if self._anchor is None else self._anchor.current_path()
        if where == self._layout.root:
            return
        with self._lock:
            if where is None:
                if not self._gone:
                    self._gone = True
                    say(
                        "run %s: its store %s was removed, or moved to another disk; training goes on, what can't"
                        " be stored is counted",
                        self._folder.run_id,
                        str(self._layout.root),
                    )
            elif where != self._layout.root:
                moved = self._layout.moved_to(where)
                self._folder = moved.run(self._folder.run_id)
                self.points.move_to(self._folder.points)
                if self._events is not None:
                    self._events.move_to(self._folder.events)
                self._anchor, self._gone = Anchor.of(where), False
                self._layout = moved  # last: other threads that see it go on without the lock
                say(
                    "run %s: its store was moved to %s; recording goes on there",
                    self._folder.run_id,
                    str(where),
                )

    # --- events ---

    def start(self, events: Iterable[Mapping[str, Any]], *, tolerant: bool = False) -> None:
        """Open the writer and add its first events; ``tolerant``: whatever the disk does.

        Raises:
            UsageError: readers would refuse one of the events; nothing was made.
            StoreError: the store can't be written to, for a lasting reason (no permission, no such folder).
        """
        events = list(events)
        try:
            self._add(events)
        except OSError as error:
            if error.errno not in DISK_TROUBLE and not tolerant:
                where, hint = self._layout.root, "check its permissions, or name another with MLTRACK_STORE"
                what = f"the store at {where}"
                if self.role != "create":  # its folder may be another user's
                    what, hint = f"run {self._folder.run_id} in {where}", "check who owns its folder, and may write"
                raise StoreError(f"{what} can't be written: {error.strerror}", hint=hint) from error
            self._keep(events, error)

    def emit(self, *events: Mapping[str, Any]) -> None:
        """Add events; if the disk fails they are kept and tried again. On return they survive ``kill -9``.

        Raises:
            UsageError: readers would refuse one; none was added.
        """
        try:
            self._add(events)
        except TROUBLE as error:
            self._keep(events, error)

    def _add(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Store events, after those kept so far. A signal handler's are stored once its own thread is done.

        Raises:
            UsageError: readers would refuse one; none is stored.
            OSError: not all were stored; the caller keeps them where they matter (an event stored twice does no harm).
        """
        with self._lock:
            if self._adding or self._pending or self._events is None:  # later it would be too late to say
                check_events(events)
            if self._adding:
                self._pending += events
                return
            self._adding = True
            try:
                journal = self._events or self._open()
                todo = [*self._pending, *events]
                while todo:
                    kept, before = len(self._pending), journal.seq
                    try:
                        journal.append(todo, time_ns())
                    finally:
                        del self._pending[: min(kept, journal.seq - before)]
                    todo = list(self._pending)
            finally:
                self._adding = False

    def _keep(self, events: Sequence[Mapping[str, Any]], error: Exception) -> None:
        with self._lock:
            self._pending += events
            if len(self._pending) > PENDING_EVENTS_MAX:
                self._losses.events += len(self._pending) - PENDING_EVENTS_MAX
                del self._pending[PENDING_EVENTS_MAX:]
        self._warn(error)

    def _open(self) -> EventJournal:
        self.require_run()
        journal = begin_writer(
            self._layout, self.require_folder(), self.writer, role=self.role, not_before=self._not_before, fs=self._fs
        )
        self._events = journal
        self._folders_dirty = True
        FLUSHER.add(self)
        return journal

    def _name_metric(self, number: int, key: str) -> None:
        self._add([{"type": "metric", "number": number, "key": key}])

    # --- losses ---

    def _warn(self, error: Exception) -> None:
        """Warn once that the disk fails, or that the machine has run out of something."""
        self._follow()
        if not self._gone:
            self._losses.say_once(self._folder.run_id, str(self._layout.root), error)

    def lost_artifact(self, name: str, error: Exception) -> None:
        """Note that an artifact, or part of it, could not be stored."""
        self._warn(error)
        self._losses.add_artifact(self._folder.run_id, name, error, named=not self._gone)
        self.emit({"type": "lost", "artifact": name, "reason": words_of(error)})

    @property
    def fs(self) -> FileSystem:
        """The file system that this process writes to the run with."""
        return self._fs

    @property
    def lost(self) -> int:
        """Points that could not be stored."""
        return self.points.lost

    # --- durability ---

    def sync(self) -> None:
        """Make all that was logged survive power loss; the flusher calls it twice a second. Warns of failures once."""
        self._follow()
        with self._sync_lock:
            try:
                if self._pending and not self._over:
                    self._add([])
                self.sync_events()
                self.points.sync()
            except OSError as error:
                self._warn(error)

    def sync_events(self) -> None:
        """Make the run's start and all events so far survive power loss, with the folder entries that lead to them.

        Points, artifacts and series are made after this, so that none is on the disk without them.

        Raises:
            OSError: the disk refused.
        """
        with self._events_sync_lock:
            journal = self._events
            if journal is not None and journal.dirty:
                journal.sync()
            if journal is not None and self._folders_dirty:
                folder = self._folder  # innermost first: the run is on the disk with its start, or not at all
                for path in (self._layout.changed, folder.path, folder.path.parent):
                    self._fs.sync_folder(path)
                self._folders_dirty = False

    def sync_start(self) -> None:
        """``sync_events``, once: before files other than the run's events are made."""
        if self._folders_dirty:
            self._follow()
            try:
                self.sync_events()
            except OSError as error:
                self._warn(error)

    def pulse(self) -> None:
        """Touch the events file, which shows that the writer is alive where locks don't work."""
        with self._sync_lock:
            journal = self._events
            if journal is not None and not journal.locked:
                try:
                    os.utime(journal.fd)
                except OSError as error:
                    self._warn(error)

    # --- the end ---

    def close(self, *events: Mapping[str, Any]) -> None:
        """Add the last events, make everything durable, seal, and release the lock. A second call does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        FLUSHER.remove(self)
        self._follow()
        try:
            self.points.close()
        except KeyboardInterrupt:  # an impatient Ctrl-C: how the run ended is known all the same
            self.emit(*events)
            raise
        last: list[Mapping[str, Any]] = list(events)
        if self.lost:
            last.insert(0, {"type": "lost", "points": self.lost})
        if last or self._events is not None:
            self.emit(*last, {"type": "close", "points": self.points.seq, **self._checksum()})
        self.sync()
        with self._sync_lock:
            self._over = True
            if self._events is not None:
                if not self._gone:
                    self._seal()
                try:
                    with self._events_sync_lock:
                        self._events.close()
                except OSError as error:  # a network file system may report only now that it stored nothing
                    self._warn(error)
                self._events = None
        self._report()

    def _checksum(self) -> dict[str, int]:
        """The checksum of points that stay in their journal, for the last event."""
        if self._gone or not 0 < self.points.seq < SEAL_POINTS_MIN:
            return {}
        try:
            crc = points_checksum(self._folder.points, self.writer, self.points.seq)
        except OSError:  # the points are as good without it
            crc = None
        return {} if crc is None else {"points_crc": crc}

    def _seal(self) -> None:
        """Seal the points if there are many. If that fails the journals stay, which are as good."""
        if self.points.seq < SEAL_POINTS_MIN:
            return
        try:
            shortage = memory_shortage()
            if shortage is None:
                from mltrack.journal.seal import seal_writer

                seal_writer(self._folder, self.writer, self.points.names, fs=self._fs)
        except Exception as error:  # noqa: BLE001  # a broken installation of NumPy or Arrow may raise anything
            shortage = words_of(error)
        if shortage is not None:
            say(
                "run %s: its points are not sealed: %s; they stay in their journal, seal them with: mltrack seal",
                self._folder.run_id,
                shortage,
            )

    def _report(self) -> None:
        if self._gone:
            say(
                "run %s: nothing of it is left, its store %s is gone",
                self._folder.run_id,
                str(self._layout.root),
            )
            return
        self._losses.report(self._folder.run_id, self.lost, len(self._pending))

    # --- forks ---

    def _after_fork(self) -> None:
        """In a forked child: drop the parent's files, and be a separate writer from the first call on."""
        self.points.abandon()
        if self._events is not None:
            self._events.close()
        self.role = "edit" if self.role == "edit" else "fork"  # an edit never makes a run live
        self._begin()
        if self._closed:
            self.points.close()
            return
        exits.after_fork_of_child(self, _close_at_exit)


def _close_at_exit(recorder: Recorder) -> None:
    """In a child of multiprocessing, which exits by os._exit and skips atexit."""
    exits.on_end_of_child(exits.Stage.JOURNAL, recorder.close)


def _after_fork_in_child() -> None:
    FLUSHER.after_fork()
    for recorder in list(_ALIVE):
        recorder._after_fork()


after_fork_in_child(Stage.JOURNAL, _after_fork_in_child)
