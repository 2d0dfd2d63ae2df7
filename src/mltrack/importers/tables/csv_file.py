"""A CSV file as batches of rows: numbers as float64, everything else as text; rows of another length are named.

Its cells are separated by commas, or else by semicolons (then numbers may have decimal commas) or tabs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

from mltrack.importers.source import SourceError

if TYPE_CHECKING:
    from pathlib import Path

    from mltrack.importers.findings import Findings

__all__ = ["csv_columns", "read_csv"]

BLOCK_BYTES = 4 << 20
LINE_BYTES_MAX = 1 << 16
_MISSING = ["", "null", "NULL", "None"]


def csv_columns(path: Path) -> list[str]:
    """The names in the header.

    Raises:
        SourceError: there is none.
    """
    return [field.name for field in _schema(path) if not _is_binary(field.type)]


def read_csv(path: Path, where: str, findings: Findings) -> Iterator[pa.RecordBatch]:
    """The rows in order.

    Args:
        path: The file.
        where: Its name in messages.
        findings: Gets rows and cells that can't be read.

    Raises:
        SourceError: the file can't be read further.
    """
    schema = [field for field in _schema(path) if not _is_binary(field.type)]
    kinds = {field.name: pa.float64() if _is_number(field.type) else pa.string() for field in schema}
    for field in _schema(path):
        if _is_binary(field.type):
            findings.left_out(f"{where}: column {field.name!r}, which is not text in UTF-8")
    done = 0
    try:
        for batch in _batches(path, where, kinds, findings):
            done += len(batch)
            yield batch
        return
    except pa.ArrowInvalid:  # a cell further down is not a number: cell by cell from here on
        pass
    texts = {name: pa.string() for name in kinds}
    row, point = 0, _punctuation(path)[1]
    try:
        for batch in _batches(path, where, texts, findings):
            first, row = row, row + len(batch)
            if row > done:
                rest = batch.slice(max(0, done - first))
                yield _as_numbers(rest, kinds, where, max(done, first), findings, point)
    except pa.ArrowInvalid as error:
        raise SourceError(f"it can't be read further than row {row:,}: {error}") from error


def _schema(path: Path) -> pa.Schema:
    separator, point = _punctuation(path)
    options = {
        "read_options": pa.csv.ReadOptions(block_size=BLOCK_BYTES),
        "convert_options": pa.csv.ConvertOptions(decimal_point=point),
    }
    try:
        schema = _header(path, pa.csv.ParseOptions(delimiter=separator), options)
    except SourceError:  # rows of another length may be in the first block
        parse = pa.csv.ParseOptions(delimiter=separator, invalid_row_handler=lambda row: "skip")
        schema = _header(path, parse, options)
    repeated = [name for name, count in Counter(schema.names).items() if count > 1]
    if repeated:
        raise SourceError(f"{len(repeated)} names are of several columns each, such as {repeated[0][:80]!r}")
    return schema


def _header(path: Path, parse: pa.csv.ParseOptions, options: dict[str, Any]) -> pa.Schema:
    try:
        with pa.csv.open_csv(path, parse_options=parse, **options) as reader:
            schema = reader.schema
            schema.names  # noqa: B018  # which are read now
            return schema
    except UnicodeDecodeError as error:
        raise SourceError("its header is not text in UTF-8") from error
    except pa.ArrowInvalid as error:
        raise SourceError(f"it is not a table: {error}") from error


def _punctuation(path: Path) -> tuple[str, str]:
    """What separates cells, and the decimal point."""
    with path.open("rb") as file:
        header, first = file.readline(LINE_BYTES_MAX), file.readline(LINE_BYTES_MAX)
    separator = next((each for each in (b",", b";", b"\t") if each in header), b",").decode()
    return separator, "," if separator == ";" and b"," in first and b"." not in first else "."


def _batches(path: Path, where: str, kinds: dict[str, pa.DataType], findings: Findings) -> Iterator[pa.RecordBatch]:
    def skip(row: Any) -> str:
        number = f"line {row.number:,}" if row.number else "a line"
        findings.problem(where, f"{number} has {row.actual_columns} cells, not {row.expected_columns}: torn")
        return "skip"

    separator, point = _punctuation(path)
    convert = pa.csv.ConvertOptions(
        column_types=kinds,
        include_columns=list(kinds),
        null_values=_MISSING,
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
        decimal_point=point,
    )
    read = pa.csv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False)
    parse = pa.csv.ParseOptions(delimiter=separator, invalid_row_handler=skip)
    with pa.csv.open_csv(path, read_options=read, parse_options=parse, convert_options=convert) as reader:
        yield from reader


def _is_binary(kind: pa.DataType) -> bool:
    """Whether the cells are not text in UTF-8."""
    return bool(pa.types.is_binary(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind))


def _as_numbers(
    batch: pa.RecordBatch, kinds: dict[str, pa.DataType], where: str, first: int, findings: Findings, point: str
) -> pa.RecordBatch:
    """Texts as numbers, cell by cell; what is not one is named, and missing."""

    def number(name: str, row: int, text: str | None) -> float | None:
        if text is None:
            return None
        try:
            return float(text.replace(point, "."))
        except ValueError:
            findings.problem(where, f"row {row + 1:,}: {name} is {text[:40]!r}, not a number")
            return None

    columns = []
    for name in batch.schema.names:
        column = batch.column(name)
        if pa.types.is_floating(kinds[name]):
            cells = [number(name, first + at, text) for at, text in enumerate(column.to_pylist())]
            held = np.array([0.0 if cell is None else cell for cell in cells], np.float64)
            column = pa.array(held, mask=np.array([cell is None for cell in cells], np.bool_))
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
