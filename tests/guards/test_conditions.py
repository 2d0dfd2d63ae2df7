"""The language of rules."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mltrack.errors import UsageError
from mltrack.guards.conditions import ANY, Query, Silence, Span, Value, parse_condition


@pytest.mark.parametrize(
    ("text", "pattern", "span", "passing"),
    [
        ("loss is NaN", "loss", None, [math.nan]),
        ("metric is nan", ANY, None, [math.nan]),
        ("any metric is not finite", ANY, None, [math.nan, math.inf, -math.inf]),
        ("`val loss` is inf", "val loss", None, [math.inf, -math.inf]),
        ("metrics.loss > 10 for 100 steps", "loss", Span(100, "steps"), [math.inf]),
        ("val/* >= 0.5 for 3 points", "val/*", Span(3, "points"), [math.inf, 1.0]),
        ("loss<-1e-3 for 1.5 min", "loss", Span(90, "s"), [-math.inf]),
        ("acc != 1", "acc", None, [math.nan, math.inf, -math.inf, 0.0]),
        ("acc = 1", "acc", None, [1.0]),
        ('"metric" > 1_000 for 2,000 steps', "metric", Span(2000, "steps"), [math.inf]),
    ],
)
def test_a_rule_on_values_is_understood(text: str, pattern: str, span: Span | None, passing: list[float]) -> None:
    found = parse_condition(text)
    assert isinstance(found, Value)
    assert (found.pattern, found.span) == (pattern, span)
    values = np.array([math.nan, math.inf, -math.inf, 0.0, 1.0])
    assert [repr(value) for value in values[found.test(values)].tolist()] == [repr(value) for value in passing]


@pytest.mark.parametrize(
    ("text", "pattern", "seconds"),
    [
        ("no point for 10 min", ANY, 600),
        ("No points of loss for 90s", "loss", 90),
        ("no point of any metric for 0.5 h", ANY, 1800),
    ],
)
def test_a_rule_on_missing_points_is_understood(text: str, pattern: str, seconds: float) -> None:
    found = parse_condition(text)
    assert isinstance(found, Silence)
    assert (found.pattern, found.seconds) == (pattern, seconds)


def test_sql_is_a_rule() -> None:
    assert isinstance(parse_condition(" select 1 FROM runs WHERE run_id = $run_id"), Query)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "without a condition"),
        ("loss", "not understood"),
        ("loss is bad", "not understood"),
        ("loss > ten", "'ten' is not a number"),
        ("loss > nan", "compares with NaN"),
        ("loss > 10 for 5 lightyears", "'lightyears' is not a unit"),
        ("loss > 10 for 0 steps", "how long"),
        ("loss > 10 for 2.5 steps", "how long"),
        ("no point", "for how long"),
        ("no point for 10 steps", "for how long"),
    ],
)
def test_what_is_not_understood_is_said(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_condition(text)


def test_any_metric_leaves_out_the_load_of_the_machine() -> None:
    found = parse_condition("any metric is NaN")
    assert isinstance(found, Value)
    assert found.matches("val/loss")
    assert not found.matches("system/cpu")
    named = parse_condition("system/* > 90")
    assert isinstance(named, Value)
    assert named.matches("system/cpu")
