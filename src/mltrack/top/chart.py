"""A chart of one metric of several runs: axes, curves in columns, and what they read at a place."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mltrack.drawing.braille import Canvas
from mltrack.drawing.columns import Columns, columns_of_bounds, columns_of_points
from mltrack.drawing.smoothing import smoothed
from mltrack.text.figures import count, duration, number
from mltrack.top.view import CLOCK, METRIC, STEP, TIME

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from mltrack.top.curves import Curve
    from mltrack.top.view import Axis, View

    Floats = npt.NDArray[np.float64]

__all__ = ["Chart", "Line", "Reading", "draw_chart", "from_logarithm", "x_label"]

SIGNS = "abcdefghijklmnopqrstuvwxyz"
BLANKS = " \u2800"

NO_VALUES = "no finite values"

LOGARITHM_MAX = 308.25
"""Ten to the power of more may be no float."""


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """One run's curve: the number of its colour, its start in ns, and the metric on the x axis if there is one."""

    run_id: str
    name: str
    colour: int
    curve: Curve
    start: int
    other: Curve | None = None


class Reading(NamedTuple):
    """What one line shows at the cursor, or at its end: the last value there, the least and the greatest.

    The last is NaN where only the bounds are known.
    """

    line: int
    last: float
    low: float
    high: float

    @property
    def text(self) -> str:
        """In few characters."""
        return f"{number(self.low)}…{number(self.high)}" if math.isnan(self.last) else number(self.last)


@dataclass(frozen=True, slots=True, eq=False)
class Chart:
    """A drawn chart.

    Attributes:
        rows: Pieces of text of each row, with the number of the line that is on top there.
        labels: By row what is at the left of it.
        gutter: How many characters the labels take, with the axis.
        start: The x at the left.
        end: The x at the right.
        whole: The least and the greatest x of the lines, in view or not.
        notes: What is not shown.
        columns: The lines in columns of dots.
        lines: The curves.
        log_y: Whether ``columns`` hold logarithms.
    """

    rows: list[list[tuple[str, int]]]
    labels: dict[int, str]
    gutter: int
    start: float
    end: float
    whole: tuple[float, float]
    notes: list[str]
    columns: list[Columns]
    lines: Sequence[Line]
    log_y: bool

    @property
    def width(self) -> int:
        """The characters of a row, without the labels."""
        return sum(len(text) for text, _ in self.rows[0]) if self.rows else 0

    def place(self, x: float) -> int | None:
        """The character at x; None if it is not in view."""
        if not self.start <= x <= self.end or not self.rows:
            return None
        span = self.end - self.start
        return min(int((x - self.start) / span * self.width), self.width - 1) if span else 0

    def x_of(self, character: int) -> float:
        """The x in the middle of a character."""
        return self.start + (self.end - self.start) * (min(max(character, 0), self.width - 1) + 0.5) / self.width

    def sign(self, number: int) -> str:
        """What stands for a line where there are no colours: a point for the only one, else a letter."""
        return "●" if len(self.lines) == 1 else SIGNS[number % len(SIGNS)]

    def signed_row(self, at: int) -> list[tuple[str, int]]:
        """A row for screens without colours: where there are several lines, with their letters for dots."""
        if len(self.lines) == 1:
            return self.rows[at]
        return [
            (text if owner < 0 else "".join(" " if c in BLANKS else self.sign(owner) for c in text), owner)
            for text, owner in self.rows[at]
        ]

    def read(self, cursor: float | None = None) -> list[Reading]:
        """What the lines show at the cursor, or at their ends; those without a value there are left out."""
        found = []
        for at, (line, each) in enumerate(zip(self.lines, self.columns, strict=True)):
            column = each.count - 1
            if cursor is not None and self.end > self.start:
                if not self.start <= cursor <= self.end:
                    continue
                column = min(int((cursor - self.start) / (self.end - self.start) * each.count), each.count - 1)
            values = each.value_at(column)
            if values is None:
                continue
            low, last, high = (from_logarithm(value) if self.log_y else value for value in values)
            found.append(Reading(at, math.nan if line.curve.bounds is not None else last, low, high))
        return found


def from_logarithm(value: float) -> float:
    """The value whose logarithm a chart has."""
    return float(10 ** min(value, LOGARITHM_MAX))


def x_label(axis: Axis, x: float) -> str:
    """A place on the x axis, in words."""
    if axis.kind == TIME:
        return duration(x * 1000)
    if axis.kind == CLOCK:
        return datetime.fromtimestamp(x).strftime("%H:%M:%S")
    return count(round(x)) if axis.kind == STEP else number(x)


# --- places of points ----------------------------------------------------------------------------------------------


class _Placed(NamedTuple):
    """A line's points in the order of x, or the bounds of its pieces (x_min, x_max, low, high)."""

    x: Floats
    y: Floats
    pieces: tuple[Floats, Floats, Floats, Floats] | None = None

    @property
    def extent(self) -> tuple[float, float] | None:
        """The least and the greatest x."""
        if self.pieces is not None:
            return float(self.pieces[0].min()), float(self.pieces[1].max())
        return (float(self.x[0]), float(self.x[-1])) if len(self.x) else None

    def columns(self, start: float, end: float, count: int) -> Columns:
        """In columns."""
        if self.pieces is not None:
            return columns_of_bounds(*self.pieces, start, end, count)
        return columns_of_points(self.x, self.y, start, end, count)


def _placed(line: Line, view: View) -> _Placed:
    curve = line.curve
    if curve.bounds is not None:
        bounds = curve.bounds
        if view.axis.kind == STEP:
            return _Placed(bounds.low, bounds.low, (bounds.step_min, bounds.step_max, bounds.low, bounds.high))
        first, last = (_seconds(each, view.axis, line.start) for each in (bounds.time_min, bounds.time_max))
        return _Placed(bounds.low, bounds.low, (first, last, bounds.low, bounds.high))
    key = (view.axis.kind, line.start, view.smoothing)
    found = curve.memo.get(key)
    if not isinstance(found, _Placed) or view.axis.kind == METRIC:
        found = _points_placed(line, view)
        curve.memo.clear()
        curve.memo[key] = found
    return found


def _points_placed(line: Line, view: View) -> _Placed:
    x, y = _x_of(line, view.axis), line.curve.values
    kept = np.isfinite(y) & np.isfinite(x)
    if not kept.all():
        x, y = x[kept], y[kept]
    if (x[1:] < x[:-1]).any():
        order = np.argsort(x, kind="stable")
        x, y = x[order], y[order]
    return _Placed(x, smoothed(y, view.smoothing))


def _x_of(line: Line, axis: Axis) -> Floats:
    curve = line.curve
    if axis.kind == STEP:
        return curve.steps.astype(np.float64)
    if axis.kind != METRIC:
        return _seconds(curve.times, axis, line.start)
    if line.other is None or not len(line.other.values):
        return np.full(len(curve.values), np.nan)
    order = np.argsort(line.other.steps, kind="stable")
    held = np.searchsorted(line.other.steps[order], curve.steps, "right") - 1  # the last one up to that step
    x: Floats = np.where(held >= 0, line.other.values[order][np.maximum(held, 0)], np.nan)
    return x


def _seconds(times: npt.NDArray[np.int64] | Floats, axis: Axis, start: int) -> Floats:
    seconds: Floats = (times - (start if axis.kind == TIME else 0)) / 1e9
    return seconds


# --- drawing ---------------------------------------------------------------------------------------------------------


def draw_chart(lines: Sequence[Line], view: View, width: int, height: int) -> Chart:
    """Draw curves over each other, the first line on top.

    Args:
        lines: the runs that have the metric.
        view: how they are drawn.
        width: characters of a row, with the labels at the left.
        height: rows, without the labels of the x axis.
    """
    placed = [_placed(line, view) for line in lines]
    whole = _span([one.extent for one in placed])
    start, end = view.zoom or whole
    notes = _notes(lines, placed, view)
    gutter = 8  # a number's nine characters are rare
    for _ in range(2):  # the labels' width depends on the range, and that on the width
        canvas = Canvas(max(width - gutter, 4), height)
        columns = [one.columns(start, end, canvas.columns) for one in placed]
        if view.log_y:
            columns = [_logarithms(each) for each in columns]
        low, high = _range(columns)
        labels = _labels(low, high, height, log_y=view.log_y)
        needed = max(map(len, labels.values()), default=0) + 2
        if needed == gutter:
            break
        gutter = needed
    for number_, each in reversed(list(enumerate(columns))):
        canvas.draw(each, low, high, number_)
    if not any(map(len, columns)):
        labels = {height // 2: NO_VALUES} if lines else {}
    return Chart(canvas.rows(), labels, gutter, start, end, whole, notes, columns, lines, view.log_y)


def _span(extents: Sequence[tuple[float, float] | None]) -> tuple[float, float]:
    known = [extent for extent in extents if extent is not None]
    if not known:
        return 0.0, 1.0
    start, end = min(low for low, _ in known), max(high for _, high in known)
    return (start, end) if end > start else (start - 0.5, start + 0.5)


def _logarithms(columns: Columns) -> Columns:
    """With logarithms of the values; columns without positive ones are left out."""
    kept = columns.high > 0
    least = np.where(columns.low > 0, columns.low, columns.high)
    parts = (least, columns.high, columns.first, columns.last)
    low, high, first, last = (np.log10(np.where(each > 0, each, columns.high)[kept]) for each in parts)
    return Columns(columns.count, columns.at[kept], low, high, first, last)


def _range(columns: Sequence[Columns]) -> tuple[float, float]:
    extents = [extent for extent in (each.extent for each in columns) if extent is not None]
    if not extents:
        return 0.0, 1.0
    return min(low for low, _ in extents), max(high for _, high in extents)


def _labels(low: float, high: float, height: int, *, log_y: bool) -> dict[int, str]:
    def label(value: float) -> str:
        return number(from_logarithm(value) if log_y else value)

    if not high > low:
        return {height // 2: label(low)}
    labels = {0: label(high), height - 1: label(low)}
    if height >= 5:
        middle = height // 2
        labels[middle] = label(high + (low - high) * (middle + 0.5) / height)
    return labels


def _notes(lines: Sequence[Line], placed: Sequence[_Placed], view: View) -> list[str]:
    notes = []
    odd = sum(
        line.curve.count - len(one.x) for line, one in zip(lines, placed, strict=True) if line.curve.bounds is None
    )
    if odd:
        notes.append(f"{count(odd)} not finite" if view.axis.kind != METRIC else f"{count(odd)} not placed")
    if view.log_y:
        low = sum(int((one.y <= 0).sum()) for one in placed)
        if low:
            notes.append(f"{count(low)} not above 0")
    return notes
