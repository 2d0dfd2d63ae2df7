"""Rows written to files of a table, which count when a commit names them."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mltrack_sync.lake.layout import TABLES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mltrack_sync.lake.files import LakeFiles
    from mltrack_sync.lake.layout import TableSpec

__all__ = ["StagedFile", "stage"]

ROW_GROUP_ROWS = 1 << 16
ZSTD_LEVEL = 3
STATS_CHARS_MAX = 200
_GREATEST = "\U0010ffff"
"""Comes after any other character."""

_PACKED = dict.fromkeys(("seq", "step", "time_ns", "ts"), "DELTA_BINARY_PACKED")
"""Columns of points that rise: readers of all engines know this encoding, and it takes a fraction of plain numbers."""


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A Parquet file below a table's folder; ``stats`` is the JSON text that the table's log has of it."""

    table: str
    path: str
    size: int
    rows: int
    partition: Mapping[str, str]
    stats: str


def stage(files: LakeFiles, table: str, rows: pa.Table, partition: Mapping[str, str] | None = None) -> StagedFile:
    """Write rows to a new file of a table.

    Args:
        files: The lake's files.
        table: The table's name.
        rows: Rows of its ``file_schema``, in its order; text may be dictionary-encoded.
        partition: The partition that all of them are in, where the table has partitions.

    Raises:
        RemoteError: it can't be written.
    """
    spec = TABLES[table]
    partition = dict(partition or {})
    sink = pa.BufferOutputStream()
    if table != "points":
        rows = rows.sort_by([(name, "ascending") for name in spec.order])
    is_points = table == "points"
    texts = [each.name for each in spec.file_schema if pa.types.is_string(each.type)]
    pq.write_table(
        rows,
        sink,
        row_group_size=ROW_GROUP_ROWS,
        compression="zstd",
        compression_level=ZSTD_LEVEL,
        use_dictionary=texts if is_points else True,
        column_encoding=_PACKED if is_points else None,
        write_page_index=True,
        store_schema=False,
    )
    data = sink.getvalue()
    folder = "".join(f"{name}={partition[name]}/" for name in spec.partition)
    path = f"{folder}part-{os.urandom(16).hex()}.parquet"
    files.put(f"{table}/{path}", memoryview(data))
    return StagedFile(table, path, data.size, rows.num_rows, partition, _stats(spec, rows, data))


def _stats(spec: TableSpec, rows: pa.Table, data: pa.Buffer) -> str:
    """How many rows, and of each column how many are null, and the least and greatest value.

    All columns have these, though few serve to leave files out: delta-rs's datasets take a column without bounds for
    one in which no value can be found.
    """
    meta = pq.read_metadata(pa.BufferReader(data))
    least: dict[str, Any] = {}
    greatest: dict[str, Any] = {}
    kinds = {each.name: each.type for each in spec.file_schema if not pa.types.is_map(each.type)}
    for index in range(meta.num_columns):
        name = meta.schema.column(index).path
        if name not in kinds or (pa.types.is_floating(kinds[name]) and not _is_finite(rows.column(name))):
            continue
        groups = [meta.row_group(group).column(index).statistics for group in range(meta.num_row_groups)]
        bounds = [(each.min, each.max) for each in groups if each is not None and each.has_min_max]
        if len(bounds) < len(groups) and rows.column(name).null_count < rows.num_rows:
            bounds = [tuple(pc.min_max(rows.column(name).cast(kinds[name])).as_py().values())]
        if bounds and (said := _as_json(min(low for low, _ in bounds), max(high for _, high in bounds))) is not None:
            least[name], greatest[name] = said
    nulls = {name: rows.column(name).null_count for name in kinds}
    found = {"numRecords": rows.num_rows, "minValues": least, "maxValues": greatest, "nullCount": nulls}
    return json.dumps(found, ensure_ascii=False)  # arrow's reader of JSON misreads escaped characters beyond U+FFFF


def _is_finite(column: pa.ChunkedArray) -> bool:
    """Whether JSON has bounds for all of these numbers."""
    return bool(pc.all(pc.is_finite(column)).as_py())


def _as_json(low: Any, high: Any) -> tuple[Any, Any] | None:
    """The bounds as JSON has them, those of long texts wider; None where they can't be said."""
    if isinstance(low, datetime):
        try:
            ceiling = high + timedelta(milliseconds=1)
        except OverflowError:
            return None
        return tuple(each.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z" for each in (low, ceiling))  # type: ignore[return-value]
    if isinstance(low, str):
        return low[:STATS_CHARS_MAX], max(high[:STATS_CHARS_MAX] + _GREATEST, high) if _is_long(high) else high
    return low, high


def _is_long(text: str) -> bool:
    return len(text) > STATS_CHARS_MAX
