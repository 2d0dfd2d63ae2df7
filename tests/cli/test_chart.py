"""Charts in text."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len

from mltrack.cli.chart import line_chart
from mltrack.drawing.sparkline import sparkline

LARGEST = float(np.finfo(float).max)

numbers = st.floats(allow_nan=True, allow_infinity=True)


@example(values=[LARGEST, LARGEST], width=1)
@example(values=[-LARGEST, LARGEST], width=2)
@given(values=st.lists(numbers, max_size=300), width=st.integers(1, 60))
def test_a_sparkline_is_never_wider_than_requested(values: list[float], width: int) -> None:
    assert len(sparkline(np.array(values, float), width)) <= width


@example(points=[(0, -LARGEST), (1, LARGEST)], width=40, height=3)
@example(points=[(0, 0.0), (1, 5e-324)], width=40, height=3)
@given(
    points=st.lists(st.tuples(st.integers(-(2**53), 2**53), numbers), min_size=1, max_size=200),
    width=st.integers(40, 120),
    height=st.integers(3, 20),
)
def test_a_chart_of_any_points_has_the_requested_size(points: list[tuple[int, float]], width: int, height: int) -> None:
    steps, values = np.array(points, float).T
    lines = line_chart(steps, values, width=width, height=height)
    if len(lines) > 1:
        assert len(lines) == height + 2
        assert all(cell_len(line) <= width for line in lines[:-1])


def test_a_rising_line_runs_from_the_lower_left_to_the_upper_right() -> None:
    lines = line_chart(np.arange(100.0), np.arange(100.0), width=50, height=8)
    drawn = [line.split("┤" if "┤" in line else "│")[1] for line in lines[:8]]
    assert drawn[0].rstrip("⠀")[-1] != "⠀"
    assert drawn[0].startswith("⠀⠀")
    assert not drawn[-1].startswith("⠀")
    assert drawn[-1].endswith("⠀⠀")


def test_equal_values_give_a_level_line() -> None:
    assert sparkline(np.ones(5)) == "▄▄▄▄▄"
    assert sum(sign != "⠀" for sign in "".join(line_chart(np.arange(5.0), np.ones(5), width=30, height=3)[:3])) > 20
