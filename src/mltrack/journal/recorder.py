"""The recorder: this process's hold on one run. It opens a writer, keeps training safe from the disk, survives forks.

Nothing here waits for another process, and nothing that the disk does reaches the caller: what can't be stored is kept
(events) or counted (points), said once, tried again, and reported when the run is closed.
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
from mltrack.journal.points import SEAL_POINTS_MIN, EventJournal, PointJournal, new_writer_name
from mltrack.journal.written_points import open_points
from mltrack.process.ending import after_fork_of_child, finalize
from mltrack.process.headroom import lacks_room
from mltrack.process.trouble import TROUBLE, say, words_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mltrack.disk.layout import Layout, RunFolder

__all__ = ["Recorder"]

PENDING_EVENTS_MAX = 100_000
"""How many events are kept in memory while the disk takes none; further ones are counted as lost."""

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
"""What a run is started in spite of; anything else (no permission, no such folder) is the caller's to know at once."""

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
        """``role`` is create, resume, fork or edit; ``not_before`` (ns) orders its events after what the run holds.

        One that ``joins`` looks at its first call whether the run is there at all.
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
        self._lost_events = 0
        self._closed = False  # by the caller
        self._over = False  # and all was done that was to do at that
        self._warned = False
        self._begin()
        _ALIVE.add(self)

    def _begin(self) -> None:
        """A new writer that has nothing on disk yet."""
        self.writer = new_writer_name(time_ns())
        self._lock = threading.RLock()  # over the events; never held while the disk is synced
        self._sync_lock = threading.RLock()
        self._events_sync_lock = threading.RLock()  # the inner one: nothing else is asked for while it is held
        self._events: EventJournal | None = None
        self._pending: list[Mapping[str, Any]] = []
        self._adding = False
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

    # --- where ---

    @property
    def folder(self) -> RunFolder:
        """Where the run lies now: with its store, which may have been moved."""
        self._follow()
        return self._folder

    @property
    def layout(self) -> Layout:
        """The store, where it is now."""
        self._follow()
        return self._layout

    def require_folder(self) -> RunFolder:
        """The same, for who makes files there: none is made at a place that the store has left.

        Raises:
            OSError: the store is gone.
        """
        folder = self.folder
        if self._gone:
            raise FileNotFoundError(errno.ENOENT, "the store is gone", str(self._layout.root))
        return folder

    def require_run(self) -> None:
        """For one that joins a run: make sure, once, that the run can be seen from here.

        Raises:
            NotFoundError: it can't; the recorder may be on another machine than the one that made it.
        """
        if self._joins:
            if not os.path.isdir(self._folder.events):
                raise NotFoundError(
                    f"no run {self._folder.run_id!r} in {self._layout.root}",
                    hint="is the store in a folder that this machine shares?",
                )
            self._joins = False

    def _follow(self) -> None:
        """Go where the store went. Said once: that it moved, or that it is gone."""
        where = self._layout.root if self._anchor is None else self._anchor.where()
        if where == self._layout.root:
            return
        with self._lock:
            if where is None:
                if not self._gone:
                    self._gone = True
                    say(
                        "run %s: its store %s is gone: removed, or moved to another disk; training goes on, what can't"
                        " be stored is counted",
                        self._folder.run_id,
                        str(self._layout.root),
                    )
            elif where != self._layout.root:
                self._layout = self._layout.moved_to(where)
                self._folder = self._layout.run(self._folder.run_id)
                self.points.move_to(self._folder.points)
                if self._events is not None:
                    self._events.move_to(self._folder.events)
                self._anchor, self._gone = Anchor.of(where), False
                say("run %s: its store was moved to %s; recording goes on there", self._folder.run_id, str(where))

    # --- events ---

    def start(self, events: Iterable[Mapping[str, Any]], *, in_spite: bool = False) -> None:
        """Open the writer and add its first events; ``in_spite`` of whatever the disk says.

        Raises:
            StoreError: the store can't be written to for a reason that won't pass (no permission, no such folder).
        """
        try:
            self._add(list(events))
        except OSError as error:
            if error.errno not in DISK_TROUBLE and not in_spite:
                raise StoreError(
                    f"the store at {self._layout.root} can't be written: {error.strerror}",
                    hint="check its permissions, or name another with MLTRACK_STORE",
                ) from error
            self._keep(list(events), error)

    def emit(self, *events: Mapping[str, Any]) -> None:
        """Add events; when the disk takes none they are kept and tried again. On return they survive ``kill -9``."""
        try:
            self._add(events)
        except TROUBLE as error:
            self._keep(events, error)

    def _add(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Store events, after those kept so far. A signal handler's are stored once its own thread is done in here.

        Raises:
            OSError: not all were stored; the caller keeps them where they matter (an event stored twice does no harm).
        """
        with self._lock:
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

    def _keep(self, events: Iterable[Mapping[str, Any]], error: Exception) -> None:
        with self._lock:
            self._pending += events
            if len(self._pending) > PENDING_EVENTS_MAX:
                self._lost_events += len(self._pending) - PENDING_EVENTS_MAX
                del self._pending[PENDING_EVENTS_MAX:]
        self._warn(error)

    def _open(self) -> EventJournal:
        """Make the writer's file, take its lock, mark the run as changed, and say who writes. In this order."""
        self.require_run()
        fs, folder = self._fs, self.require_folder()
        folder.make(fs)
        journal = EventJournal(folder.events, self.writer, fs=fs)
        try:
            os.close(fs.open_append(self._layout.changed / f"{folder.run_id}.{self.writer}"))
            journal.not_before(self._not_before)
            said = {
                "type": "writer",
                "run_id": folder.run_id,
                "role": self.role,
                "host": os.uname().nodename,
                "pid": os.getpid(),
                "locked": journal.locked,
            }
            journal.append([said], time_ns())
        except OSError:
            journal.close()
            fs.unlink(folder.events / f"{self.writer}.jsonl")
            raise
        self._events = journal
        self._folders_dirty = True
        FLUSHER.add(self)
        return journal

    def _name_metric(self, number: int, key: str) -> None:
        self._add([{"type": "metric", "number": number, "key": key}])

    # --- losses ---

    def _warn(self, error: Exception) -> None:
        """Say once that the disk fails, or whatever else the machine refuses."""
        self._follow()
        if not self._warned and not self._gone:
            self._warned = True
            say(
                "run %s: %s (%s); training goes on, what can't be stored is counted",
                self._folder.run_id,
                words_of(error),
                self._layout.root,
            )

    def lost_artifact(self, name: str, error: Exception) -> None:
        """Note that an artifact could not be stored."""
        self._warn(error)
        self.emit({"type": "lost", "artifact": name, "reason": words_of(error)})

    @property
    def fs(self) -> FileSystem:
        """What all that this process writes to the run goes through."""
        return self._fs

    @property
    def lost(self) -> int:
        """Points that could not be stored."""
        return self.points.lost

    # --- durability ---

    def sync(self) -> None:
        """Make all that was logged survive power loss; the flusher calls it twice a second. Failures are told once."""
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
        """Make the run's start and all events so far survive power loss, and their names in every folder on the way.

        What follows on them (points, artifacts, series) is made after this, so that none is on the disk without them.

        Raises:
            OSError: the disk says no.
        """
        with self._events_sync_lock:
            journal = self._events
            if journal is not None and journal.dirty:
                journal.sync()
            if journal is not None and self._folders_dirty:
                folder = self._folder  # from the inside out: the run is there with its start, or not at all
                for path in (self._layout.changed, folder.path, folder.path.parent):
                    self._fs.sync_folder(path)
                self._folders_dirty = False

    def sync_start(self) -> None:
        """``sync_events``, once: before anything of the run but its events is made."""
        if self._folders_dirty:
            self._follow()
            try:
                self.sync_events()
            except OSError as error:
                self._warn(error)

    def pulse(self) -> None:
        """Show life where there are no locks: touch the events file."""
        with self._sync_lock:
            journal = self._events
            if journal is not None and not journal.locked:
                try:
                    os.utime(journal.fd)
                except OSError as error:
                    self._warn(error)

    # --- the end ---

    def close(self, *events: Mapping[str, Any]) -> None:
        """Add the last events, make everything durable, seal, and let go of the lock. Calling it again does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        FLUSHER.remove(self)
        self._follow()
        self.points.close()
        last: list[Mapping[str, Any]] = list(events)
        if self.lost:
            last.insert(0, {"type": "lost", "points": self.lost})
        if last or self._events is not None:
            self.emit(*last, {"type": "close", "points": self.points.seq})
        self.sync()
        with self._sync_lock:
            self._over = True
            if self._events is not None:
                if not self._gone:
                    self._seal()
                try:
                    with self._events_sync_lock:
                        self._events.close()
                except OSError as error:  # a network file system may say only now that it took nothing
                    self._warn(error)
                self._events = None
        self._report()

    def _seal(self) -> None:
        """Make a segment of many points. Where that can't be done the journals stay, which are as good."""
        if self.points.seq < SEAL_POINTS_MIN:
            return
        try:
            lacking = lacks_room()
            if lacking is None:
                from mltrack.journal.seal import seal_writer

                seal_writer(self._folder, self.writer, self.points.names, fs=self._fs)
        except Exception as error:  # noqa: BLE001  # an installation of NumPy or Arrow that is broken raises anything
            lacking = words_of(error)
        if lacking is not None:
            say(
                "run %s: its points are not sealed: %s; they stay in their journal, seal them by: mltrack seal",
                self._folder.run_id,
                lacking,
            )

    def _report(self) -> None:
        if self._gone:
            say("run %s: nothing of it is left: its store %s is gone", self._folder.run_id, str(self._layout.root))
            return
        lost_events = self._lost_events + len(self._pending)
        if self.lost or lost_events:
            say(
                "run %s: %d points and %d other entries were lost to the disk",
                self._folder.run_id,
                self.lost,
                lost_events,
            )

    # --- forks ---

    def _after_fork(self) -> None:
        """In a forked child: let go of the parent's files, and be a writer of its own from the first call on."""
        self.points.abandon()
        if self._events is not None:
            self._events.close()
        self.role = "edit" if self.role == "edit" else "fork"  # who edits a run never makes it live
        self._begin()
        if self._closed:
            self.points.close()
            return
        after_fork_of_child(self, _close_at_exit)


def _close_at_exit(recorder: Recorder) -> None:
    """In a child of multiprocessing, which leaves by os._exit and skips atexit."""
    finalize(recorder.close)


def _after_fork_in_child() -> None:
    FLUSHER.after_fork()
    for recorder in list(_ALIVE):
        recorder._after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
