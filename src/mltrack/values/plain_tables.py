"""Tables of plain values where pandas is not installed: a dict of columns or of one row, or rows; for JSON only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mltrack.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["PlainTable", "is_column", "is_plain", "table_of_columns", "table_of_rows"]

_NUMBERS = {int, float, type(None)}


@dataclass(frozen=True, slots=True)
class PlainTable:
    """The names of columns, and the values of each."""

    columns: list[Any]
    values: list[list[Any]]


def is_column(value: Any) -> bool:
    """Whether a value is a column rather than a cell."""
    return hasattr(value, "__len__") and not isinstance(value, str | bytes | dict)


def is_plain(data: Any) -> bool:
    """Whether data is a dict of columns and cells. For a dict of dicts pandas has other rules."""
    return isinstance(data, dict) and not any(isinstance(value, dict) for value in data.values())


def table_of_columns(data: Mapping[Any, Any], name: str) -> PlainTable:
    """A table from a dict of columns, in which a cell is repeated for all rows, or of cells only, which are one row.

    Raises:
        UsageError: the columns differ in length.
    """
    columns = {label: _listed(value) for label, value in data.items() if is_column(value)}
    lengths = {len(values) for values in columns.values()} or {1}
    if len(lengths) != 1:
        raise UsageError(f"{name}: columns of {len(lengths)} lengths", hint="give columns of one length")
    values = [columns[label] if label in columns else [value] * min(lengths) for label, value in data.items()]
    return PlainTable(list(data), [_one_kind(column) for column in values])


def table_of_rows(rows: Any, columns: Sequence[str] | None) -> PlainTable:
    """A table from rows: dicts, or lists with ``columns`` for their names.

    Raises:
        UsageError: they are not rows, or rows and columns differ in length.
    """
    if not isinstance(rows, list | tuple) and getattr(rows, "ndim", 0) != 2:
        raise UsageError(f"{type(rows).__name__} does not hold rows", hint="columns are given with a list of rows")
    if all(isinstance(row, dict) for row in rows):
        labels = list(dict.fromkeys(label for row in rows for label in row)) if columns is None else list(columns)
        lists = [[row.get(label) for label in labels] for row in rows]
    else:
        labels = list(columns or ())
        lists = [_listed(row) if is_column(row) else [row] for row in rows]
        if any(len(row) != len(labels) for row in lists):
            raise UsageError("a table: rows of another length", hint="give rows as long as there are columns")
    return PlainTable(labels, [_one_kind([row[number] for row in lists]) for number in range(len(labels))])


def _listed(values: Any) -> list[Any]:
    """A sequence or an array as a list; an array's times are kept as they are."""
    if hasattr(values, "tolist") and getattr(getattr(values, "dtype", None), "kind", "") not in ("M", "m"):
        return list(values.tolist())
    return list(values)


def _is_number(value: Any) -> bool:
    """Whether a value is one of NumPy's numbers."""
    return type(value).__module__ == "numpy" and value.dtype.kind in "iuf" and value.ndim == 0


def _one_kind(values: list[Any]) -> list[Any]:
    """A column in which integers are floats if it has floats or missing values too, as in pandas."""
    values = [value.item() if _is_number(value) else value for value in values]
    kinds = set(map(type, values))
    if not kinds <= _NUMBERS or kinds in ({int}, {type(None)}):
        return values
    if any(type(value) is int and not -(1 << 63) <= value < 1 << 64 for value in values):
        return values
    return [None if value is None else float(value) for value in values]
