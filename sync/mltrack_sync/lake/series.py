"""The points of one run in a lake, or of one metric of it: only files and row groups that may have them are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from mltrack.disk.arrow_columns import array_column, column_array
from mltrack.errors import NotFoundError
from mltrack_sync.lake.layout import month_of, shard_of
from mltrack_sync.lake.rewinds import counting_rows

if TYPE_CHECKING:
    from mltrack.entities import RunInfo
    from mltrack_sync.lake.scan import LakeScan

__all__ = ["partition_of", "read_series"]


def partition_of(info: RunInfo) -> dict[str, list[str]]:
    """The filter for a run's points."""
    return {"month": [month_of(info.start_time)], "shard": [shard_of(info.run_id)], "run_id": [info.run_id]}


def read_series(scan: LakeScan, info: RunInfo, key: str | None) -> pa.Table:
    """The points of a run, or of its metric ``key``; see ``LakeRun.metrics``.

    Raises:
        NotFoundError: the run has no such metric.
        RemoteError: the lake can't be read.
    """
    where = partition_of(info) | ({} if key is None else {"metric": [key]})
    table = scan.rows("points", ["metric", "step", "time_ns", "value", "writer", "seq"], where)
    table = counting_rows(table, scan.rules.get(info.run_id, {}))
    if key is not None and not table.num_rows:
        raise NotFoundError(f"run {info.run_id} has no metric {key!r}", hint="see its data.metrics")
    order = _order(table)
    if order is not None:
        table = table.combine_chunks().take(array_column(order, pa.int64()))
    times = table.column("time_ns").cast(pa.timestamp("ns", tz="UTC"))
    names = ["metric"] if key is None else []
    kept = [*(table.column(name) for name in [*names, "step"]), times, table.column("value")]
    return pa.table(kept, names=[*names, "step", "time", "value"])


def _order(table: pa.Table) -> Any:
    """By seq where there is one writer, else by time, and for equal times by seq; None where it is so already."""
    seqs = column_array(table.column("seq"), np.int64)
    if table.num_rows and len(table.column("writer").unique()) > 1:
        return np.lexsort((seqs, column_array(table.column("time_ns"), np.int64)))
    return None if bool(np.all(seqs[1:] >= seqs[:-1])) else np.argsort(seqs, kind="stable")
