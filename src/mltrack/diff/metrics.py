"""What the metrics of two runs differ in: latest, least and greatest value, by how much, and in percent."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mltrack.entities import MetricSummary

__all__ = ["MetricDiff", "ValueDiff", "diff_metrics", "diff_values"]


@dataclass(frozen=True, slots=True)
class ValueDiff:
    """A value in either run, None where that run has none; b less a, and that in percent of a's size.

    ``difference`` and ``percent`` are None where they can't be computed: with a value missing, NaN or infinite, the
    percentage also where a is 0.
    """

    a: float | None
    b: float | None
    difference: float | None
    percent: float | None

    @property
    def same(self) -> bool:
        """Whether both are equal; a NaN equals a NaN."""
        return self.a == self.b or (self.a is not None and self.b is not None and self.a != self.a and self.b != self.b)


@dataclass(frozen=True, slots=True)
class MetricDiff:
    """One metric: its latest, least and greatest value, and how many points of it each run has."""

    key: str
    last: ValueDiff
    min: ValueDiff
    max: ValueDiff
    points_a: int
    points_b: int

    @property
    def same(self) -> bool:
        """Whether latest, least and greatest value are equal."""
        return self.last.same and self.min.same and self.max.same


def diff_metrics(a: Mapping[str, MetricSummary], b: Mapping[str, MetricSummary]) -> tuple[MetricDiff, ...]:
    """The metrics with other values, sorted by name."""
    found = (_metric(key, a.get(key), b.get(key)) for key in sorted({*a, *b}))
    return tuple(metric for metric in found if not metric.same)


def _metric(key: str, a: MetricSummary | None, b: MetricSummary | None) -> MetricDiff:
    return MetricDiff(
        key,
        diff_values(a.value if a else None, b.value if b else None),
        diff_values(a.min if a else None, b.min if b else None),
        diff_values(a.max if a else None, b.max if b else None),
        a.count if a else 0,
        b.count if b else 0,
    )


def diff_values(a: float | None, b: float | None) -> ValueDiff:
    """How a value differs from ``a`` to ``b``; None where there is none."""
    if a is None or b is None or not math.isfinite(b - a):
        return ValueDiff(a, b, None, None)
    percent = (b - a) / abs(a) * 100 if a else 0.0 if not b else math.inf
    return ValueDiff(a, b, b - a, percent if math.isfinite(percent) else None)
