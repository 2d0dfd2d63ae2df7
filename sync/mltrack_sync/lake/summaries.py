"""Metric summaries in a lake: each row is of the points of one batch, so the rows of a metric are added up."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mltrack.entities import MetricSummary
from mltrack_sync.lake.scan import one_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mltrack_sync.lake.scan import LakeScan

__all__ = ["SUMMARIES_SQL", "summaries_of"]

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


def summaries_of(scan: LakeScan, run_ids: Iterable[str]) -> dict[str, dict[str, MetricSummary]]:
    """The summaries of these runs, by run and metric.

    Raises:
        RemoteError: the lake can't be read.
    """
    found: dict[str, dict[str, MetricSummary]] = {}
    rows = scan.rows("metric_summaries", _COLUMNS, one_of("run_id", run_ids))
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
