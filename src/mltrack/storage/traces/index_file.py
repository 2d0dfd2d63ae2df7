"""The index of traces as a file next to the catalog, so that a new process need not read and fold all facts again.

It has how far each facts file was read, and the traces that came out, the latest first; of a trace only what is asked
for is decoded. It can be deleted at any time. One that was not written here (an unpacked copy), or does not fit the
facts files, is not used. Each user of a store has one.
"""

from __future__ import annotations

import os
import sys
import zlib
from array import array
from collections import deque
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from mltrack.disk.codec import BadLine, decode_line
from mltrack.disk.filesystem import TEMPORARY, FileSystem, open_regular, reading
from mltrack.disk.trust import is_own_file
from mltrack.process.collecting import without_collecting
from mltrack.storage.traces.index_rows import Row, Rows
from mltrack.storage.traces.trace import LAZY_FIELDS, Assessment, SpanHead, SpanPlace, Trace, lazy_trace, set_field
from mltrack.storage.traces.views import LATEST_FIRST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from mltrack.storage.traces.views import SortKey

__all__ = [
    "COLUMNS",
    "DELETED",
    "NO_TIME",
    "VERSION",
    "FileRead",
    "IndexFile",
    "KeptTrace",
    "index_path",
    "load_index",
    "remove_indexes",
    "tail_of",
]

INDEX_FILE = "catalog.traces"

VERSION = 2
"""Raised by every change to what is below, or to a trace's fields."""

TAIL_BYTES = 4096

FINDS_MAX = 10
"""After so many searches for one id in all of them, a map of ids is made."""

NO_TIME = -(1 << 63)
_PLACES = ("ends", "crcs", "span_ends", "span_crcs")  # of the rows with fields, and of those with spans
COLUMNS = ("times", "durations", "states", "experiments", "last_times", "last_files", "last_seqs", *_PLACES)
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

    ``trace`` is None if it was deleted; ``hidden``: readers don't see it. ``files`` has the last seq of each file with
    facts of it.
    """

    trace_id: str
    trace: Trace | None
    hidden: bool
    last: tuple[int, int, int]
    files: Mapping[int, int]
    rows: tuple[Row, Row] | None = None  # its fields and its spans, as they are saved

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
        for name in COLUMNS:
            self._columns[name] = array("q")
            self._columns[name].frombytes(columns[: 8 * header["count"]])
            columns = columns[8 * header["count"] :]
        self._id_lines = b"\n%b\n" % bytes(columns)
        self._fields = Rows(fd, path, start, self._columns["ends"], self._columns["crcs"])
        start += self._fields.size
        self._spans = Rows(fd, path, start, self._columns["span_ends"], self._columns["span_crcs"])
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
        """The rows whose fields hold that text, as JSON, hidden ones too; None if they are more."""
        return self._fields.holding(text.encode("ascii"), rows_max)

    def seen(self, rows: Iterable[int], without: Iterable[int]) -> list[Trace]:
        """The traces of those rows that readers see, without others of them."""
        left_out = self._hidden.union(without)
        return [self.trace(row) for row in rows if row not in left_out]

    def fill(self, trace: Trace, row: int, name: str) -> None:
        """Set the fields of the trace of a row: its spans if ``name`` is that, else all others. Rows after it may be
        filled as well."""
        with without_collecting():
            found = (self._spans if name == "spans" else self._fields).decoded(row)
            traces = [trace, *(self.trace(row + after) for after in range(1, len(found)))]
            if None in found:  # of traces that were deleted
                traces = [one for one, values in zip(traces, found, strict=True) if values is not None]
                found = [values for values in found if values is not None]
            (self._fill_spans if name == "spans" else _fill_fields)(traces, found)

    def _fill_spans(self, traces: list[Trace], found: list[list[Any]]) -> None:
        for trace, spans in zip(traces, found, strict=True):
            heads = [self._span(values) for values in spans]
            _set_spans(trace, {head.span_id: head for head in heads})

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
        trace = self.trace(row) if raw[0].content != DELETED[0].content else None
        return KeptTrace(self._ids[row], trace, row in self._hidden, self.last_of(row), self.files_of(row), raw)

    def last_of(self, row: int) -> tuple[int, int, int]:
        """The ``last`` of a trace."""
        return self._columns["last_times"][row], self._columns["last_files"][row], self._columns["last_seqs"][row]

    def files_of(self, row: int) -> Mapping[int, int]:
        """The ``files`` of a trace."""
        several = self._several.get(str(row))
        if several is not None:
            return {int(file): seq for file, seq in several.items()}
        return {self._columns["last_files"][row]: self._columns["last_seqs"][row]}

    def id_of(self, row: int) -> str:
        """The id of a trace."""
        return self._ids[row]

    def __len__(self) -> int:
        return len(self.made)


DELETED = Row.of("null"), Row.of("null")
_DECODE: dict[str, Callable[[Any], Any]] = {
    "assessments": lambda records: {record[0]: Assessment(*record) for record in records},
    "run_ids": tuple,
    "prompts": tuple,
}
_IN_COLUMNS = ("trace_id", "request_time", "duration", "state", "experiment_id")
_set_id, _set_time, _set_duration, _set_state, _set_experiment = map(set_field, _IN_COLUMNS)
_set_spans = set_field("spans")
_LAZY = [
    (number, set_field(name), _DECODE.get(name)) for number, name in enumerate(LAZY_FIELDS) if name not in _IN_COLUMNS
]


def _fill_fields(traces: list[Trace], found: list[list[Any]]) -> None:
    columns = list(zip(*found, strict=True))
    for number, set_it, decode in _LAZY:
        values = columns[number] if decode is None else map(decode, columns[number])
        deque(map(set_it, traces, values), maxlen=0)


# --- the file ---


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
    return found.st_size >= read.offset and tail_of(path, read.offset) == read.tail


def tail_of(path: str, offset: int) -> int:
    """The checksum of the last bytes before an offset."""
    fd = open_regular(path)
    try:
        return zlib.crc32(os.pread(fd, min(offset, TAIL_BYTES), max(offset - TAIL_BYTES, 0)))
    finally:
        os.close(fd)
