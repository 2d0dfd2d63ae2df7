"""The index of traces as a file next to the catalog, so that a new process need not read and fold all facts again.

It has how far each facts file was read, and the traces that came out, the latest first; of a trace only what is asked
for is decoded. It can be deleted at any time. One that was not written here (an unpacked copy), or does not fit the
facts files, is not used. Each user of a store has one.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import zlib
from array import array
from dataclasses import astuple
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

from mltrack.disk.codec import BadLine, decode_line, encode_line
from mltrack.disk.filesystem import TEMPORARY, FileSystem, open_regular, reading
from mltrack.disk.trust import is_own_file
from mltrack.storage.traces.index_rows import Rows, encode_row
from mltrack.storage.traces.trace import LAZY_FIELDS, Assessment, SpanHead, SpanPlace, Trace, lazy_trace, set_field
from mltrack.storage.traces.views import LATEST_FIRST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from mltrack.storage.traces.views import SortKey

__all__ = ["FileRead", "IndexFile", "KeptTrace", "index_path", "load_index", "remove_indexes", "save_index"]

INDEX_FILE = "catalog.traces"

VERSION = 2
"""Raised by every change to what is below, or to a trace's fields."""

TAIL_BYTES = 4096

FINDS_MAX = 50
"""After so many searches for one id in all of them, a map of ids is made."""

NO_TIME = -(1 << 63)
_COLUMNS = ("times", "durations", "states", "experiments", "last_times", "last_files", "last_seqs", "ends", "span_ends")
_COLUMN_OF = {"request_time": "times", "duration": "durations", "state": "states"}


class FileRead(NamedTuple):
    """How far a facts file was read, and how it is recognized: inode, change (ns), checksum of the last bytes read."""

    experiment_id: str
    writer: str
    offset: int
    seq: int
    closed: bool
    inode: int = 0
    changed: int = 0
    tail: int = 0


class KeptTrace(NamedTuple):
    """A trace of the index: ``last`` is the time (ns) of its last fact, the number of its file, and its seq.

    ``trace`` is None if it was deleted; ``files`` has the last seq of each file with facts of it.
    """

    trace_id: str
    trace: Trace | None
    last: tuple[int, int, int]
    files: Mapping[int, int]
    rows: tuple[bytes, bytes] | None = None  # its fields and its spans, as they are saved

    @property
    def order(self) -> tuple[int, str]:
        """The latest first; by the id among those of one time."""
        return (-self.trace.request_time if self.trace is not None else 0, self.trace_id)


class IndexFile:
    """One such file, as read. Its traces are its rows, numbered."""

    def __init__(self, header: Mapping[str, Any], columns: memoryview, fd: int, path: Path, start: int) -> None:
        """Use ``load_index``."""
        self.files = [FileRead(*fields) for fields in header["files"]]
        self._states: list[str] = header["states"]
        self._experiments: list[str] = header["experiments"]
        self._several: dict[str, dict[str, int]] = header["several"]
        self._hidden = frozenset(header["hidden"])  # the rows of traces that were deleted, or have only links
        self._columns: dict[str, array[int]] = {}
        for name in _COLUMNS:
            self._columns[name] = array("q")
            self._columns[name].frombytes(columns[: 8 * header["count"]])
            columns = columns[8 * header["count"] :]
        self._id_lines = b"\n%b\n" % bytes(columns)
        ends, span_ends = self._columns["ends"], self._columns["span_ends"]
        self._fields = Rows(fd, path, start, ends)
        self._spans = Rows(fd, path, start + (ends[-1] if ends else 0), span_ends)
        self._finds = 0
        self.made: list[Trace | None] = [None] * header["count"]
        """The traces that were asked for so far, in the places of their rows."""

    @cached_property
    def _ids(self) -> list[str]:
        return self._id_lines[1:-1].decode("utf-8", "surrogatepass").split("\n")

    @cached_property
    def _by_id(self) -> dict[str, int]:
        return {trace_id: row for row, trace_id in enumerate(self._ids)}

    # --- traces ---

    def trace(self, row: int) -> Trace:
        """The trace of a row: what is in columns is set, the rest is decoded when it is asked for."""
        found = self.made[row]
        if found is None:
            found = self.made[row] = lazy_trace((self, row))
            columns = self._columns
            duration = columns["durations"][row]
            _set_id(found, self._ids[row])
            _set_time(found, columns["times"][row])
            _set_duration(found, None if duration == NO_TIME else duration)
            _set_state(found, self._states[columns["states"][row]])
            _set_experiment(found, self._experiments[columns["experiments"][row]])
        return found

    def rows(self, without: Iterable[int], scope: frozenset[str] | None = None) -> list[int]:
        """The rows of traces that readers see, the latest first, without those; of these experiments (None: of all)."""
        left_out = self._hidden.union(without)
        if scope is None or scope.issuperset(self._experiments):
            if not left_out:
                return list(range(len(self)))
            return [row for row in range(len(self)) if row not in left_out]
        wanted = {number for number, name in enumerate(self._experiments) if name in scope}
        numbers = enumerate(self._columns["experiments"])
        return [row for row, number in numbers if number in wanted and row not in left_out]

    def ordered(self, rows: list[int], keys: tuple[SortKey, ...]) -> list[int] | None:
        """Rows that are the latest first, sorted by other keys; None if one of those is in no column."""
        for last in reversed(LATEST_FIRST):  # equal ones stay in that order
            keys = keys[:-1] if keys[-1:] == (last,) else keys
        for key in reversed(keys):
            column = self._column(key.column)
            if column is None:
                return None
            without = [row for row in rows if column[row] is None] if key.column == "duration" else []
            if without:
                rows = [row for row in rows if column[row] is not None]
            rows.sort(key=column.__getitem__, reverse=not key.ascending)
            rows += without
        return rows

    def _column(self, name: str | None) -> Sequence[Any] | None:
        """The values of a field by row."""
        if name == "trace_id":
            return self._ids
        if name == "request_time":
            return self._columns["times"]
        if name == "duration":
            return [None if duration == NO_TIME else duration for duration in self._columns["durations"]]
        if name == "state":
            return [self._states[number] for number in self._columns["states"]]
        return None

    def rows_with(self, name: str, value: object, rows_max: int) -> list[int] | None:
        """The rows with a value in a column, hidden ones too; None if they are more."""
        if name == "trace_id":
            row = self.find(value) if isinstance(value, str) else None
            return [] if row is None else [row]
        if name == "state":
            value = self._states.index(value) if value in self._states else -1
        column = self._columns[_COLUMN_OF[name]]
        if column.count(value) > rows_max:  # type: ignore[arg-type]  # of a number with a fraction it is 0
            return None
        return [row for row, one in enumerate(column) if one == value]

    def rows_holding(self, text: str, rows_max: int) -> list[int] | None:
        """The rows that may have a field with that text, or a text in it, hidden ones too; None if they are more."""
        return self._fields.holding(json.dumps(text).encode(), rows_max)

    def seen(self, rows: Iterable[int], without: Iterable[int]) -> list[Trace]:
        """The traces of those rows that readers see, without others of them."""
        left_out = self._hidden.union(without)
        return [self.trace(row) for row in rows if row not in left_out]

    def fill(self, trace: Trace, row: int, name: str) -> None:
        """Set the fields of the trace of a row: its spans if ``name`` is that, else all others."""
        if name == "spans":
            heads = [self._span(values) for values in _loads(self._spans.content(row))]
            set_field(name)(trace, {head.span_id: head for head in heads})
            return
        for (_, set_it, decode), value in zip(_LAZY, _loads(self._fields.content(row)), strict=True):
            set_it(trace, value if decode is None else decode(value))

    def _span(self, values: list[Any]) -> SpanHead:
        *fields, place, order = values
        file, offset, size = place
        named = self.files[file]
        return SpanHead._make([*fields, SpanPlace(named.experiment_id, named.writer, offset, size), order])

    # --- facts ---

    def find(self, trace_id: str) -> int | None:
        """The row of a trace, which may be one that was deleted."""
        self._finds += 1
        if self._finds > FINDS_MAX:
            return self._by_id.get(trace_id)
        at = self._id_lines.find(b"\n%b\n" % trace_id.encode("utf-8", "surrogatepass"))
        return None if at < 0 or "\n" in trace_id else self._id_lines.count(b"\n", 0, at)

    def kept(self, row: int) -> KeptTrace:
        """The trace of a row, and where its facts are."""
        raw = self._fields.saved(row), self._spans.saved(row)
        last = (self._columns["last_times"][row], self._columns["last_files"][row], self._columns["last_seqs"][row])
        several = self._several.get(str(row))
        files = {last[1]: last[2]} if several is None else {int(file): seq for file, seq in several.items()}
        return KeptTrace(self._ids[row], self.trace(row) if raw != _DELETED else None, last, files, raw)

    def __len__(self) -> int:
        return len(self.made)


_DELETED = encode_row(b""), encode_row(b"")
_loads = json.JSONDecoder().decode
_DECODE: dict[str, Callable[[Any], Any]] = {
    "assessments": lambda records: {record[0]: Assessment(*record) for record in records},
    "run_ids": tuple,
    "prompts": tuple,
}
_set_id, _set_time, _set_duration, _set_state, _set_experiment = map(
    set_field, ("trace_id", "request_time", "duration", "state", "experiment_id")
)
_LAZY = tuple((name, set_field(name), _DECODE.get(name)) for name in LAZY_FIELDS)


# --- reading and writing the file ---


def index_path(root: Path) -> Path:
    """The file of this user, in the store's folder: those of others who use the store are not trusted."""
    return root / f"{INDEX_FILE}.{os.geteuid()}"


def remove_indexes(root: Path, fs: FileSystem) -> None:
    """Remove the files of all users, and what a process that was killed has left of one.

    Raises:
        OSError: one can't be removed.
    """
    for pattern in (f"{INDEX_FILE}.*", f".{INDEX_FILE}.*{TEMPORARY}"):
        for path in root.glob(pattern):
            fs.unlink(path)


def load_index(root: Path, facts_file: Mapping[tuple[str, str], str]) -> IndexFile | None:
    """The index of the store in ``root``; None if there is none that fits its facts files.

    Args:
        root: The store's folder.
        facts_file: The path of each facts file, by its experiment and writer.
    """
    path = index_path(root)
    try:
        if not is_own_file(path):
            return None
        with reading(path) as file:
            header = decode_line(file.readline().removesuffix(b"\n"))
            known = header.get("version") == VERSION and header["byteorder"] == sys.byteorder
            if not known or header["inode"] != os.fstat(file.fileno()).st_ino:
                return None
            columns = file.read(header["columns"])
            whole = os.fstat(file.fileno()).st_size == file.tell() + header["rows"]
            fits = whole and zlib.crc32(columns) == header["crc"]
            if fits and all(_is_that_file(read, facts_file) for read in header["files"]):
                return IndexFile(header, memoryview(columns), file.fileno(), path, file.tell())
    except (OSError, BadLine):
        return None
    return None


def _is_that_file(fields: list[Any], facts_file: Mapping[tuple[str, str], str]) -> bool:
    """Whether a facts file begins with what was read of it."""
    read = FileRead(*fields)
    path = facts_file.get((read.experiment_id, read.writer))
    if path is None:
        return False
    found = os.stat(path)
    if (found.st_ino, found.st_mtime_ns, found.st_size) == (read.inode, read.changed, read.offset):
        return True
    return found.st_size >= read.offset and _tail(path, read.offset) == read.tail


def _tail(path: str, offset: int) -> int:
    fd = open_regular(path)
    try:
        return zlib.crc32(os.pread(fd, min(offset, TAIL_BYTES), max(offset - TAIL_BYTES, 0)))
    finally:
        os.close(fd)


def save_index(
    root: Path,
    files: Sequence[FileRead],
    traces: Iterable[KeptTrace],
    facts_file: Mapping[tuple[str, str], str],
    fs: FileSystem,
) -> None:
    """Write the index of the store in ``root``.

    Without one where that fails, as in a store that can only be read, or where a number is too large for a column.
    """
    kept = sorted(traces, key=lambda one: one.order)
    if not kept or any("\n" in one.trace_id for one in kept):
        return
    numbers = {(file.experiment_id, file.writer): number for number, file in enumerate(files)}
    with contextlib.suppress(OSError, OverflowError, BadLine):
        header, parts = _encoded(kept, numbers)
        header["files"] = [_recognized(file, facts_file) for file in files]
        with fs.publishing(index_path(root)) as fd:
            header["inode"] = os.fstat(fd).st_ino
            fs.write_all(fd, b"".join([encode_line(header), *parts]))


def _recognized(file: FileRead, facts_file: Mapping[tuple[str, str], str]) -> FileRead:
    path = facts_file[file.experiment_id, file.writer]
    found = os.stat(path)
    return file._replace(inode=found.st_ino, changed=found.st_mtime_ns, tail=_tail(path, file.offset))


def _encoded(kept: Sequence[KeptTrace], numbers: Mapping[tuple[str, str], int]) -> tuple[dict[str, Any], list[bytes]]:
    """The header but what is said of files, and the parts after it."""
    columns = {name: array("q") for name in _COLUMNS}
    states: dict[str, int] = {}
    experiments: dict[str, int] = {}
    rows: list[tuple[bytes, bytes]] = []
    for one in kept:
        trace = one.trace or Trace(one.trace_id, "", 0, state="")
        columns["times"].append(trace.request_time)
        columns["durations"].append(NO_TIME if trace.duration is None else trace.duration)
        columns["states"].append(states.setdefault(trace.state, len(states)))
        columns["experiments"].append(experiments.setdefault(trace.experiment_id, len(experiments)))
        for name, number in zip(("last_times", "last_files", "last_seqs"), one.last, strict=True):
            columns[name].append(number)
        rows.append(one.rows or (_DELETED if one.trace is None else _as_rows(one.trace, numbers)))
    fields, spans = zip(*rows, strict=True)
    columns["ends"].extend(accumulate(map(len, fields)))
    columns["span_ends"].extend(accumulate(map(len, spans)))
    ids = "\n".join(one.trace_id for one in kept).encode("utf-8", "surrogatepass")
    front = b"".join([*(columns[name].tobytes() for name in _COLUMNS), ids])
    header = {
        "version": VERSION,
        "byteorder": sys.byteorder,
        "states": list(states),
        "experiments": list(experiments),
        "hidden": [row for row, one in enumerate(kept) if one.trace is None or not one.trace.born],
        "several": {str(row): one.files for row, one in enumerate(kept) if len(one.files) > 1},
        "count": len(kept),
        "columns": len(front),
        "rows": columns["ends"][-1] + columns["span_ends"][-1],
        "crc": zlib.crc32(front),
    }
    return header, [front, *fields, *spans]


def _as_rows(trace: Trace, numbers: Mapping[tuple[str, str], int]) -> tuple[bytes, bytes]:
    fields = {key: getattr(trace, key) for key in LAZY_FIELDS}
    fields["assessments"] = [astuple(one) for one in trace.assessments.values()]
    spans = [
        (*head[:-2], (numbers[head.place.experiment_id, head.place.writer], head.place.offset, head.place.size), order)
        for head in trace.spans.values()
        for order in [head.order]
    ]
    return encode_row(_dumps(list(fields.values())).encode()), encode_row(_dumps(spans).encode())


_dumps = json.JSONEncoder(separators=(",", ":"), default=dict).encode
