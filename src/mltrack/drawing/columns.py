"""Curves as columns of a chart: least, greatest, first and last value of each, so that no spike is missed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

__all__ = ["Columns", "columns_of_bounds", "columns_of_points"]


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """A curve in ``count`` columns of equal width: its values by the columns ``at`` that have any, ascending."""

    count: int
    at: npt.NDArray[np.int64]
    low: Floats
    high: Floats
    first: Floats
    last: Floats

    def __len__(self) -> int:
        return len(self.at)

    @property
    def extent(self) -> tuple[float, float] | None:
        """The least and the greatest value; None without any."""
        return (float(self.low.min()), float(self.high.max())) if len(self.at) else None

    def value_at(self, column: int) -> tuple[float, float, float] | None:
        """Least, last and greatest value in a column, or in the nearest one before it; None if that has none."""
        found = int(np.searchsorted(self.at, column, "right")) - 1
        return None if found < 0 else (float(self.low[found]), float(self.last[found]), float(self.high[found]))


_NOTHING = np.empty(0, np.float64)


def _none(count: int) -> Columns:
    return Columns(count, np.empty(0, np.int64), _NOTHING, _NOTHING, _NOTHING, _NOTHING)


def column_of(x: Floats, start: float, end: float, count: int) -> npt.NDArray[np.int64]:
    """The column of each place; ``end`` is in the last one."""
    span = end - start
    if not span > 0:
        return np.zeros(len(x), np.int64)
    return np.clip((x - start) / span * count, 0, count - 1).astype(np.int64)


def columns_of_points(x: Floats, y: Floats, start: float, end: float, count: int) -> Columns:
    """Points in columns from ``start`` to ``end``.

    Args:
        x: places, ascending.
        y: finite values.
        start: where the first column begins.
        end: where the last column ends.
        count: how many columns there are.
    """
    inside = slice(int(np.searchsorted(x, start, "left")), int(np.searchsorted(x, end, "right")))
    x, y = x[inside], y[inside]
    if not len(x):
        return _none(count)
    if len(x) <= 4 * count:
        at = column_of(x, start, end, count)
        begins = np.flatnonzero(np.r_[True, at[1:] != at[:-1]])
        at = at[begins]
    else:  # far more points than columns: look for the edges instead of computing each point's column
        edges = start + (end - start) * (np.arange(count) / count)
        cuts = np.searchsorted(x, edges, "left")
        cuts[0] = 0
        sizes = np.diff(np.r_[cuts, len(x)])
        at = np.flatnonzero(sizes)
        begins = cuts[at]
    ends = np.r_[begins[1:], len(y)] - 1
    return Columns(count, at, np.minimum.reduceat(y, begins), np.maximum.reduceat(y, begins), y[begins], y[ends])


def columns_of_bounds(
    x_min: Floats, x_max: Floats, low: Floats, high: Floats, start: float, end: float, count: int
) -> Columns:
    """Bounds of pieces of a curve in columns: each piece counts for every column that it touches.

    Args:
        x_min: where each piece begins.
        x_max: where it ends.
        low: its least value.
        high: its greatest value.
        start: where the first column begins.
        end: where the last column ends.
        count: how many columns there are.
    """
    lows, highs = np.full(count, np.inf), np.full(count, -np.inf)
    kept = (x_max >= start) & (x_min <= end) & np.isfinite(low) & np.isfinite(high)
    firsts = column_of(np.maximum(x_min[kept], start), start, end, count)
    lasts = column_of(np.minimum(x_max[kept], end), start, end, count)
    for first, last, least, most in zip(firsts, lasts, low[kept], high[kept], strict=True):
        touched = slice(first, last + 1)
        lows[touched] = np.minimum(lows[touched], least)
        highs[touched] = np.maximum(highs[touched], most)
    at = np.flatnonzero(lows <= highs)
    low, high = lows[at], highs[at]
    middle = low / 2 + high / 2
    return Columns(count, at, low, high, middle, middle)
