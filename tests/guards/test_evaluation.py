"""Rules as functions of points: the same finding, however the points are cut into pieces."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mltrack.disk.segment import PointColumns
from mltrack.guards.conditions import Silence, Value, parse_condition
from mltrack.guards.evaluation import Finding, Seen, advance, overdue

KEYS = ["loss", "acc"]
S = 1_000_000_000


def columns(points: Sequence[tuple[int, int, int, float]], first: int = 0) -> PointColumns:
    """Points of (code, step, time in s, value)."""
    codes, steps, times, values = (list(column) for column in zip(*points, strict=True))
    return PointColumns(
        KEYS,
        np.array(codes, np.int64),
        np.arange(first, first + len(points)),
        np.array(steps, np.int64),
        np.array(times, np.int64) * S,
        np.array(values, np.float64),
    )


def found_in(text: str, pieces: Sequence[Sequence[tuple[int, int, int, float]]]) -> Finding | None:
    condition = parse_condition(text)
    assert isinstance(condition, Value | Silence)
    seen = Seen()
    for piece in pieces:
        seen, finding = advance(condition, seen, "w", columns(piece))
        if finding is not None:
            return finding
    return None


def expected(points: Sequence[tuple[int, int, int, float]], unit: str, amount: int) -> tuple[int, float] | None:
    """The same, point by point: step and value at which loss > 10 has held for so long."""
    since: tuple[int, int, int] | None = None
    for code, step, time, value in points:
        if code != 0:
            continue
        if not value > 10:
            since = None
            continue
        begun_step, begun_time, count = since or (step, time, 0)
        since = (begun_step, begun_time, count + 1)
        reached = {"steps": abs(step - begun_step) + 1, "points": count + 1, "s": time - begun_time}[unit]
        if reached >= amount:
            return step, value
    return None


POINT = st.tuples(
    st.sampled_from([0, 0, 0, 1]), st.integers(0, 30), st.integers(0, 30), st.sampled_from([1.0, 11.0, 12.0, math.nan])
)


@given(
    st.lists(POINT, min_size=1, max_size=40), st.sampled_from(["steps", "points", "s"]), st.integers(1, 6), st.data()
)
def test_a_span_is_found_at_the_same_point_however_the_points_are_cut(
    points: list[tuple[int, int, int, float]], unit: str, amount: int, data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(1, len(points)), max_size=5)))
    pieces = [points[a:b] for a, b in zip([0, *cuts], [*cuts, len(points)], strict=True) if a < b]
    finding = found_in(f"loss > 10 for {amount} {unit}", pieces)
    wanted = expected(points, unit, amount)
    assert (None if finding is None or finding.point is None else finding.point[1:]) == wanted


def test_the_first_point_that_passes_is_named() -> None:
    finding = found_in("loss is NaN", [[(0, 1, 1, 1.0), (1, 2, 2, math.nan)], [(0, 3, 3, 2.0), (0, 4, 4, math.nan)]])
    assert finding is not None
    assert finding.message == "loss is NaN at step 4"
    assert finding.point is not None
    assert finding.point[:2] == ("loss", 4)
    assert found_in("any metric is NaN", [[(1, 2, 2, math.nan)]]) is not None
    assert found_in("loss is NaN", [[(1, 2, 2, math.nan)]]) is None


def test_writers_have_streaks_of_their_own() -> None:
    condition = parse_condition("loss > 10 for 3 points")
    assert isinstance(condition, Value)
    seen, finding = Seen(), None
    for writer in ("a", "b", "a", "b", "a"):
        assert finding is None
        seen, finding = advance(condition, seen, writer, columns([(0, 1, 1, 11.0)]))
    assert finding is not None


@pytest.mark.parametrize(("now_s", "message"), [(109, None), (110, "no point for 10 s (no point of loss for 10 s)")])
def test_missing_points_are_found_once_the_time_has_passed(now_s: int, message: str | None) -> None:
    condition = parse_condition("no point of loss for 10 s")
    assert isinstance(condition, Silence)
    seen, _ = advance(condition, Seen(last_ns=90 * S), "w", columns([(0, 1, 100, 1.0), (1, 1, 105, 1.0)]))
    finding = overdue(condition, seen, now_s * S)
    assert (finding.message if finding else None) == message
