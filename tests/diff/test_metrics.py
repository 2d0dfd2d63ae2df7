"""How metrics of two runs differ."""

from __future__ import annotations

import math

import pytest

from mltrack.diff.metrics import diff_metrics
from mltrack.entities import MetricSummary


def summary(value: float, least: float | None = None, most: float | None = None, count: int = 1) -> MetricSummary:
    return MetricSummary("loss", value, 0, 0, value if least is None else least, value if most is None else most, count)


def test_latest_least_and_greatest_value_are_compared() -> None:
    (found,) = diff_metrics({"loss": summary(2.0, 1.0, 4.0, 3)}, {"loss": summary(3.0, 1.0, 5.0, 7)})
    assert (found.last.difference, found.last.percent) == (1.0, 50.0)
    assert found.min.same
    assert (found.max.difference, found.max.percent) == (1.0, 25.0)
    assert (found.points_a, found.points_b) == (3, 7)


def test_metrics_with_equal_values_are_left_out_also_nan() -> None:
    a = {"loss": summary(1.0), "none": summary(math.nan)}
    assert diff_metrics(a, {"loss": summary(1.0, count=9), "none": summary(math.nan)}) == ()


@pytest.mark.parametrize(
    ("a", "b", "difference", "percent"),
    [
        (-2.0, -1.0, 1.0, 50.0),
        (0.0, 1.0, 1.0, None),
        (1.0, 0.0, -1.0, -100.0),
        (1.0, math.nan, None, None),
        (1.0, math.inf, None, None),
        (-1e308, 1e308, None, None),
        (5e-324, 1.0, 1.0, None),
    ],
)
def test_difference_and_percent_are_left_out_where_they_mean_nothing(
    a: float, b: float, difference: float | None, percent: float | None
) -> None:
    (found,) = diff_metrics({"loss": summary(a)}, {"loss": summary(b)})
    assert (found.last.difference, found.last.percent) == (difference, percent)


def test_a_metric_that_one_run_has_has_one_value() -> None:
    (found,) = diff_metrics({}, {"loss": summary(1.0)})
    assert (found.last.a, found.last.b, found.last.difference, found.points_a) == (None, 1.0, None, 0)
