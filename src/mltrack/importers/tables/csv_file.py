"""A CSV file as batches of rows: numbers as float64, everything else as text; rows of another length are named."""

from __future__ import annotations

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
_MISSING = ["", "null", "NULL", "None"]


def csv_columns(path: Path) -> list[str]:
    """The names in the header.

    Raises:
        SourceError: there is none.
    """
    return list(_schema(path).names)


def read_csv(path: Path, where: str, findings: Findings) -> Iterator[pa.RecordBatch]:
    """The rows in order.

    Args:
        path: The file.
        where: Its name in messages.
        findings: Gets rows and cells that can't be read.

    Raises:
        SourceError: the file can't be read further.
    """
    schema = _schema(path)
    kinds = {field.name: pa.float64() if _is_number(field.type) else pa.string() for field in schema}
    done = 0
    try:
        for batch in _batches(path, where, kinds, findings):
            done += len(batch)
            yield batch
        return
    except pa.ArrowInvalid:  # a cell further down is not a number: cell by cell from here on
        pass
    texts = {name: pa.string() for name in kinds}
    row = 0
    for batch in _batches(path, where, texts, findings):
        first, row = row, row + len(batch)
        if row > done:
            rest = batch.slice(max(0, done - first))
            yield _as_numbers(rest, kinds, where, max(done, first), findings)


def _schema(path: Path) -> pa.Schema:
    try:
        with pa.csv.open_csv(path, read_options=pa.csv.ReadOptions(block_size=BLOCK_BYTES)) as reader:
            return reader.schema
    except pa.ArrowInvalid as first:
        schema = _header_of_torn(path)
        if schema is None:
            raise SourceError(f"it is not a table: {first}") from first
        return schema


def _header_of_torn(path: Path) -> pa.Schema | None:
    """The same where rows of another length are in the first block."""
    parse = pa.csv.ParseOptions(invalid_row_handler=lambda row: "skip")
    try:
        with pa.csv.open_csv(path, parse_options=parse) as reader:
            return reader.schema
    except pa.ArrowInvalid:
        return None


def _batches(path: Path, where: str, kinds: dict[str, pa.DataType], findings: Findings) -> Iterator[pa.RecordBatch]:
    def skip(row: Any) -> str:
        number = f"line {row.number:,}" if row.number else "a line"
        findings.problem(where, f"{number} has {row.actual_columns} cells, not {row.expected_columns}: torn")
        return "skip"

    convert = pa.csv.ConvertOptions(
        column_types=kinds, null_values=_MISSING, strings_can_be_null=True, quoted_strings_can_be_null=False
    )
    read = pa.csv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False)
    parse = pa.csv.ParseOptions(invalid_row_handler=skip)
    with pa.csv.open_csv(path, read_options=read, parse_options=parse, convert_options=convert) as reader:
        yield from reader


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind))


def _as_numbers(
    batch: pa.RecordBatch, kinds: dict[str, pa.DataType], where: str, first: int, findings: Findings
) -> pa.RecordBatch:
    """Texts as numbers, cell by cell; what is not one is named, and missing."""

    def number(name: str, row: int, text: str | None) -> float | None:
        if text is None:
            return None
        try:
            return float(text)
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
