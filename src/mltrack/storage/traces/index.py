"""The index of traces: every trace of a store, folded from facts, kept in memory and updated by reading files' tails.

A refresh reads only what was appended to facts files. Facts of one trace may come from several writers; if one is older
than those already folded, that trace is folded again.
"""

from __future__ import annotations

import contextlib
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mltrack.disk.codec import BadLine, decode_line
from mltrack.disk.filesystem import reading
from mltrack.disk.jsonlog import read_log
from mltrack.disk.line_types import FACTS
from mltrack.errors import CorruptionError
from mltrack.storage.traces.state import TraceFact, fold_trace
from mltrack.storage.traces.trace import Trace
from mltrack.storage.traces.views import SortKey, TraceField, TraceViews

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping
    from typing import Any

    from mltrack.disk.layout import Layout

__all__ = ["TraceChanges", "TraceIndex"]

JSONL = ".jsonl"
FOLLOWED_MAX = 500
"""After a refresh that changed more traces, views are made from all traces again, which costs less."""


@dataclass(frozen=True, slots=True)
class TraceChanges:
    """Changes after given positions: those of all files of facts now, and the traces that later facts concern."""

    positions: Mapping[str, int]
    trace_ids: tuple[str, ...]


@dataclass(slots=True, eq=False)
class _File:
    """A writer's facts file, and how far it was read: the byte, and the seq of the next line."""

    path: Path
    experiment_id: str
    writer: str
    offset: int = 0
    seq: int = 0
    closed: bool = False

    @property
    def key(self) -> str:
        """Its name among all of the store: two processes may have given their writers of two experiments one name."""
        return f"{self.experiment_id}/{self.writer}"


@dataclass(slots=True)
class _Entry:
    trace: Trace | None = None
    last: tuple[int, str, int] = (0, "", -1)
    pending: list[TraceFact] = field(default_factory=list)
    files: dict[str, int] = field(default_factory=dict)  # key of the file -> seq of its last fact of this trace


class TraceIndex:
    """All traces of a store, for any number of threads. The traces it returns never change."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.RLock()
        self._files: dict[str, _File] = {}
        self._entries: dict[str, _Entry] = {}
        self._touched: dict[str, _Entry] = {}  # with facts that were read and are not folded yet
        self._views = TraceViews()
        self.damage: list[CorruptionError] = []

    def after_fork(self) -> None:
        """In a forked child: another thread may have been in here when the process forked."""
        self._reset()

    def get(self, trace_id: str) -> Trace | None:
        """The trace with that id, as of now."""
        return next(iter(self.get_some([trace_id])), None)

    def get_some(self, trace_ids: Iterable[str]) -> list[Trace]:
        """Those of the traces that exist, in the order of the ids, as of now."""
        with self._lock:
            self.refresh()
            entries = [self._entries.get(trace_id) for trace_id in trace_ids]
            folded = [entry.trace for entry in entries if entry is not None]
            return [trace for trace in folded if trace is not None and trace.born]

    def all(self) -> list[Trace]:
        """All traces, as of now, in any order."""
        with self._lock:
            self.refresh()
            return self._all()

    def _all(self) -> list[Trace]:
        folded = [entry.trace for entry in self._entries.values()]
        return [trace for trace in folded if trace is not None and trace.born]

    def in_order(self, scope: frozenset[str] | None, keys: tuple[SortKey, ...]) -> list[Trace]:
        """The traces of these experiments (None: of all), as of now, sorted; no two of them are equal in ``keys``."""
        with self._lock:
            self.refresh()
            return self._views.in_order(scope, keys, self._all)

    def having(self, field: TraceField, value: Hashable) -> list[Trace]:
        """The traces that have a value in that field, as of now, in any order."""
        with self._lock:
            self.refresh()
            return self._views.having(field, value, self._all)

    def last_time(self, trace_id: str) -> int:
        """The time (ns) of the latest fact of a trace that was read so far; 0 if there is none."""
        entry = self._entries.get(trace_id)
        return entry.last[0] if entry is not None else 0

    def changes(self, after: Mapping[str, int]) -> TraceChanges:
        """The changes by facts with a seq of at least ``after["<experiment_id>/<writer>"]`` (0 without one); deleted
        traces too. Ledgers of earlier versions name the writer alone."""
        with self._lock:
            self.refresh()
            positions = {key: file.seq for key, file in self._files.items()}
            start = {key: after.get(key, after.get(file.writer, 0)) for key, file in self._files.items()}
            ids = [
                trace_id
                for trace_id, entry in self._entries.items()
                if any(seq >= start[key] for key, seq in entry.files.items())
            ]
            return TraceChanges(positions, tuple(ids))

    def refresh(self) -> None:
        """Read what is new. Where that fails at one file, the next call goes on with what was read of others.

        Raises:
            OSError: a file exists and can't be read.
        """
        with self._lock:
            for file, size in self._grown():
                if size < file.offset:  # replaced from outside: what was read of it is no longer valid
                    self._reset_files()
                    return self.refresh()
                self._read(file)
            followed = len(self._touched) <= FOLLOWED_MAX
            if not followed:
                self._views.clear()
            for trace_id, entry in list(self._touched.items()):
                before = entry.trace
                self._fold(trace_id, entry)
                del self._touched[trace_id]
                if followed:
                    self._views.replace(_visible(before), _visible(entry.trace))
            return None

    def _reset_files(self) -> None:
        self._files, self._entries, self._touched, self.damage = {}, {}, {}, []
        self._views.clear()

    def _grown(self) -> list[tuple[_File, int]]:
        """Files whose size is not what was read of them."""
        found = []
        present = list(_facts_files(self._layout.traces))
        if self._files and not self._files.keys() <= {
            f"{experiment_id}/{writer}" for _, experiment_id, writer in present
        }:
            self._reset_files()  # one was removed from outside
        for path, experiment_id, writer in present:
            key = f"{experiment_id}/{writer}"
            file = self._files.get(key)
            if file is None:
                file = self._files[key] = _File(Path(path), experiment_id, writer)
            if not file.closed:
                with contextlib.suppress(FileNotFoundError):
                    size = os.stat(path).st_size
                    if size != file.offset:
                        found.append((file, size))
        return found

    def _read(self, file: _File) -> None:
        read = read_log(file.path, file.offset, records=FACTS)
        self.damage += read.damage
        file.offset = read.end
        for line in read.lines:
            fact = _as_fact(file, line)
            file.seq = fact.seq + 1
            if line["type"] == "close":
                file.closed = True
            trace_id = line.get("trace_id")
            if trace_id is not None:
                entry = self._entries.get(trace_id)
                if entry is None:
                    entry = self._entries[trace_id] = _Entry()
                entry.pending.append(fact)
                entry.files[file.key] = fact.seq
                self._touched[trace_id] = entry

    def _fold(self, trace_id: str, entry: _Entry) -> None:
        if len(entry.pending) > 1:
            entry.pending.sort(key=lambda fact: fact[:3])
        bad: list[TraceFact] = []
        if entry.pending[0][:3] < entry.last:
            entry.pending = sorted(self._facts_of(trace_id, entry), key=lambda fact: fact[:3])
            entry.trace = None
        entry.trace = fold_trace(entry.trace, entry.pending, bad)
        entry.last = entry.pending[-1][:3]
        entry.pending = []
        for fact in bad:
            self._is_bad(self._files[f"{fact.experiment_id}/{fact.writer}"].path, fact.line.get("type"))

    def _facts_of(self, trace_id: str, entry: _Entry) -> Iterator[TraceFact]:
        """All facts of one trace, from the files that have some."""
        needle = trace_id.encode("utf-8", "replace")
        for key in entry.files:
            file = self._files[key]
            with reading(file.path) as opened:
                for raw in opened.read(file.offset).split(b"\n"):
                    if needle in raw:
                        with contextlib.suppress(BadLine):  # reported when it was read first
                            line = decode_line(raw, FACTS)
                            if line.get("trace_id") == trace_id:
                                yield _as_fact(file, line)

    def _is_bad(self, path: Path, kind: object) -> None:
        message = f"{path}: a {kind!r} without the fields it needs"
        self.damage.append(CorruptionError(message, path=str(path), hint="was it written by another program?"))


def _as_fact(file: _File, line: Mapping[str, Any]) -> TraceFact:
    return TraceFact(line["time"], file.writer, line["seq"], file.experiment_id, line)


def _visible(trace: Trace | None) -> Trace | None:
    return trace if trace is not None and trace.born else None


def _facts_files(root: Path) -> Iterator[tuple[str, str, str]]:
    """Each facts file with its experiment and writer."""
    for experiment_id in _names(os.fspath(root)):
        folder = f"{root}/{experiment_id}/facts"
        for name in _names(folder):
            if name.endswith(JSONL) and not name.startswith("."):
                yield f"{folder}/{name}", experiment_id, name.removesuffix(JSONL)


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
