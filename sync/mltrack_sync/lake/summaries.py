"""Metric summaries in a lake: each row is of the points of one batch, so the rows of a metric are added up.

A writer's rows are of all its points. Where a rewind hides some of these, they are computed from those that count.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mltrack.disk.arrow_columns import text_column
from mltrack.entities import MetricSummary
from mltrack_sync.lake.layout import shard_of
from mltrack_sync.lake.point_rows import PointPiece, point_rows
from mltrack_sync.lake.rewinds import counting_pieces

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from mltrack.storage.runs.visibility import PointRule
    from mltrack_sync.lake.scan import LakeScan

__all__ = ["SUMMARIES_SQL", "summaries_of", "summary_rows"]

SUMMARIES_SQL = """
SELECT run_id, metric AS key, last.value AS value, last.step AS step, last.time AS time, min, max, count, mean,
       first.value AS first, first.step AS first_step, first.time AS first_time
FROM (
    SELECT run_id, metric,
           max({'step': last_step, 'time': last_time_ns, 'rank': CASE WHEN isnan(last) THEN '-infinity'::DOUBLE
                ELSE last END, 'value': last}) AS last,
           min({'time': first_time_ns, 'seq': first_seq, 'step': first_step, 'value': first}) AS first,
           coalesce(min(min) FILTER (NOT isnan(min)), 'nan'::DOUBLE) AS min,
           coalesce(max(max) FILTER (NOT isnan(max)), 'nan'::DOUBLE) AS max,
           sum(count)::BIGINT AS count, sum(sum) / sum(count) AS mean
    FROM source GROUP BY run_id, metric
)
"""
"""One row for each metric of a run, of the table ``source``; the latest is as in MLflow: greatest step, time, value."""

_COLUMNS = ("run_id", "metric", "last", "last_step", "last_time_ns", "min", "max", "count")


def summary_rows(scan: LakeScan, columns: Sequence[str], run_ids: Collection[str] | None = None) -> pa.Table:
    """Rows of ``metric_summaries`` that add up to the points that count.

    Args:
        scan: The lake.
        columns: These columns.
        run_ids: Only rows of these runs.

    Raises:
        RemoteError: the lake can't be read.
    """
    where = None if run_ids is None else {"run_id": set(run_ids)}
    rules = {run_id: of for run_id, of in scan.rules.items() if run_ids is None or run_id in run_ids}
    if not rules:
        return scan.rows("metric_summaries", columns, where)
    rows = scan.rows("metric_summaries", [*columns, *({"run_id", "writer"} - set(columns))], where)
    owners = pc.binary_join_element_wise(rows.column("run_id"), rows.column("writer"), "/")
    rewound = text_column([f"{run_id}/{writer}" for run_id, of in rules.items() for writer in of])
    kept = rows.filter(pc.invert(pc.is_in(owners, rewound))).select(columns)
    made = [each.select(columns) for run_id, of in rules.items() for each in _made_again(scan, run_id, of)]
    return pa.concat_tables([kept, *(each.cast(kept.schema) for each in made)])


def _made_again(scan: LakeScan, run_id: str, rules: dict[str, PointRule]) -> Iterator[pa.Table]:
    """The rows for what counts of a run's writers that have rules."""
    where = {"shard": [shard_of(run_id)], "run_id": [run_id]}
    columns = ["metric", "writer", "seq", "step", "time_ns", "value"]
    for writer, points in counting_pieces(scan.batches("points", columns, where), rules):
        yield point_rows("", [PointPiece(run_id, writer, points)]).summaries


def summaries_of(scan: LakeScan, run_ids: Collection[str]) -> dict[str, dict[str, MetricSummary]]:
    """The summaries of these runs, by run and metric.

    Raises:
        RemoteError: the lake can't be read.
    """
    found: dict[str, dict[str, MetricSummary]] = {}
    rows = summary_rows(scan, _COLUMNS, run_ids)
    for run_id, *values in zip(*(rows.column(name).to_pylist() for name in _COLUMNS), strict=True):
        summary = MetricSummary(*values)
        of_run = found.setdefault(run_id, {})
        held = of_run.get(summary.key)
        of_run[summary.key] = summary if held is None else _merged(held, summary)
    return found


def _merged(a: MetricSummary, b: MetricSummary) -> MetricSummary:
    latest = max(a, b, key=lambda each: (each.step, each.time, -math.inf if math.isnan(each.value) else each.value))
    low, high = float(np.fmin(a.min, b.min)), float(np.fmax(a.max, b.max))
    return MetricSummary(a.key, latest.value, latest.step, latest.time, low, high, a.count + b.count)
