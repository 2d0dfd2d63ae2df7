"""Facts of a run as rows: each event in ``events`` as it was written, and in the table that engines read it from."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from mltrack.disk.arrow_columns import value_column
from mltrack.disk.filesystem import open_regular
from mltrack.disk.jsonlog import bad_line, each_line
from mltrack.disk.line_types import EVENTS
from mltrack.entities import DATASET_CONTEXT
from mltrack_sync.lake.layout import TABLES, month_of
from mltrack_sync.lake.texts import map_column, text_column

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from mltrack.errors import CorruptionError
    from mltrack.storage.runs.stored_run import StoredRun

__all__ = ["FACT_TABLES", "Row", "fact_rows", "run_row", "table_of"]

Row = tuple[Any, ...]

FACT_TABLES = ("params", "tags", "artifacts", "datasets", "models", "rewinds", "forks", "events")
"""The tables whose rows each come from one event."""


def table_of(name: str, rows: Sequence[Row]) -> pa.Table:
    """Rows of a table that is not partitioned, as Arrow; each has the table's columns in their order."""
    schema = TABLES[name].file_schema
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    return pa.Table.from_arrays(
        [_column(values, each.type) for values, each in zip(columns, schema, strict=True)], schema=schema
    )


def _column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_string(kind):
        return text_column(values)
    if pa.types.is_map(kind):
        return map_column(values).cast(kind)
    if pa.types.is_timestamp(kind):
        return value_column(values, pa.int64()).cast(kind)
    return value_column(values, kind)


def fact_rows(
    store_id: str,
    run_id: str,
    folder: Path,
    after: Mapping[str, int],
    *,
    report: Callable[[CorruptionError], None],
) -> tuple[dict[str, list[Row]], dict[str, int]]:
    """Rows by table of a run's events from these positions on, and the positions after them.

    Args:
        store_id: The store.
        run_id: The run.
        folder: The folder with its events files.
        after: By writer, the seq of the first event that is wanted.
        report: Is called with lines that can't be read; they are left out.

    Raises:
        OSError: a file can't be read.
    """
    rows: dict[str, list[Row]] = {}
    ends: dict[str, int] = {}
    for name in sorted(os.listdir(folder)):
        writer = name.removesuffix(".jsonl")
        if writer == name or name.startswith("."):
            continue
        for line, fields in _lines(folder / name, report):
            seq = fields["seq"]
            ends[writer] = max(ends.get(writer, 0), seq + 1)
            if seq >= after.get(writer, 0):
                _take(rows, (store_id, run_id), (writer, seq, fields["time"]), fields, line)
    return rows, ends


def _lines(path: Path, report: Callable[[CorruptionError], None]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each whole line as it is, and its fields."""
    fd = open_regular(path, follow=False)
    try:
        for offset, size, fields, fault in each_line(path, records=EVENTS):
            if fault:
                report(bad_line(path, offset, fault))
            else:
                yield os.pread(fd, size, offset).rstrip(b"\n").decode("utf-8"), fields
    finally:
        os.close(fd)


def _take(
    rows: dict[str, list[Row]],
    owner: tuple[str, str],
    position: tuple[str, int, int],
    fields: dict[str, Any],
    line: str,
) -> None:
    writer, seq, time = position
    rows.setdefault("events", []).append((*owner, writer, seq, time, time // 1000, fields["type"], line))
    shape = _SHAPES.get(fields["type"])
    if shape is not None:
        table, found = shape(fields)
        rows.setdefault(table, []).extend((*owner, *values, *position) for values in found)


_Shape = tuple[str, list[Row]]
"""A table, and the rows in it that one event makes, without owner and position."""


def _param(fields: Mapping[str, Any]) -> _Shape:
    return "params", [(fields["key"], fields["value"])]


def _tag(fields: Mapping[str, Any]) -> _Shape:
    return "tags", [(fields["key"], fields["value"])]


def _artifact(fields: Mapping[str, Any]) -> _Shape:
    deleted, logged = bool(fields.get("deleted", False)), int(fields.get("logged", fields["time"]))
    return "artifacts", [(fields["path"], fields.get("size"), fields.get("sha256"), deleted, logged)]


def _dataset(fields: Mapping[str, Any]) -> _Shape:
    tags = {str(key): str(value) for key, value in dict(fields.get("tags") or {}).items()}
    values = tuple(_text(fields.get(name)) for name in ("source_type", "source", "schema", "profile"))
    return "datasets", [(fields["name"], fields["digest"], tags.get(DATASET_CONTEXT), *values, tags)]


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _model(fields: Mapping[str, Any]) -> _Shape:
    made = fields["type"] == "model_output"
    return "models", [(fields["model_id"], made, int(fields.get("step", 0)) if made else None)]


def _rewind(fields: Mapping[str, Any]) -> _Shape:
    """A row for each writer that had points."""
    points = {writer: counts[1] for writer, counts in fields["at"].items()}
    return "rewinds", [(fields["step"], writer, below, "") for writer, below in sorted(points.items()) if below]


def _undo_rewind(fields: Mapping[str, Any]) -> _Shape:
    return "rewinds", [(0, "", 0, fields["rewind"])]


def _fork(fields: Mapping[str, Any]) -> _Shape:
    """A row for each writer whose points the run begins with."""
    found = [(each["run_id"], each["writer"], each["points"]) for each in fields["history"]]
    return "forks", [(fields["run_id"], fields["step"], *each) for each in found]


_SHAPES: dict[str, Callable[[Mapping[str, Any]], _Shape]] = {
    "param": _param,
    "tag": _tag,
    "artifact": _artifact,
    "dataset": _dataset,
    "model_input": _model,
    "model_output": _model,
    "rewind": _rewind,
    "undo_rewind": _undo_rewind,
    "fork": _fork,
}


def run_row(store_id: str, run: StoredRun, events: int, points: int, revision: int) -> Row:
    """The run as it is now.

    Args:
        store_id: The store.
        run: The run.
        events: How many of its events the lake has with this row; of two rows, the one with more counts.
        points: How many of its points, those that do not count, too.
        revision: A number that grows with each row that this store writes.
    """
    info = run.info
    return (
        store_id,
        run.run_id,
        info.run_name,
        info.experiment_id,
        info.experiment_name,
        info.status,
        info.start_time * 1000,
        None if info.end_time is None else info.end_time * 1000,
        info.lifecycle_stage,
        info.user_id,
        info.parent_run_id,
        info.crashed,
        info.live,
        run.lost,
        month_of(info.start_time),
        events,
        points,
        revision,
    )
