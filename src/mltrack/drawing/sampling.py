"""Samples a long history for a chart: points evenly spread, and the peaks between them."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["evenly_spread", "sample"]


def sample(values: npt.NDArray[np.float64], points_max: int) -> npt.NDArray[np.int64]:
    """Ascending indices of at most ``points_max`` (at least 1) of the values; all if there are no more.

    Of a longer history: the first and the last value; half of the rest evenly spread; the other half for the least
    and the greatest value of each of as many equal parts as fit, so that no peak is lost. With ``points_max`` 1, the
    last value.
    """
    count = len(values)
    if count <= points_max:
        return np.arange(count)
    if points_max == 1:
        return np.array([count - 1])
    parts = (points_max - 2) // 4
    even = evenly_spread(count, points_max)
    bounds = np.linspace(0, count, parts + 1).astype(np.int64)
    low, high = np.where(np.isnan(values), np.inf, values), np.where(np.isnan(values), -np.inf, values)
    peaks = [
        start + int(at)
        for start, end in pairwise(bounds.tolist())
        for at in (low[start:end].argmin(), high[start:end].argmax())
    ]
    return np.union1d(even, np.array(peaks, dtype=np.int64))


def evenly_spread(count: int, points_max: int) -> npt.NDArray[np.int64]:
    """Those indices of ``sample`` that do not depend on the values: what averages may be taken of."""
    if count <= points_max:
        return np.arange(count)
    if points_max == 1:
        return np.array([count - 1])
    parts = (points_max - 2) // 4
    return np.linspace(0, count - 1, points_max - 2 * parts).round().astype(np.int64)
