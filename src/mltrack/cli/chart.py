"""Line charts in text, drawn in Braille dots (two by four to a character)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mltrack.drawing.braille import Canvas
from mltrack.drawing.columns import columns_of_points
from mltrack.text.figures import count, number

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

__all__ = ["line_chart"]

BLANK_SIGN = "\u2800"
"""A character without dots: as wide as the others in any font."""


def line_chart(steps: Floats, values: Floats, *, width: int, height: int = 10) -> list[str]:
    """Lines of text, ``width`` characters wide: an axis of values at the left, one of steps below, the curve between.

    If many points are in one column of dots, a line from their least to their greatest value is drawn.
    """
    finite = np.isfinite(values)
    steps, values = steps[finite], values[finite]
    if not len(values):
        return ["(no finite values)"]
    low, high = float(values.min()), float(values.max())
    marks = {
        0: number(high),
        height // 2: number(high + (low - high) * (height // 2) / (height - 1)),
        height - 1: number(low),
    }
    gutter = max(len(mark) for mark in marks.values())
    columns = max(width - gutter - 2, 10)
    signs = _curve(steps, values, low, high, columns, height)
    lines = [f"{marks.get(row, ''):>{gutter}} {'┤' if row in marks else '│'}{signs[row]}" for row in range(height)]
    first, last = count(int(steps.min())), count(int(steps.max()))
    below = f"{first}{last:>{max(columns - len(first), len(last) + 1)}}"
    return [*lines, f"{'':>{gutter}} ╰{'─' * columns}", f"{'':>{gutter}}  {below}"]


def _curve(steps: Floats, values: Floats, low: float, high: float, columns: int, height: int) -> list[str]:
    order = np.argsort(steps, kind="stable")
    steps, values = steps[order], values[order]
    canvas = Canvas(columns, height)
    canvas.draw(columns_of_points(steps, values, float(steps[0]), float(steps[-1]), canvas.columns), low, high, 0)
    return ["".join(text for text, _ in row).replace(" ", BLANK_SIGN) for row in canvas.rows()]
