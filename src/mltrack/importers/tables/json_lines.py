"""A file of JSON lines as batches of rows: nested objects become names with slashes; lines that are torn are named."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from pathlib import Path

    from mltrack.importers.findings import Findings

__all__ = ["first_columns", "read_json_lines"]

ROWS = 1 << 14
FIRST_ROWS = 100
DEPTH_MAX = 20


def first_columns(path: Path, where: str, findings: Findings) -> list[str]:
    """The names in the first rows, in the order in which they appear."""
    names: dict[str, None] = {}
    for at, row in enumerate(_rows(path, where, findings)):
        if at == FIRST_ROWS:
            break
        names.update(dict.fromkeys(row))
    return list(names)


def read_json_lines(path: Path, where: str, findings: Findings) -> Iterator[pa.RecordBatch]:
    """The rows in order, missing values as null.

    Args:
        path: The file.
        where: Its name in messages.
        findings: Gets lines that can't be read.

    Raises:
        OSError: the file can't be read.
    """
    held: list[dict[str, Any]] = []
    for row in _rows(path, where, findings):
        held.append(row)
        if len(held) == ROWS:
            yield _batch(held)
            held = []
    if held:
        yield _batch(held)


def _rows(path: Path, where: str, findings: Findings) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                fields = json.loads(line)
            except (ValueError, RecursionError) as error:
                torn = "torn" if not line.endswith(b"\n") else str(error)
                findings.problem(where, f"line {number:,} is not JSON: {torn}")
                continue
            if not isinstance(fields, dict):
                findings.problem(where, f"line {number:,} is not an object")
                continue
            yield dict(_flat(fields))


def _flat(fields: Mapping[str, Any], prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    for key, value in fields.items():
        if isinstance(value, dict) and depth < DEPTH_MAX:
            yield from _flat(value, f"{prefix}{key}/", depth + 1)
        elif value is not None:
            yield f"{prefix}{key}", value


def _batch(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pa.RecordBatch.from_arrays([_column([row.get(name) for row in rows]) for name in names], names=names)


def _column(cells: list[Any]) -> pa.Array:
    """Numbers as float64, anything else as text."""
    kinds = {type(cell) for cell in cells if cell is not None}
    if kinds <= {int, float}:
        missing = np.array([cell is None for cell in cells], np.bool_)
        numbers = np.array([0.0 if cell is None else float(cell) for cell in cells], np.float64)
        return pa.array(numbers, mask=missing)
    texts = [cell if cell is None or isinstance(cell, str) else json.dumps(cell) for cell in cells]
    return pa.array([None if text is None else text.encode("utf-8", "replace").decode() for text in texts], pa.string())
