"""Summaries: the same for any cut of the points into pieces, and as MLflow's rule has the latest."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mltrack.disk.segment import PointColumns
from mltrack.entities import MetricSummary
from mltrack.storage.runs.summary import Summaries

SMALL = st.integers(-3, 3)
POINTS = st.lists(
    st.tuples(st.integers(0, 2), SMALL, SMALL, st.floats() | st.sampled_from([1.0, float("nan"), -0.0])),
    min_size=1,
    max_size=30,
)
KEYS = ["a", "b", "c"]


def columns(points: list[Any]) -> PointColumns:
    codes, steps, times, values = (np.array(c) for c in zip(*points, strict=True))
    return PointColumns(KEYS, codes, np.arange(len(points)), steps, times, values.astype(float))


def expected(points: list[Any], code: int) -> tuple[Any, ...] | None:
    mine = [(step, time, value) for number, step, time, value in points if number == code]
    if not mine:
        return None
    latest = max(mine, key=lambda p: (p[0], p[1], -math.inf if math.isnan(p[2]) else p[2]))
    numbers = [value for _, _, value in mine if not math.isnan(value)] or [math.nan]
    return (*latest[:2], same(latest[2]), same(min(numbers)), same(max(numbers)), len(mine))


def same(value: float) -> float | str:
    return "nan" if math.isnan(value) else value


def found(summary: MetricSummary) -> tuple[Any, ...]:
    return (summary.step, summary.time, same(summary.value), same(summary.min), same(summary.max), summary.count)


@given(POINTS, st.lists(st.integers(0, 30), max_size=4), st.randoms())
def test_any_chunks_in_any_order_give_the_same_summary(points: list[Any], cuts: list[int], chance: Any) -> None:
    edges = sorted({0, len(points), *(cut for cut in cuts if cut < len(points))})
    pieces = [points[a:b] for a, b in itertools.pairwise(edges)]
    chance.shuffle(pieces)
    summaries = Summaries()
    for piece in pieces:
        summaries.add(columns(piece))
    assert summaries.last_time == max(0, *(time for _, _, time, _ in points))
    for code, key in enumerate(KEYS):
        held = summaries.by_key.get(key)
        assert (None if held is None else found(held)) == expected(points, code)


@given(POINTS, POINTS)
def test_summaries_continue_from_known_ones(first: list[Any], second: list[Any]) -> None:
    begun = Summaries()
    begun.add(columns(first))
    later = Summaries(begun.by_key.values())
    later.add(columns(second))
    for code, key in enumerate(KEYS):
        held = later.by_key.get(key)
        assert (None if held is None else found(held)) == expected(first + second, code)
