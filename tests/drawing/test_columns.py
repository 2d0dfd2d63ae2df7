"""Columns and Braille: no spike is missed, whatever the points."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mltrack.drawing.braille import BLANK, Canvas
from mltrack.drawing.columns import Columns, columns_of_bounds, columns_of_points

LARGEST = float(np.finfo(float).max)

finite = st.floats(allow_nan=False, allow_infinity=False)


def drawn(curve: Columns, width: int, height: int) -> list[str]:
    canvas = Canvas(width, height)
    extent = curve.extent or (0.0, 1.0)
    canvas.draw(curve, *extent, 0)
    return ["".join(text for text, _ in row) for row in canvas.rows()]


@example(values=[-LARGEST, LARGEST], count=2)
@given(values=st.lists(finite, min_size=1, max_size=400), count=st.integers(1, 50))
def test_each_column_has_the_extremes_of_its_points(values: list[float], count: int) -> None:
    x, y = np.arange(len(values), dtype=float), np.array(values)
    found = columns_of_points(x, y, 0.0, float(len(values)), count)
    assert found.extent == (min(values), max(values))
    edges = np.floor(x / len(values) * count + 1e-9)
    for at, low, high in zip(found.at, found.low, found.high, strict=True):
        mine = y[np.abs(edges - at) <= 1]  # a place on an edge may round either way
        assert mine.min() <= low <= high <= mine.max()


def test_one_spike_among_a_million_points_is_drawn_at_the_top() -> None:
    y = np.zeros(1_000_000)
    y[654_321] = 1.0
    found = columns_of_points(np.arange(1e6), y, 0.0, 1e6, 120)
    rows = drawn(found, 60, 5)
    assert [at for at, sign in enumerate(rows[0]) if sign != " "] == [39]
    assert rows[-1].strip(" ") == rows[-1]


def test_bounds_of_pieces_are_drawn_in_each_column_that_they_touch() -> None:
    starts = np.arange(0.0, 100.0, 10.0)
    high = np.zeros(10)
    high[4] = 7.0
    found = columns_of_bounds(starts, starts + 9, np.zeros(10), high, 0.0, 100.0, 20)
    assert found.extent == (0.0, 7.0)
    assert found.at[found.high == 7.0].tolist() == [8, 9]


def test_a_range_without_points_has_no_columns() -> None:
    found = columns_of_points(np.arange(10.0), np.arange(10.0), 20.0, 30.0, 8)
    assert len(found) == 0
    assert found.extent is None
    assert found.value_at(3) is None


def test_a_value_is_read_in_its_column_or_in_the_one_before() -> None:
    found = columns_of_points(np.array([0.0, 1.0, 8.0]), np.array([5.0, 6.0, 9.0]), 0.0, 10.0, 10)
    assert found.value_at(0) == (5.0, 5.0, 5.0)
    assert found.value_at(7) == (6.0, 6.0, 6.0)


@given(values=st.lists(finite, min_size=2, max_size=60), width=st.integers(1, 30), height=st.integers(1, 8))
def test_a_curve_has_no_gap_between_its_first_and_last_column(values: list[float], width: int, height: int) -> None:
    curve = columns_of_points(np.arange(len(values), dtype=float), np.array(values), 0.0, len(values) - 1.0, width * 2)
    rows = drawn(curve, width, height)
    assert all(any(row[at] != " " for row in rows) for at in range(width))


@pytest.mark.parametrize("values", [[0.0, 9.0], [9.0, 0.0]])
def test_a_curve_has_no_gap_where_it_is_steep(values: list[float]) -> None:
    curve = columns_of_points(np.array([0.0, 1.0]), np.array(values), 0.0, 1.0, 2)
    assert all(row.strip() for row in drawn(curve, 1, 6))


def test_what_is_drawn_later_is_on_top_and_keeps_the_dots_below() -> None:
    canvas = Canvas(4, 2)
    level = columns_of_points(np.arange(8.0), np.full(8, 1.0), 0.0, 8.0, 8)
    rising = columns_of_points(np.arange(8.0), np.arange(8.0), 0.0, 8.0, 8)
    canvas.draw(level, 0.0, 7.0, 0)
    before = canvas.rows()
    canvas.draw(rising, 0.0, 7.0, 1)
    owners = {owner for row in canvas.rows() for _, owner in row}
    assert owners == {0, 1, BLANK}
    assert "".join(text for text, _ in before[1]).strip()
