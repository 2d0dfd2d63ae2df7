"""The index of traces: every trace of a store, folded from facts, kept in memory and updated by reading files' tails.

A refresh reads only what was appended to facts files, the first of a process what was appended since the index was
last saved. Facts of one trace may come from several writers; if one is older than those already folded, that trace is
folded again.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mltrack.disk.codec import BadLine, decode_line
from mltrack.disk.filesystem import LOCAL, FileSystem, reading
from mltrack.disk.jsonlog import read_log
from mltrack.disk.line_types import FACTS
from mltrack.errors import CorruptionError
from mltrack.process.collecting import without_collecting
from mltrack.storage.traces.index_file import FileRead, IndexFile, KeptTrace, load_index
from mltrack.storage.traces.index_saving import save_index
from mltrack.storage.traces.state import TraceFact, fold_trace
from mltrack.storage.traces.trace import Trace
from mltrack.storage.traces.views import FEW_MAX, TraceList, TraceViews, place_in

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from mltrack.disk.layout import Layout
    from mltrack.storage.traces.views import SortKey, TraceField

__all__ = ["SAVED_MIN", "TraceChanges", "TraceIndex", "first_save_at"]

JSONL = ".jsonl"
FOLLOWED_MAX = 500
"""After a refresh that changed more traces, views are made from all traces again, which costs less."""

SAVED_MIN = 200
"""The index is saved when the first refresh of a process had to read so many facts, and a share of the traces in it.

Later it is saved when as many were read as there are traces.
"""

SAVED_SHARE = 64


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

    def __init__(self, layout: Layout, *, fs: FileSystem = LOCAL) -> None:
        self._layout = layout
        self._fs = fs
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.RLock()
        self._files: dict[str, _File] = {}
        self._entries: dict[str, _Entry] = {}
        self._touched: dict[str, _Entry] = {}  # with facts that were read and are not folded yet
        self._views = TraceViews()
        self._begun = False
        self._saved: IndexFile | None = None  # traces as an earlier refresh saved them
        self._replaced: set[int] = set()  # its rows of traces that are entries now
        self._unsaved = 0  # facts
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
            found = [self._get(trace_id) for trace_id in trace_ids]
            return [trace for trace in found if trace is not None and trace.born]

    def _get(self, trace_id: str) -> Trace | None:
        entry = self._entries.get(trace_id)
        if entry is None and self._saved is not None:
            row = self._saved.find(trace_id)
            return None if row is None else self._saved.kept(row).trace
        return None if entry is None else entry.trace

    def all(self) -> list[Trace]:
        """All traces, as of now, in any order."""
        with self._lock:
            self.refresh()
            return self._all()

    def _all(self) -> list[Trace]:
        saved = []
        if self._saved is not None:
            with without_collecting():
                saved = self._saved.seen(range(len(self._saved)), self._replaced)
        return saved + self._fresh()

    def _fresh(self) -> list[Trace]:
        folded = [entry.trace for entry in self._entries.values()]
        return [trace for trace in folded if trace is not None and trace.born]

    def in_order(self, scope: frozenset[str] | None, keys: tuple[SortKey, ...]) -> Sequence[Trace]:
        """The traces of these experiments (None: of all), as of now, sorted; no two of them are equal in ``keys``."""
        with self._lock:
            self.refresh()
            return self._views.in_order(scope, keys, self._all, lambda: self._from_columns(scope, keys))

    def _from_columns(self, scope: frozenset[str] | None, keys: tuple[SortKey, ...]) -> TraceList | None:
        """The traces that were saved, sorted by their columns, and the others in their places; None if it can't be."""
        saved = self._saved
        if saved is None or len(self._entries) > FOLLOWED_MAX:
            return None
        rows = saved.ordered(saved.rows(self._replaced, scope), keys)
        if rows is None:
            return None
        found = TraceList([*rows], saved)
        position = place_in(keys)
        for trace in self._fresh():
            if scope is None or trace.experiment_id in scope:
                found.add(trace, position)
        return found

    def having(self, field: TraceField, value: Hashable) -> list[Trace] | None:
        """Traces that may have a value in that field, all that have it among them, as of now; None if not few."""
        with self._lock:
            self.refresh()
            return self._views.having(field, value, self._all, lambda: self._few(field, value))

    def _few(self, field: TraceField, value: Hashable) -> list[Trace] | None:
        """The same, not from a view."""
        saved = self._saved
        traces: Iterable[Trace] = self._fresh()
        rows: Iterable[int] | None = ()
        if saved is not None:
            if field.column is not None:
                rows = saved.rows_with(field.column, value, FEW_MAX)
            elif (text := field.text_of(value)) is not None:
                rows = saved.rows_holding(text, FEW_MAX)
            else:
                traces = self._all()
        if rows is None:
            return None
        found = [trace for trace in traces if value in field.values(trace)]
        if saved is not None:
            with without_collecting():
                found += saved.seen(rows, self._replaced)
        return found

    def last_time(self, trace_id: str) -> int:
        """The time (ns) of the latest fact of a trace that was read so far; 0 if there is none."""
        entry = self._entries.get(trace_id)
        if entry is None and self._saved is not None:
            row = self._saved.find(trace_id)
            return 0 if row is None else self._saved.last_of(row)[0]
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
            numbered = list(start.values())  # files that were saved come first, in their order
            for row in self._unchanged():
                if self._saved is not None and any(
                    seq >= numbered[file] for file, seq in self._saved.files_of(row).items()
                ):
                    ids.append(self._saved.id_of(row))
            return TraceChanges(positions, tuple(ids))

    def _unchanged(self) -> list[int]:
        """The rows of traces that were saved and did not change since."""
        return [row for row in range(len(self._saved or ())) if row not in self._replaced]

    def refresh(self) -> None:
        """Read what is new. Where that fails at one file, the next call goes on with what was read of others.

        Raises:
            OSError: a file exists and can't be read.
        """
        with self._lock:
            saved_at = len(self._entries) + len(self._saved or ())
            if not self._begun:
                self._begun = True
                self._load()
                saved_at = first_save_at(len(self._saved or ()))
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
            if self._unsaved >= max(SAVED_MIN, saved_at):
                with without_collecting():
                    self._save()
            return None

    def _reset_files(self) -> None:
        self._files, self._entries, self._touched, self.damage = {}, {}, {}, []
        self._saved, self._replaced, self._unsaved = None, set(), 0
        self._views.clear()

    def _load(self) -> None:
        """Begin with the index as it was saved, if it was."""
        paths = {(experiment, writer): path for path, experiment, writer in _facts_files(self._layout.traces)}
        with without_collecting():
            self._saved = load_index(self._layout.root, paths)
        for read in self._saved.files if self._saved is not None else ():
            path = Path(paths[read.experiment_id, read.writer])
            file = _File(path, read.experiment_id, read.writer, read.offset, read.seq, read.closed)
            self._files[file.key] = file

    def _save(self) -> None:
        self._unsaved = 0
        if self.damage:
            return  # whoever reads the index next is to find it, too
        numbers = {key: number for number, key in enumerate(self._files)}
        kept = [self._saved.kept(row) for row in self._unchanged()] if self._saved is not None else []
        for trace_id, entry in self._entries.items():
            time_ns, writer, seq = entry.last
            last = next(numbers[key] for key in entry.files if key.endswith(f"/{writer}"))
            files = {numbers[key]: last_seq for key, last_seq in entry.files.items()}
            hidden = _visible(entry.trace) is None
            kept.append(KeptTrace(trace_id, entry.trace, hidden, (time_ns, last, seq), files))
        reads = [FileRead(f.experiment_id, f.writer, f.offset, f.seq, f.closed) for f in self._files.values()]
        paths = {(file.experiment_id, file.writer): str(file.path) for file in self._files.values()}
        save_index(self._layout.root, reads, kept, paths, self._fs)

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
                    entry = self._entries[trace_id] = self._entry_of(trace_id)
                self._unsaved += 1
                entry.pending.append(fact)
                entry.files[file.key] = fact.seq
                self._touched[trace_id] = entry

    def _entry_of(self, trace_id: str) -> _Entry:
        """The entry of a trace that has none: with what was saved of it."""
        row = self._saved.find(trace_id) if self._saved is not None else None
        if row is None or self._saved is None:
            return _Entry()
        self._replaced.add(row)
        kept, keys = self._saved.kept(row), list(self._files)
        time_ns, number, seq = kept.last
        last = (time_ns, self._files[keys[number]].writer, seq)
        return _Entry(kept.trace, last, files={keys[file]: last_seq for file, last_seq in kept.files.items()})

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
        # a line has it in one of two ways: what is beyond ASCII is escaped where the line has half a surrogate pair
        escaped, plain = (
            json.dumps(trace_id).encode(),
            json.dumps(trace_id, ensure_ascii=False).encode("utf-8", "replace"),
        )
        for key in entry.files:
            file = self._files[key]
            with reading(file.path) as opened:
                for raw in opened.read(file.offset).split(b"\n"):
                    if plain in raw or escaped in raw:
                        with contextlib.suppress(BadLine):  # reported when it was read first
                            line = decode_line(raw, FACTS)
                            if line.get("trace_id") == trace_id:
                                yield _as_fact(file, line)

    def _is_bad(self, path: Path, kind: object) -> None:
        message = f"{path}: a {kind!r} without the fields it needs"
        self.damage.append(CorruptionError(message, path=str(path), hint="was it written by another program?"))


def first_save_at(saved: int) -> int:
    """How many facts the first refresh of a process has to read for an index of so many traces to be saved again.

    A trace takes about a sixth of the time to save that a fact takes to read.
    """
    return max(SAVED_MIN, saved // SAVED_SHARE)


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
