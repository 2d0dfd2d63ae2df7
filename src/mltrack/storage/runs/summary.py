"""Latest, least, greatest and count of each metric, computed from one piece of points after another."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mltrack.entities import MetricSummary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy.typing as npt

    from mltrack.disk.segment import PointColumns

__all__ = ["Summaries"]


class Summaries:
    """Metric summaries, updated with each piece of points, in any order of pieces."""

    def __init__(self, known: Iterable[MetricSummary] = ()) -> None:
        self.by_key: dict[str, MetricSummary] = {summary.key: summary for summary in known}
        self.last_time = max((summary.time for summary in self.by_key.values()), default=0)

    def add(self, points: PointColumns) -> None:
        """Add points, usually of one writer."""
        if not len(points):
            return
        self.last_time = max(self.last_time, int(points.times.max()))
        for summary in _summarise(points):
            held = self.by_key.get(summary.key)
            self.by_key[summary.key] = summary if held is None else _merge(held, summary)

    def include(self, summary: MetricSummary) -> None:
        """Add a summary of other points of its metric."""
        held = self.by_key.get(summary.key)
        self.by_key[summary.key] = summary if held is None else _merge(held, summary)
        self.last_time = max(self.last_time, summary.time)


def _latest_order(summary: MetricSummary) -> tuple[int, int, float]:
    return (summary.step, summary.time, -math.inf if math.isnan(summary.value) else summary.value)


def _merge(a: MetricSummary, b: MetricSummary) -> MetricSummary:
    latest = b if _latest_order(b) >= _latest_order(a) else a
    return MetricSummary(
        a.key,
        latest.value,
        latest.step,
        latest.time,
        float(np.fmin(a.min, b.min)),
        float(np.fmax(a.max, b.max)),
        a.count + b.count,
    )


def _summarise(points: PointColumns) -> Iterator[MetricSummary]:
    """One summary per metric present. The latest is, as in MLflow, the greatest (step, time, value); NaN is least."""
    order = np.argsort(points.codes.astype(np.uint32), kind="stable")
    codes, steps, times = points.codes[order], points.steps[order], points.times[order]
    if not _rises(codes, steps, times):
        ranked = np.where(np.isnan(points.values), -np.inf, points.values)
        order = np.lexsort((ranked, points.times, points.steps, points.codes))
        codes, steps, times = points.codes[order], points.steps[order], points.times[order]
    values = points.values[order]
    starts = np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]])
    ends = np.r_[starts[1:], len(codes)] - 1
    rows = zip(
        codes[starts].tolist(),
        values[ends].tolist(),
        steps[ends].tolist(),
        times[ends].tolist(),
        np.fmin.reduceat(values, starts).tolist(),
        np.fmax.reduceat(values, starts).tolist(),
        (ends - starts + 1).tolist(),
        strict=True,
    )
    for code, value, step, time, low, high, count in rows:
        yield MetricSummary(points.keys[code], value, step, time, low, high, count)


def _rises(codes: npt.NDArray[np.int64], steps: npt.NDArray[np.int64], times: npt.NDArray[np.int64]) -> bool:
    """Whether within each metric (step, time) strictly rises, so that the last logged point is the latest."""
    same = codes[1:] == codes[:-1]
    rises = (steps[1:] > steps[:-1]) | ((steps[1:] == steps[:-1]) & (times[1:] > times[:-1]))
    return bool(np.all(rises | ~same))
