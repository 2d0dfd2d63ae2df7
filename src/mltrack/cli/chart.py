"""Line charts in text, drawn in Braille dots (two by four to a character)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mltrack.cli.formatting import count, number

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

__all__ = ["line_chart"]

_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])  # by row and column in a character


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
    wide, tall = columns * 2, height * 4
    order = np.argsort(steps, kind="stable")
    steps, values = steps[order], values[order]
    span = steps[-1] - steps[0]
    at = np.floor((steps - steps[0]) / span * (wide - 1) + 0.5).astype(int) if span else np.zeros(len(steps), int)
    spread = high / 4 - low / 4  # their difference may be infinite
    below = (high / 4 - values / 4) / spread if spread else np.full(len(values), 0.5)
    rows = np.rint(below * (tall - 1)).astype(int)
    dots = np.zeros((tall, wide), bool)
    starts = np.flatnonzero(np.r_[True, at[1:] != at[:-1]])
    tops, bottoms = np.minimum.reduceat(rows, starts), np.maximum.reduceat(rows, starts)
    previous: tuple[int, int] | None = None
    for column, top, bottom, first in zip(at[starts], tops, bottoms, rows[starts], strict=True):
        dots[top : bottom + 1, column] = True
        if previous is not None:
            _join(dots, previous, (int(column), int(first)))
        previous = int(column), int(rows[np.searchsorted(at, column, "right") - 1])
    cells = dots.reshape(height, 4, columns, 2).transpose(0, 2, 1, 3)
    codes = 0x2800 + (cells * _DOTS).sum(axis=(2, 3))
    return ["".join(map(chr, row)) for row in codes]


def _join(dots: npt.NDArray[np.bool_], start: tuple[int, int], end: tuple[int, int]) -> None:
    """Draw a straight line between two dots given as (column, row)."""
    length = max(abs(end[0] - start[0]), abs(end[1] - start[1]))
    columns = np.rint(np.linspace(start[0], end[0], length + 1)).astype(int)
    rows = np.rint(np.linspace(start[1], end[1], length + 1)).astype(int)
    dots[rows, columns] = True
