"""The values of an Arrow table as texts and as JSON. Needs no pandas, which Arrow asks for nanoseconds."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mltrack.text.figures import number
from mltrack.text.printing import is_terminal, strict

__all__ = ["cells", "is_number", "is_time", "records", "with_text_times"]

_PARTS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def is_number(kind: pa.DataType) -> bool:
    """Whether a column's values are numbers."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def is_time(kind: pa.DataType) -> bool:
    """Whether a column's values are points in time."""
    return bool(pa.types.is_timestamp(kind))


def cells(column: pa.ChunkedArray) -> list[str]:
    """One text for each value. Times are local, with their offset, on a screen; in a pipe UTC, to the last digit."""
    if is_time(column.type):
        return _local_times(column) if is_terminal() and column.type.tz else [text or "" for text in _utc(column)]
    return [_cell(value) for value in _values(column)]


def records(table: pa.Table) -> list[dict[str, Any]]:
    """The rows, as JSON can hold them: maps as objects, times as ISO 8601 in UTC."""
    columns = [_utc(column) if is_time(column.type) else _values(column) for column in table.columns]
    return [dict(zip(table.column_names, row, strict=True)) for row in zip(*columns, strict=True)]


def with_text_times(table: pa.Table) -> pa.Table:
    """The table with times as ISO 8601 in UTC, to the last digit: for CSV and JSON."""
    for at, field in enumerate(table.schema):
        if is_time(field.type):
            column = table.column(at)
            if field.type.tz:
                column = column.cast(pa.timestamp(field.type.unit, "UTC"))
            text = pc.strftime(column, format="%Y-%m-%dT%H:%M:%S" + "Z" * bool(field.type.tz))
            table = table.set_column(at, field.name, text)
    return table


def _utc(column: pa.ChunkedArray) -> list[str | None]:
    texts: list[str | None] = column.cast(pa.string()).to_pylist()
    return [text and text.replace(" ", "T", 1) for text in texts]


def _local_times(column: pa.ChunkedArray) -> list[str]:
    """Points' times to the millisecond, which tells them apart; other times to the second."""
    digits = "milliseconds" if column.type.unit == "ns" else "seconds"
    numbers = column.cast(pa.int64()).to_pylist()
    parts = _PARTS[column.type.unit]
    return [
        "" if value is None else _local_time(value / parts, digits) or str(text)
        for value, text in zip(numbers, _utc(column), strict=True)
    ]


def _local_time(seconds: float, digits: str) -> str | None:
    """None outside of the years that a calendar has here."""
    try:
        return datetime.fromtimestamp(seconds, UTC).astimezone().isoformat(" ", digits)
    except (OSError, OverflowError, ValueError):
        return None


def _values(column: pa.ChunkedArray) -> list[Any]:
    """Python's values, with maps as dicts; of times and durations inside of others no nanoseconds."""
    rounded = _without_ns(column.type)
    values: list[Any] = (column if rounded == column.type else pc.cast(column, rounded, safe=False)).to_pylist(
        maps_as_pydicts="lossy"
    )
    return values


def _without_ns(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return pa.timestamp("us", kind.tz)
    if pa.types.is_duration(kind) and kind.unit == "ns":
        return pa.duration("us")
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_without_ns(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(_without_ns(kind.key_type), _without_ns(kind.item_type))
    if pa.types.is_list(kind):
        return pa.list_(_without_ns(kind.value_type))
    return kind


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float() if is_terminal():
            return number(value)
        case dict() | list():
            return json.dumps(strict(value), ensure_ascii=False)
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
