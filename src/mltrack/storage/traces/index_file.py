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
import weakref
import zlib
from array import array
from bisect import bisect_right
from dataclasses import astuple
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

from mltrack.disk.codec import BadLine, decode_line, encode_line
from mltrack.disk.filesystem import TEMPORARY, FileSystem, open_regular, reading
from mltrack.disk.trust import is_own_file
from mltrack.errors import CorruptionError
from mltrack.storage.traces.trace import LAZY_FIELDS, Assessment, SpanHead, SpanPlace, Trace, lazy_trace, set_field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path
    from typing import IO

__all__ = ["FileRead", "IndexFile", "KeptTrace", "index_path", "load_index", "remove_indexes", "save_index"]

INDEX_FILE = "catalog.traces"

VERSION = 1
"""Raised by every change to what is below, or to a trace's fields."""

TAIL_BYTES = 4096

SINGLY_MAX = 1000
"""After so many rows that were read singly, all are read."""

NO_TIME = -(1 << 63)
_COLUMNS = ("times", "durations", "states", "experiments", "last_times", "last_files", "last_seqs", "ends")


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
    row: bytes | None = None

    @property
    def order(self) -> tuple[int, str]:
        """The latest first; by the id among those of one time."""
        return (-self.trace.request_time if self.trace is not None else 0, self.trace_id)


class IndexFile:
    """One such file, as read. Its traces are its rows, numbered."""

    def __init__(self, header: Mapping[str, Any], columns: memoryview, rows: _Rows) -> None:
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
        self._id_text = bytes(columns)
        self._rows = rows
        self._ends = self._columns["ends"]
        self._traces = [lazy_trace((self, row)) for row in range(header["count"])]
        self._filled = False

    @cached_property
    def _ids(self) -> list[str]:
        return self._id_text.decode("utf-8", "surrogatepass").split("\n")

    @cached_property
    def _by_id(self) -> dict[str, int]:
        return {trace_id: row for row, trace_id in enumerate(self._ids)}

    # --- traces ---

    def traces(self, without: Iterable[int], scope: frozenset[str] | None = None) -> list[Trace]:
        """The traces that readers see, the latest first, without those rows; of these experiments (None: of all)."""
        left_out = self._hidden.union(without)
        if scope is None or scope.issuperset(self._experiments):
            return [trace for row, trace in enumerate(self._traces) if row not in left_out]
        wanted = {number for number, name in enumerate(self._experiments) if name in scope}
        numbers = enumerate(self._columns["experiments"])
        return [self._traces[row] for row, number in numbers if number in wanted and row not in left_out]

    def holding(self, text: str, without: Iterable[int]) -> list[Trace]:
        """The traces that may have a field with that text, or a text in it: no others have."""
        needle = json.dumps(text).encode()
        left_out = self._hidden.union(without)
        found = []
        rows = self._rows.whole()
        at = rows.find(needle)
        while at >= 0:
            row = bisect_right(self._ends, at)
            if row not in left_out:
                found.append(self._traces[row])
            at = rows.find(needle, self._ends[row])
        return found

    def fill_heads(self) -> None:
        """Set the fields that are in columns, of all traces at once, which is quicker than of each one."""
        if self._filled:
            return
        self._filled = True
        columns = (self._columns[name] for name in _COLUMNS[:4])
        names = ("trace_id", "request_time", "duration", "state", "experiment_id")
        set_id, set_time, set_duration, set_state, set_experiment = map(set_field, names)
        for trace, trace_id, time, duration, state, experiment in zip(self._traces, self._ids, *columns, strict=True):
            set_id(trace, trace_id)
            set_time(trace, time)
            set_duration(trace, None if duration == NO_TIME else duration)
            set_state(trace, self._states[state])
            set_experiment(trace, self._experiments[experiment])

    def fill(self, trace: Trace, row: int, name: str) -> None:
        """Set the fields of the trace of a row: its spans if ``name`` is that, else all others."""
        fields, spans = self._parts(row)
        if name == "spans":
            heads = [self._span(values) for values in json.loads(spans)]
            set_field(name)(trace, {head.span_id: head for head in heads})
            return
        for (_, set_it, decode), value in zip(_LAZY, json.loads(fields), strict=True):
            set_it(trace, value if decode is None else decode(value))

    def _span(self, values: list[Any]) -> SpanHead:
        *fields, place, order = values
        file, offset, size = place
        named = self.files[file]
        return SpanHead._make([*fields, SpanPlace(named.experiment_id, named.writer, offset, size), order])

    def _parts(self, row: int) -> tuple[bytes, bytes]:
        """The fields and the spans of a row, checked."""
        try:
            checksum, fields, spans = self._row(row).split(b"\n")[:3]
            intact = zlib.crc32(fields + spans) == int(checksum, 16)
        except ValueError:  # a page of zeros, for example
            raise self._rows.damaged() from None
        if not intact:
            raise self._rows.damaged()
        return fields, spans

    def _row(self, row: int) -> bytes:
        """The row as it is saved: a checksum, the fields, the spans."""
        return self._rows.read(self._ends[row - 1] if row else 0, self._ends[row])

    # --- facts ---

    def find(self, trace_id: str) -> int | None:
        """The row of a trace, which may be one that was deleted."""
        return self._by_id.get(trace_id)

    def kept(self, row: int) -> KeptTrace:
        """The trace of a row, and where its facts are."""
        raw = self._row(row)
        last = (self._columns["last_times"][row], self._columns["last_files"][row], self._columns["last_seqs"][row])
        several = self._several.get(str(row))
        files = {last[1]: last[2]} if several is None else {int(file): seq for file, seq in several.items()}
        return KeptTrace(self._ids[row], self._traces[row] if raw != _DELETED else None, last, files, raw)

    def __len__(self) -> int:
        return len(self._ends)


class _Rows:
    """The rows of the file: read one by one as long as few are, else at once. It stays open as long as this is used."""

    def __init__(self, file: IO[bytes], path: Path, size: int) -> None:
        """They begin where ``file`` is."""
        self._path = path
        self._fd = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._fd)
        self._start = file.tell()
        self._size = size
        self._left = SINGLY_MAX
        self._whole: bytes | None = None

    def whole(self) -> bytes:
        """All rows."""
        if self._whole is None:
            self._whole = self._pread(0, self._size)
        return self._whole

    def read(self, start: int, end: int) -> bytes:
        """The bytes from ``start`` to ``end``."""
        self._left -= 1
        if self._whole is not None or self._left < 0:
            return self.whole()[start:end]
        return self._pread(start, end - start)

    def _pread(self, start: int, size: int) -> bytes:
        found = os.pread(self._fd, size, self._start + start)
        if len(found) != size:
            raise self.damaged()
        return found

    def damaged(self) -> CorruptionError:
        """The error for rows that are not as they were written."""
        path = str(self._path)
        return CorruptionError(f"{path} is damaged", path=path, hint="delete it: it is made again from other files")


_DELETED = b"0\n\n\n"
_DECODE: dict[str, Callable[[Any], Any]] = {
    "assessments": lambda records: {record[0]: Assessment(*record) for record in records},
    "run_ids": tuple,
    "prompts": tuple,
}
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
                return IndexFile(header, memoryview(columns), _Rows(file, path, header["rows"]))
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
    rows: list[bytes] = []
    for one in kept:
        trace = one.trace or Trace(one.trace_id, "", 0, state="")
        columns["times"].append(trace.request_time)
        columns["durations"].append(NO_TIME if trace.duration is None else trace.duration)
        columns["states"].append(states.setdefault(trace.state, len(states)))
        columns["experiments"].append(experiments.setdefault(trace.experiment_id, len(experiments)))
        for name, number in zip(("last_times", "last_files", "last_seqs"), one.last, strict=True):
            columns[name].append(number)
        rows.append(one.row or (_DELETED if one.trace is None else _as_row(one.trace, numbers)))
    columns["ends"].extend(accumulate(map(len, rows)))
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
        "rows": columns["ends"][-1],
        "crc": zlib.crc32(front),
    }
    return header, [front, *rows]


def _as_row(trace: Trace, numbers: Mapping[tuple[str, str], int]) -> bytes:
    fields = {key: getattr(trace, key) for key in LAZY_FIELDS}
    fields["assessments"] = [astuple(one) for one in trace.assessments.values()]
    spans = [
        (*head[:-2], (numbers[head.place.experiment_id, head.place.writer], head.place.offset, head.place.size), order)
        for head in trace.spans.values()
        for order in [head.order]
    ]
    found = _dumps(list(fields.values())).encode(), _dumps(spans).encode()
    return b"%x\n%b\n%b\n" % (zlib.crc32(b"".join(found)), *found)


_dumps = json.JSONEncoder(separators=(",", ":"), default=dict).encode
