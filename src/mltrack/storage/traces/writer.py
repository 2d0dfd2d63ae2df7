"""Writing traces: one process's appends to the traces of one experiment, in two files no other process writes to.

The contents of spans go to one file, everything small to the other, where a line has the place of the spans. It is
written last: spans that no fact names count as never logged.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING, Any

from mltrack.disk.filesystem import LOCAL, FileSystem
from mltrack.disk.flusher import FLUSHER
from mltrack.disk.jsonlog import JsonLog
from mltrack.disk.line_types import FACTS, SPANS
from mltrack.errors import StoreError
from mltrack.journal.events import EventJournal, new_writer_name
from mltrack.process import exits
from mltrack.process.forks import Stage, after_fork_in_child

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mltrack.disk.layout import TraceFolder

__all__ = ["TraceWriter"]

_ALIVE: weakref.WeakSet[TraceWriter] = weakref.WeakSet()
_exiting = False


class TraceWriter:
    """One process's appends to one experiment's traces; for any number of threads, and the forks of the process.

    What a call returned from survives ``kill -9``, and power loss within a second. Nothing is made on disk until the
    first call. In a forked child, and after ``close``, it is a new writer with new files.
    """

    def __init__(self, folder: TraceFolder, *, clock: Callable[[], int], fs: FileSystem = LOCAL) -> None:
        """``clock`` gives ns since the epoch."""
        self._folder = folder
        self._clock = clock
        self._fs = fs
        self._reset()
        _ALIVE.add(self)

    def _reset(self) -> None:
        self._lock = threading.RLock()  # over what is appended; never held while the disk is synced
        self._sync_lock = threading.Lock()
        self._facts: EventJournal | None = None
        self._spans: JsonLog | None = None
        self._spans_dirty = False
        self._folders_dirty = False
        self._warned = False

    def append(
        self, facts: Sequence[Mapping[str, Any]], contents: Sequence[Sequence[Any]] = (), *, not_before: int = 0
    ) -> None:
        """Add facts, later than ``not_before`` (ns); ``contents``: the spans each one names (JSON objects or texts).

        Raises:
            UsageError: readers would refuse a span; no fact was added.
            StoreError: they can't be written (all or some are then missing); the next call tries again.
        """
        try:
            with self._lock:
                journal = self._facts or self._open()
                journal.not_before(not_before)
                if contents:
                    facts = self._append_spans(facts, contents)
                journal.append(facts, self._clock())
        except OSError as error:
            raise StoreError(
                f"traces can't be written to {self._folder.path}: {error.strerror or error}",
                hint="check the store's permissions and the space on its disk",
            ) from error
        if _exiting:
            self.sync()

    def _append_spans(
        self, facts: Sequence[Mapping[str, Any]], contents: Sequence[Sequence[Any]]
    ) -> list[Mapping[str, Any]]:
        """Store the spans; returns the facts with the spans' places added."""
        if self._spans is None:
            writer = (self._facts or self._open()).writer
            self._spans = JsonLog(self._folder.spans / f"{writer}.jsonl", records=SPANS, fs=self._fs, create=True)
            self._folders_dirty = True
        self._spans_dirty = True
        self._spans.settle()
        placed: list[Mapping[str, Any]] = []
        for fact, spans in zip(facts, contents, strict=True):
            at = self._spans.size
            self._spans.append([{"seq": self._spans.count, "trace_id": fact["trace_id"], "spans": spans}])
            placed.append({**fact, "at": [at, self._spans.size - at]})
        return placed

    def _open(self) -> EventJournal:
        """Make the facts file and write the line that names the writer."""
        self._folder.make(self._fs)
        journal = EventJournal(self._folder.facts, new_writer_name(self._clock()), records=FACTS, fs=self._fs)
        try:
            said = {
                "type": "writer",
                "experiment_id": self._folder.experiment_id,
                "host": os.uname().nodename,
                "pid": os.getpid(),
            }
            journal.append([said], self._clock())
        except OSError:
            journal.close()
            self._fs.unlink(self._folder.facts / f"{journal.writer}.jsonl")
            raise
        self._facts = journal
        self._folders_dirty = True
        FLUSHER.add(self)
        return journal

    def sync(self) -> None:
        """Make all that was appended survive power loss; the flusher calls it. Warns of failures once."""
        with self._sync_lock:
            try:
                if self._spans is not None and self._spans_dirty:
                    self._sync_spans(self._spans)
                if self._facts is not None and self._facts.dirty:
                    self._facts.sync()
                if self._folders_dirty:
                    folder = self._folder
                    for path in (
                        folder.facts,
                        folder.spans,
                        folder.path,
                        folder.path.parent,
                        folder.path.parent.parent,
                    ):
                        self._fs.sync_folder(path)
                    self._folders_dirty = False
            except OSError as error:
                self._warn(error)

    def _sync_spans(self, log: JsonLog) -> None:
        self._spans_dirty = False
        try:
            log.sync()
        except OSError:
            self._spans_dirty = True
            raise

    def pulse(self) -> None:
        """Does nothing: whether a writer of traces is alive does not matter."""

    def _warn(self, error: OSError) -> None:
        if self._warned:
            return
        self._warned = True
        import logging

        logging.getLogger("mltrack").warning(
            "traces in %s can't be synced (%s)", self._folder.path, error.strerror or error
        )

    def close(self) -> None:
        """Make everything durable and close the files, which never grow again. Calling it again does nothing."""
        FLUSHER.remove(self)
        with self._lock:
            if self._facts is None:
                return
            try:
                self._facts.append([{"type": "close"}], self._clock())
            except OSError as error:
                self._warn(error)
            self.sync()
            with self._sync_lock:
                self._drop()

    def _drop(self) -> None:
        if self._facts is not None:
            self._facts.close()
        if self._spans is not None:
            self._spans.close()
        self._facts, self._spans = None, None

    def _after_fork(self) -> None:
        """In a forked child: drop the parent's files, and be a separate writer from the first call on."""
        self._drop()
        self._reset()
        exits.after_fork_of_child(self, _close_at_exit)


def _close_at_exit(writer: TraceWriter) -> None:
    """In a child of multiprocessing, which exits by os._exit and skips atexit."""
    exits.on_end_of_child(exits.Stage.STORAGE, writer.close)


def _close_all() -> None:
    """At the end of the process. What a queue that is emptied at exit still appends later is synced at once."""
    global _exiting
    _exiting = True
    for writer in list(_ALIVE):
        writer.close()


def _after_fork_in_child() -> None:
    FLUSHER.after_fork()
    for writer in list(_ALIVE):
        writer._after_fork()


after_fork_in_child(Stage.STORAGE, _after_fork_in_child)
exits.at_exit(exits.Stage.STORAGE, _close_all)
