"""Charts: axes, logarithms, zoom, and what the crosshair reads."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from mltrack.top.chart import Chart, Line, draw_chart
from mltrack.top.curves import Curve
from mltrack.top.view import Axis, View

START = 1_000_000_000


def line(values: list[float], *, steps: list[int] | None = None, other: Curve | None = None, colour: int = 0) -> Line:
    at = np.array(range(len(values)) if steps is None else steps, np.int64)
    curve = Curve(at, START + at * 1_000_000_000, np.array(values, float))
    return Line(f"{colour:032x}", f"run {colour}", colour, curve, START, other)


def texts(chart: Chart) -> list[str]:
    return ["".join(text for text, _ in row) for row in chart.rows]


def test_the_axis_has_the_extremes_and_readings_are_those_at_the_end() -> None:
    chart = draw_chart([line([4.0, 2.0, 1.0]), line([3.0, 3.0], colour=1)], View(), 40, 6)
    assert (chart.labels[0], chart.labels[5]) == ("4", "1")
    assert (chart.start, chart.end) == (0.0, 2.0)
    assert [reading.text for reading in chart.read()] == ["1", "3"]
    assert len(texts(chart)) == 6
    assert all(len(text) == 40 - chart.gutter for text in texts(chart))


def test_the_crosshair_reads_every_line_at_one_place() -> None:
    lines = [line([float(value) for value in range(11)]), line([5.0] * 11, colour=1), line([1.0], steps=[9], colour=2)]
    chart = draw_chart(lines, View(), 60, 6)
    assert [(reading.line, reading.last) for reading in chart.read(3.02)] == [(0, 3.0), (1, 5.0)]
    assert chart.read(99.0) == []
    place = chart.place(3.02)
    assert place is not None
    assert abs(chart.x_of(place) - 3.02) < 0.2


def test_a_zoom_shows_the_range_of_y_that_is_in_view() -> None:
    chart = draw_chart([line([100.0, 3.0, 2.0, 1.0, 0.0])], View(zoom=(1.0, 3.0)), 40, 5)
    assert (chart.labels[0], chart.labels[4]) == ("3", "1")


def test_a_logarithm_leaves_out_what_has_none_and_says_so() -> None:
    chart = draw_chart([line([1000.0, 10.0, 0.0, -1.0])], View(log_y=True), 40, 5)
    assert (chart.labels[0], chart.labels[4]) == ("1000", "10")
    assert chart.notes == ["2 not above 0"]
    assert chart.read(1.0)[0].text == "10"
    greatest = draw_chart([line([sys.float_info.max])], View(log_y=True), 40, 5)
    assert greatest.read()[0].text == "1.778e+308"


def test_values_that_are_not_finite_are_counted_and_not_drawn() -> None:
    chart = draw_chart([line([np.nan, 2.0, np.inf, 1.0])], View(), 40, 5)
    assert chart.notes == ["2 not finite"]
    assert (chart.labels[0], chart.labels[4]) == ("2", "1")
    nothing = draw_chart([line([np.nan])], View(), 40, 5)
    assert nothing.read() == []
    assert nothing.labels == {2: "no finite values"}


def test_x_is_the_time_since_the_start_or_another_metric_at_the_step() -> None:
    seconds = draw_chart([line([1.0, 2.0], steps=[10, 70])], View(axis=Axis("time")), 40, 5)
    assert (seconds.start, seconds.end) == (10.0, 70.0)
    epochs = Curve(np.array([0, 100]), np.array([0, 0]), np.array([1.0, 2.0]))
    by_epoch = draw_chart(
        [line([5.0, 6.0, 7.0], steps=[0, 50, 150], other=epochs)], View(axis=Axis("metric", "epoch")), 40, 5
    )
    assert (by_epoch.start, by_epoch.end) == (1.0, 2.0)
    without = draw_chart([line([5.0, 6.0])], View(axis=Axis("metric", "epoch")), 40, 5)
    assert without.notes == ["2 not placed"]


def test_steps_in_any_order_are_drawn_in_theirs() -> None:
    chart = draw_chart([line([3.0, 1.0, 2.0], steps=[2, 0, 1])], View(), 40, 5)
    assert chart.read()[0].last == 3.0


def test_smoothing_narrows_the_range() -> None:
    plain, smooth = (draw_chart([line([0.0, 1.0] * 50)], View(smoothing=weight), 40, 5) for weight in (0.0, 0.9))
    ranges = [each.columns[0].extent for each in (plain, smooth)]
    assert ranges[0] == (0.0, 1.0)
    assert ranges[1] is not None
    assert ranges[1][1] < 0.7


@pytest.mark.parametrize("values", [[2.0], [2.0, 2.0], [1e308, -1e308], [5e-324, 0.0]])
def test_any_values_make_a_chart(values: list[float]) -> None:
    chart = draw_chart([line(values)], View(), 20, 3)
    assert any(text.strip() for text in texts(chart))


def test_no_lines_make_an_empty_chart() -> None:
    chart = draw_chart([], View(), 20, 3)
    assert [text.strip() for text in texts(chart)] == ["", "", ""]
