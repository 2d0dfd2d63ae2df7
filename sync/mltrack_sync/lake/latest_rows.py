"""Rows of which the last one of a thing counts: those that a store wrote, and how rows of now differ from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from mltrack_sync.lake.layout import TABLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mltrack_sync.lake.fact_rows import Row
    from mltrack_sync.lake.scan import LakeScan

__all__ = ["as_deleted", "changed_rows", "key_of", "latest_rows", "newest_rows"]


def key_of(table: str, row: Row) -> Row:
    """What a row is about."""
    return tuple(row[index] for index in _key_columns(table))


def _key_columns(table: str) -> list[int]:
    names = TABLES[table].schema.names
    return [names.index(name) for name in TABLES[table].key]


def latest_rows(
    scan: LakeScan, table: str, store_id: str, column: str = "", values: Iterable[str] | None = None
) -> dict[Row, Row]:
    """The last row of each thing that a store wrote, by key, as ``fact_rows`` makes them; times are in us.

    Args:
        scan: The lake.
        table: The table.
        store_id: The store.
        column: With ``values``: only rows that have one of these in the column.
        values: See ``column``.

    Raises:
        RemoteError: the lake can't be read.
    """
    where = {"store_id": {store_id}}
    if values is not None:
        where[column] = set(values)
    found = scan.rows(table, where=where)
    latest: dict[Row, Row] = {}
    for row in zip(*(_values(found.column(name)) for name in TABLES[table].schema.names), strict=True):
        key = key_of(table, row)
        if key not in latest or row[-1] > latest[key][-1]:
            latest[key] = row
    return latest


def newest_rows(scan: LakeScan, table: str) -> list[dict[str, Any]]:
    """What exists by a table, whichever store sent it, as fields by name; times are in us, maps are dicts.

    Of several stores that have one thing, the row counts that was changed last; of traces, the longest.

    Raises:
        RemoteError: the lake can't be read.
    """
    names = TABLES[table].schema.names
    found = scan.rows(table)
    latest: dict[Row, Row] = {}
    for row in zip(*(_values(found.column(name)) for name in names), strict=True):
        key = key_of(table, row)
        if key not in latest or row[-1] > latest[key][-1]:
            latest[key] = row
    newest: dict[Row, dict[str, Any]] = {}
    for key, row in latest.items():
        fields = dict(zip(names, row, strict=True))
        held = newest.get(key[1:])
        if not fields.get("deleted") and (held is None or _age(fields) > _age(held)):
            newest[key[1:]] = fields
    return [newest[key] for key in sorted(newest)]


def _age(fields: dict[str, Any]) -> tuple[int, int]:
    length = len(fields.get("spans") or "") + len(fields.get("assessments") or "")
    return fields.get("last_update_time") or 0, length


def _values(column: pa.ChunkedArray) -> Sequence[Any]:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    values: list[Any] = column.to_pylist()
    if pa.types.is_map(column.type):
        return [None if value is None else dict(value) for value in values]
    return values


def changed_rows(rows: Iterable[Row], latest: dict[Row, Row], table: str) -> list[Row]:
    """Those of these rows that say something else than the last one in the lake does."""
    return [row for row in rows if (held := latest.get(key_of(table, row))) is None or held[:-1] != row[:-1]]


def as_deleted(row: Row, table: str, revision: int) -> Row:
    """The row that says that a thing does not exist any more."""
    names = TABLES[table].schema.names
    if "deleted" in names:
        at = names.index("deleted")
        row = (*row[:at], True, *row[at + 1 :])
    return (*row[:-1], revision)
