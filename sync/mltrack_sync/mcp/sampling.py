"""Fewer points of a metric that still show its spikes."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from mltrack.disk.arrow_columns import column_array
from mltrack.text.figures import utc_ns

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["sample"]


def sample(table: pa.Table, most: int) -> list[list[Any]]:
    """Points as [step, time, value], at most ``most`` of them, in the order of the table.

    All where there are no more; else the first and the last, and of each of so many stretches the least and the
    greatest value, or a NaN that is in it, and others where there is room.
    """
    steps, times = (column_array(table.column(name), np.int64) for name in ("step", "time"))
    values = column_array(table.column("value"), np.float64)
    chosen = np.arange(len(values)) if len(values) <= most else _chosen(values, most)
    return [[int(steps[at]), utc_ns(int(times[at])), float(values[at])] for at in chosen]


def _chosen(values: Any, most: int) -> Any:
    last = len(values) - 1
    kept = {0, last} if most > 1 else {last}
    stretches = (most - len(kept)) // 2
    bounds: list[int] = np.linspace(0, len(values), stretches + 1).astype(np.int64).tolist() if stretches else []
    for begin, end in pairwise(bounds):
        part = values[begin:end]
        unknown = np.flatnonzero(np.isnan(part))
        if len(unknown):
            kept.add(int(begin + unknown[0]))
        if len(unknown) < len(part):
            kept.add(int(begin + np.nanargmin(part)))
            if not len(unknown):
                kept.add(int(begin + np.nanargmax(part)))
    spare: list[int] = [int(at) for at in np.linspace(0, last, most).astype(np.int64) if int(at) not in kept]
    return sorted([*kept, *dict.fromkeys(spare[: most - len(kept)])])
