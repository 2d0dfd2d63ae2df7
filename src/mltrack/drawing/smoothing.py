"""Smoothing as TensorBoard does it: an exponential moving average whose start is not pulled towards zero."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

__all__ = ["smoothed"]

LEAST_POWER = 1e-200
"""How small the weight of a value may get within one piece that is computed at once."""


def smoothed(values: Floats, weight: float) -> Floats:
    """The moving average of finite values: each new one has the weight ``1 - weight``, all earlier ones ``weight``.

    ``weight`` is in [0, 1); 0 changes nothing.
    """
    if weight <= 0 or len(values) < 2:
        return values
    piece = max(1, min(len(values), int(math.log(LEAST_POWER) / math.log(weight))))
    powers = weight ** np.arange(1, piece + 1)
    averages = np.empty(len(values))
    last = 0.0
    for start in range(0, len(values), piece):
        part = values[start : start + piece]
        power = powers[: len(part)]
        average = power * (last + (1 - weight) * np.cumsum(part / power))
        averages[start : start + len(part)] = average
        last = float(average[-1])
    # so many values that the start no longer counts
    counts = np.arange(1, min(len(values), int(math.log(1e-16) / math.log(weight)) + 1) + 1)
    averages[: len(counts)] /= 1 - weight ** counts.astype(np.float64)
    return averages
