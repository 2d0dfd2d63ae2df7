"""The traces of a store: each process appends what it logs to its own files, and any process reads all.

A trace's facts (its info, tags, assessments, links, and the places of its spans) are folded into an index in memory,
which is saved next to the catalog; the contents of spans stay on disk and are read by their place. Neither reading nor
writing waits for a lock.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
import weakref
from typing import TYPE_CHECKING, Any

from mltrack.disk.codec import LINE_BYTES_MAX, BadLine, decode_line
from mltrack.disk.filesystem import LOCAL, TEMPORARY, FileSystem, NotRegularError, open_regular
from mltrack.disk.jsonlog import check_lines
from mltrack.disk.line_types import FACTS, SPANS
from mltrack.errors import CorruptionError, NotFoundError, StoreError
from mltrack.process.forks import Stage, after_fork_in_child
from mltrack.storage.traces.index import TraceChanges, TraceIndex
from mltrack.storage.traces.index_file import remove_indexes
from mltrack.storage.traces.trace import Assessment, SpanHead, SpanPlace, Trace
from mltrack.storage.traces.views import TraceField
from mltrack.storage.traces.writer import TraceWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from mltrack.disk.layout import Layout, TraceFolder
    from mltrack.storage.traces.views import SortKey

__all__ = ["Assessment", "SpanHead", "SpanReader", "Trace", "TraceChanges", "Traces"]

OPEN_WRITERS_MAX = 64
"""The number of experiments whose files one process keeps open."""


class Traces:
    """The traces of one store, for any number of threads, processes and forks."""

    def __init__(self, layout: Layout, *, clock: Callable[[], int], fs: FileSystem = LOCAL) -> None:
        """``clock`` gives ns since the epoch."""
        self._layout = layout
        self._clock = clock
        self._fs = fs
        self._index = TraceIndex(layout, fs=fs)
        self._writers: dict[str, TraceWriter] = {}
        self._lock = threading.Lock()
        _ALIVE.add(self)

    # --- reading ---

    def get(self, trace_id: str) -> Trace:
        """The trace with that id.

        Raises:
            NotFoundError: there is none, or it was deleted.
            StoreError: the store can't be read.
        """
        found = self.find(trace_id)
        if found is None:
            raise NotFoundError(f"no trace with id {trace_id!r}", hint="see: mltrack traces ls")
        return found

    def find(self, trace_id: str) -> Trace | None:
        """The same; None if it does not exist.

        Raises:
            StoreError: the store can't be read.
        """
        with _readable():
            return self._index.get(trace_id)

    def find_some(self, trace_ids: Iterable[str]) -> list[Trace]:
        """Those of the traces that exist, in the order of the ids.

        Raises:
            StoreError: the store can't be read.
        """
        with _readable():
            return self._index.get_some(trace_ids)

    def all(self) -> list[Trace]:
        """All traces, in any order.

        Raises:
            StoreError: the store can't be read.
        """
        with _readable():
            return self._index.all()

    def in_order(self, scope: frozenset[str] | None, keys: tuple[SortKey, ...]) -> Sequence[Trace]:
        """The traces of these experiments (None: of all), sorted; the last of ``keys`` is not the same for any two.

        Raises:
            StoreError: the store can't be read.
        """
        with _readable():
            return self._index.in_order(scope, keys)

    def having(self, field: TraceField, value: Hashable) -> list[Trace] | None:
        """Traces that may have a value in that field, all that have it among them, in any order; None if not few.

        Raises:
            StoreError: the store can't be read.
        """
        with _readable():
            return self._index.having(field, value)

    def changes(self, after: Mapping[str, int] | None = None) -> TraceChanges:
        """The traces with facts after these positions (all, without), deleted ones too, and the positions now.

        The position of a file (``<experiment_id>/<writer>``) is the number of facts in it.
        ``changes(c.positions)`` continues after ``c``.

        Raises:
            StoreError: the store can't be read.
        """
        with _readable():
            return self._index.changes(after or {})

    @property
    def damage(self) -> list[CorruptionError]:
        """Damaged facts that were found so far."""
        return list(self._index.damage)

    def spans(self) -> SpanReader:
        """A reader of span contents, for a ``with`` statement in one thread."""
        return SpanReader(self._layout)

    # --- writing ---

    def add(self, experiment_id: str, *facts: Mapping[str, Any]) -> None:
        """Append facts (see docs/format.md). On return they survive ``kill -9``, within a second power loss.

        Raises:
            InvalidPathError: that can be no experiment's id.
            UsageError: readers would refuse one of them; none was added.
            StoreError: the disk does not take them.
        """
        self._append(experiment_id, facts, ())

    def add_spans(
        self, experiment_id: str, facts: Sequence[Mapping[str, Any]], contents: Sequence[Sequence[Any]]
    ) -> None:
        """Append spans: for each trace the fact that names them, and their contents (JSON objects or texts).

        Raises:
            InvalidPathError, UsageError, StoreError: as add.
        """
        self._append(experiment_id, facts, contents)

    def sync(self, experiment_id: str) -> None:
        """Make all that was added to an experiment's traces survive power loss, before something else counts on it."""
        with self._lock:
            writer = self._writers.get(experiment_id)
        if writer is not None:
            writer.sync()

    def remove(self, experiment_id: str) -> None:
        """Remove all traces of an experiment for good, with their files. They are gone for every reader at once.

        Raises:
            InvalidPathError: that can be no experiment's id.
            StoreError: they can't be removed.
        """
        with self._lock:
            writer = self._writers.pop(experiment_id, None)
        if writer is not None:
            writer.close()
        root = self._layout.root
        try:
            remove_indexes(root, self._fs)
        except OSError as error:
            raise StoreError(
                f"{error.filename or root} can't be removed: {error.strerror or error}",
                hint="it has traces of the experiment; remove it as its owner",
            ) from error
        for folder in (self._layout.trace_folder(experiment_id).path, root / "artifacts" / experiment_id):
            removed = root / f".{folder.parent.name}.{experiment_id}.{os.getpid()}{TEMPORARY}"
            try:
                self._fs.rename(folder, removed)
                self._fs.sync_folder(folder.parent)
                shutil.rmtree(removed)
            except FileNotFoundError:
                continue  # there are none of these
            except OSError as error:
                raise StoreError(
                    f"{folder} can't be removed: {error.strerror or error}", hint="check the store's permissions"
                ) from error

    def remove_assessments(self, run_id: str) -> None:
        """Remove for good what a run assessed.

        Raises:
            StoreError: the disk does not take it.
        """
        field = TraceField(("assessed by", run_id), lambda trace: (any(_made_by(run_id, trace)),), text=run_id)
        found = self.having(field, True)
        for trace in self.all() if found is None else found:
            gone = [{"type": "assessment_delete", "assessment_id": one} for one in _made_by(run_id, trace)]
            if gone:
                self.add(trace.experiment_id, *({"trace_id": trace.trace_id, **fact} for fact in gone))

    def close(self) -> None:
        """Make all that was added durable and close the files; what is added later goes to new ones."""
        with self._lock:
            writers, self._writers = list(self._writers.values()), {}
        for writer in writers:
            writer.close()

    def _append(
        self, experiment_id: str, facts: Sequence[Mapping[str, Any]], contents: Sequence[Sequence[Any]]
    ) -> None:
        folder = self._layout.trace_folder(experiment_id)
        check_lines(({"seq": 0, "time": 0, "at": [0, 0], **fact} for fact in facts), FACTS, "a trace")
        # the facts read of a trace come before those added now, even if a clock was set back
        not_before = max((self._index.last_time(fact["trace_id"]) for fact in facts), default=0)
        self._writer(folder).append(facts, contents, not_before=not_before)

    def _writer(self, folder: TraceFolder) -> TraceWriter:
        experiment_id = folder.experiment_id
        with self._lock:
            writer = self._writers.get(experiment_id)
            if writer is None:
                writer = TraceWriter(folder, clock=self._clock, fs=self._fs)
                self._writers[experiment_id] = writer
                if len(self._writers) > OPEN_WRITERS_MAX:
                    self._writers.pop(next(iter(self._writers))).close()
            return writer

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        self._index.after_fork()


class SpanReader:
    """Reads the contents of spans, each file opened once. For one thread, closed at the end of its ``with``."""

    def __init__(self, layout: Layout) -> None:
        """Use ``Traces.spans``."""
        self._layout = layout
        self._files: dict[tuple[str, str], int] = {}
        self.damage: list[CorruptionError] = []

    def __enter__(self) -> SpanReader:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self._files.values():
            os.close(fd)
        self._files = {}

    def read(self, heads: Iterable[SpanHead]) -> list[str]:
        """The JSON texts of these spans, in order; those that can't be read are added to ``damage``.

        Raises:
            StoreError: the disk can't be read.
        """
        lines: dict[SpanPlace, list[Any]] = {}
        found = []
        with _readable():
            for head in heads:
                if head.place not in lines:
                    lines[head.place] = self._line(head.place)
                if head.order < len(lines[head.place]):
                    content = lines[head.place][head.order]
                    found.append(content if isinstance(content, str) else json.dumps(content, ensure_ascii=False))
        return found

    def _line(self, place: SpanPlace) -> list[Any]:
        try:
            fd = self._files.get(place[:2])
            if fd is None:
                fd = self._files[place[:2]] = open_regular(self._path(place))
            if place.size > LINE_BYTES_MAX:
                raise BadLine(f"{place.size:,} bytes are more than a line can have")
            spans: list[Any] = decode_line(os.pread(fd, place.size, place.offset).removesuffix(b"\n"), SPANS)["spans"]
            return spans
        except FileNotFoundError:
            what = "the file is missing"
        except NotRegularError as error:
            what = f"{error.strerror}"
        except BadLine as error:
            what = f"no spans at byte {place.offset}: {error}"
        path = str(self._path(place))
        hint = "restore the file from a copy"
        self.damage.append(CorruptionError(f"{path}: {what}", path=path, offset=place.offset, hint=hint))
        return []

    def _path(self, place: SpanPlace) -> Path:
        return self._layout.trace_folder(place.experiment_id).spans / f"{place.writer}.jsonl"


def _made_by(run_id: str, trace: Trace) -> list[str]:
    """The ids of the trace's assessments that a run made."""
    return [held.assessment_id for held in trace.assessments.values() if held.source_run == run_id]


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"traces can't be read from {error.filename or 'the store'}: {error.strerror or error}",
            hint="check its permissions and the disk",
        ) from error


_ALIVE: weakref.WeakSet[Traces] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for traces in list(_ALIVE):
        traces._after_fork()


after_fork_in_child(Stage.STORAGE, _after_fork_in_child)
