"""Writes the index of traces as the file that ``index_file`` reads."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import zlib
from array import array
from dataclasses import astuple
from typing import TYPE_CHECKING, Any

from mltrack.disk.codec import BadLine, encode_line
from mltrack.storage.traces.index_file import COLUMNS, DELETED, NO_TIME, VERSION, FileRead, index_path, tail_of
from mltrack.storage.traces.index_rows import Row, encode_rows
from mltrack.storage.traces.trace import LAZY_FIELDS, Trace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from mltrack.disk.filesystem import FileSystem
    from mltrack.storage.traces.index_file import KeptTrace

__all__ = ["save_index"]


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
    return file._replace(inode=found.st_ino, changed=found.st_mtime_ns, tail=tail_of(path, file.offset))


def _encoded(kept: Sequence[KeptTrace], numbers: Mapping[tuple[str, str], int]) -> tuple[dict[str, Any], list[bytes]]:
    """The header but what is said of files, and the parts after it."""
    columns = {name: array("q") for name in COLUMNS}
    states: dict[str, int] = {}
    experiments: dict[str, int] = {}
    rows: list[tuple[Row, Row]] = []
    for one in kept:
        trace = one.trace or Trace(one.trace_id, "", 0, state="")
        columns["times"].append(trace.request_time)
        columns["durations"].append(NO_TIME if trace.duration is None else trace.duration)
        columns["states"].append(states.setdefault(trace.state, len(states)))
        columns["experiments"].append(experiments.setdefault(trace.experiment_id, len(experiments)))
        for name, number in zip(("last_times", "last_files", "last_seqs"), one.last, strict=True):
            columns[name].append(number)
        rows.append(one.rows or (DELETED if one.trace is None else _as_rows(one.trace, numbers)))
    fields, spans = zip(*rows, strict=True)
    encoded = [
        encode_rows(fields, columns["ends"], columns["crcs"]),
        encode_rows(spans, columns["span_ends"], columns["span_crcs"]),
    ]
    ids = "\n".join(one.trace_id for one in kept).encode("utf-8", "surrogatepass")
    front = b"".join([*(columns[name].tobytes() for name in COLUMNS), ids])
    header = {
        "version": VERSION,
        "byteorder": sys.byteorder,
        "states": list(states),
        "experiments": list(experiments),
        "hidden": [row for row, one in enumerate(kept) if one.hidden],
        "several": {str(row): one.files for row, one in enumerate(kept) if len(one.files) > 1},
        "count": len(kept),
        "columns": len(front),
        "rows": sum(map(len, encoded)),
        "crc": zlib.crc32(front),
    }
    return header, [front, *encoded]


def _as_rows(trace: Trace, numbers: Mapping[tuple[str, str], int]) -> tuple[Row, Row]:
    fields = {key: getattr(trace, key) for key in LAZY_FIELDS}
    fields["assessments"] = [astuple(one) for one in trace.assessments.values()]
    spans = [
        (*head[:-2], (numbers[head.place.experiment_id, head.place.writer], head.place.offset, head.place.size), order)
        for head in trace.spans.values()
        for order in [head.order]
    ]
    return Row.of(_dumps(list(fields.values()))), Row.of(_dumps(spans))


_dumps = json.JSONEncoder(separators=(",", ":"), default=dict).encode
