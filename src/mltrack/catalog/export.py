"""Export: runs as files that other tools read (Parquet, CSV, JSON lines), streamed a piece of points at a time."""

from __future__ import annotations

import json
import math
import os
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from mltrack.disk.arrow_columns import repeated_text, value_column
from mltrack.disk.filesystem import LOCAL, TEMPORARY, FileSystem
from mltrack.errors import StoreError, UsageError
from mltrack.text.arrow_cells import is_time, with_text_times

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import IO

    from mltrack.entities import DatasetInput
    from mltrack.errors import CorruptionError
    from mltrack.storage.runs.stored_run import StoredRun

__all__ = ["FORMATS", "ExportReport", "export_folder", "export_points"]

FORMATS = {"parquet": ".parquet", "csv": ".csv", "json": ".jsonl"}
"""Formats and the suffixes of their files; ``json`` is one object on each line."""

_FORM_OF = {".parquet": "parquet", ".csv": "csv", ".json": "json", ".jsonl": "json"}

_TIME = pa.timestamp("ms", tz="UTC")
_TEXT = pa.string()
SCHEMAS = {
    "runs": pa.schema(
        [(name, _TEXT) for name in ("run_id", "run_name", "experiment_id", "experiment_name", "status")]
        + [("crashed", pa.bool_()), ("start_time", _TIME), ("end_time", _TIME)]
        + [(name, _TEXT) for name in ("lifecycle_stage", "user_id", "parent_run_id")]
        + [("points", pa.int64())]
    ),
    "params": pa.schema([("run_id", _TEXT), ("key", _TEXT), ("value", _TEXT)]),
    "tags": pa.schema([("run_id", _TEXT), ("key", _TEXT), ("value", _TEXT)]),
    "datasets": pa.schema(
        [
            (name, _TEXT)
            for name in ("run_id", "name", "digest", "context", "source_type", "source", "schema", "profile", "tags")
        ]
    ),
    "artifacts": pa.schema([("run_id", _TEXT), ("path", _TEXT), ("size", pa.int64()), ("sha256", _TEXT)]),
    "metrics": pa.schema(
        [
            ("run_id", pa.dictionary(pa.int32(), _TEXT)),
            ("metric", pa.dictionary(pa.int32(), _TEXT)),
            ("step", pa.int64()),
            ("time", pa.timestamp("ns", tz="UTC")),
            ("value", pa.float64()),
        ]
    ),
}
"""The columns of each file of a folder export; a points export has those of ``metrics``.

The tags of a dataset input are a JSON object, as text.
"""


@dataclass(slots=True)
class ExportReport:
    """What was written; ``damage`` is what could not be read and is missing."""

    files: list[Path] = field(default_factory=list)
    runs: int = 0
    points: int = 0
    damage: list[CorruptionError] = field(default_factory=list)


class _Writer(Protocol):
    def write_table(self, table: pa.Table) -> None: ...

    def close(self) -> None: ...


class _JsonLines:
    """Rows as lines of JSON objects; NaN and infinities as "NaN", "Infinity", "-Infinity"."""

    def __init__(self, sink: IO[bytes]) -> None:
        self._sink = sink

    def write_table(self, table: pa.Table) -> None:
        for batch in with_text_times(table).to_batches(max_chunksize=8192):
            rows = [json.dumps(_finite(row), ensure_ascii=False, allow_nan=False) + "\n" for row in batch.to_pylist()]
            self._sink.write("".join(rows).encode("utf-8", "replace"))

    def close(self) -> None:
        self._sink.flush()


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    value = row.get("value")
    if isinstance(value, float) and not math.isfinite(value):
        row["value"] = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return row


class _Csv:
    """Rows as CSV with a header line; dictionary columns as text, and times as ISO 8601."""

    def __init__(self, sink: IO[bytes], schema: pa.Schema) -> None:
        as_text = [pa.types.is_dictionary(field.type) or is_time(field.type) for field in schema]
        self._schema = pa.schema([(f.name, _TEXT if text else f.type) for f, text in zip(schema, as_text, strict=True)])
        self._writer = pyarrow.csv.CSVWriter(sink, self._schema)

    def write_table(self, table: pa.Table) -> None:
        self._writer.write_table(with_text_times(table).cast(self._schema))

    def close(self) -> None:
        self._writer.close()


def _writer(sink: IO[bytes], form: str, schema: pa.Schema) -> closing[_Writer]:
    """A writer of tables to ``sink``, closed on errors too, as Arrow's must be."""
    if form == "csv":
        return closing(_Csv(sink, schema))
    if form == "json":
        return closing(_JsonLines(sink))
    return closing(pq.ParquetWriter(sink, schema, compression="zstd"))


def export_folder(
    runs: Iterable[StoredRun], folder: Path, form: str = "parquet", *, force: bool = False, fs: FileSystem = LOCAL
) -> ExportReport:
    """Write the tables of SCHEMAS to ``folder``, each as one file; all appear, or none.

    Args:
        runs: The runs to export.
        folder: Where the files go; made if needed.
        form: parquet, csv or json.
        force: Replace existing files.
        fs: The file system to write with.

    Raises:
        UsageError: an unknown format, or a file exists already (unless ``force``).
        StoreError: the folder can't be written.
    """
    suffix = _suffix(form)
    targets = {name: folder / f"{name}{suffix}" for name in SCHEMAS}
    _refuse_existing(targets.values(), force)
    report = ExportReport(files=list(targets.values()))
    with ExitStack() as stack, _disk_errors(folder):
        fs.make_folder(folder)
        temporary = {name: _temporary(path) for name, path in targets.items()}
        for path in temporary.values():
            stack.callback(fs.unlink, path)
        with ExitStack() as files:
            sinks = {name: files.enter_context(open(path, "xb")) for name, path in temporary.items()}
            writers = {name: files.enter_context(_writer(sinks[name], form, SCHEMAS[name])) for name in SCHEMAS}
            for run in runs:
                _write_run(run, writers, report)
        for name, path in temporary.items():
            fs.publish(path, targets[name])
    return report


def export_points(
    runs: Iterable[StoredRun],
    target: Path | IO[bytes],
    form: str | None = None,
    *,
    force: bool = False,
    fs: FileSystem = LOCAL,
) -> ExportReport:
    """Write every point of the runs to one file (whole or not at all) or an open binary stream.

    Args:
        runs: The runs to export.
        target: The file, or an open binary stream.
        form: parquet, csv or json; by default the suffix of the file's name decides.
        force: Replace an existing file.
        fs: The file system to write with.

    Raises:
        UsageError, StoreError: as export_folder.
    """
    if not isinstance(target, Path):
        report = ExportReport()
        _write_points(runs, target, form or "csv", report)
        return report
    form = form or _FORM_OF.get(target.suffix, target.suffix)
    _suffix(form)
    _refuse_existing([target], force)
    report = ExportReport(files=[target])
    with ExitStack() as stack, _disk_errors(target):
        fs.make_folder(target.parent)
        temporary = _temporary(target)
        stack.callback(fs.unlink, temporary)
        with open(temporary, "xb") as sink:
            _write_points(runs, sink, form, report)
        fs.publish(temporary, target)
    return report


def _suffix(form: str) -> str:
    try:
        return FORMATS[form]
    except KeyError:
        raise UsageError(f"{form!r} is not an export format", hint="use one of " + ", ".join(FORMATS)) from None


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")


def _refuse_existing(paths: Iterable[Path], force: bool) -> None:
    existing = [path for path in paths if path.exists()]
    if existing and not force:
        raise UsageError(f"{existing[0]} exists already", hint="use --force, or write elsewhere with -o")


@contextmanager
def _disk_errors(place: Path) -> Iterator[None]:
    """Turns disk errors into one that names the place."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{place} can't be written: {error.strerror or error}", hint="write elsewhere") from error


def _write_points(runs: Iterable[StoredRun], sink: IO[bytes], form: str, report: ExportReport) -> None:
    with _writer(sink, form, SCHEMAS["metrics"]) as writer:
        for run in runs:
            report.runs += 1
            _write_run_points(run, writer, report)


def _write_run(run: StoredRun, writers: dict[str, _Writer], report: ExportReport) -> None:
    report.runs += 1
    before = report.points
    _write_run_points(run, writers["metrics"], report)
    info = run.info
    facts = {name: getattr(info, name, None) for name in SCHEMAS["runs"].names}
    rows: dict[str, list[Sequence[Any]]] = {
        "runs": [[{**facts, "points": report.points - before}[name] for name in SCHEMAS["runs"].names]],
        "params": [(run.run_id, key, value) for key, value in sorted(run.params.items())],
        "tags": [(run.run_id, key, value) for key, value in sorted(run.tags.items())],
        "datasets": [(run.run_id, *_dataset_row(used)) for used in run.datasets],
        "artifacts": [(run.run_id, a.path, a.size, a.sha256) for a in run.artifacts],
    }
    for name, found in rows.items():
        if found:
            columns = [
                value_column(_clean(column), kind)
                for column, kind in zip(zip(*found, strict=True), SCHEMAS[name].types, strict=True)
            ]
            writers[name].write_table(pa.Table.from_arrays(columns, schema=SCHEMAS[name]))


def _dataset_row(used: DatasetInput) -> tuple[str | None, ...]:
    of, tags = used.dataset, json.dumps(dict(used.tags), ensure_ascii=False)
    return (of.name, of.digest, used.context, of.source_type, of.source, of.schema, of.profile, tags)


def _clean(column: Sequence[Any]) -> list[Any]:
    """Text made encodable in UTF-8: lone surrogates are replaced."""
    return [v.encode("utf-8", "replace").decode() if isinstance(v, str) else v for v in column]


def _write_run_points(run: StoredRun, writer: _Writer, report: ExportReport) -> None:
    damaged = len(run.damage)
    for _, piece in run.read_points():
        table = piece.to_table()
        ids = repeated_text(run.run_id, len(table))
        columns = [ids, *(table.column(name) for name in SCHEMAS["metrics"].names[1:])]
        writer.write_table(pa.Table.from_arrays(columns, schema=SCHEMAS["metrics"]))
        report.points += len(table)
    report.damage += [*run.state.damage, *run.damage[damaged:]]
