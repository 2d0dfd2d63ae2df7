"""Neptune's steps, decimals with six places, as the whole numbers that steps are here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["StepScale", "millionths"]

PLACES = 6
_DECIMAL = pa.decimal128(38, PLACES)


def millionths(column: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Steps in millionths, and which there are.

    Raises:
        pa.ArrowException: they are not steps.
    """
    if not pa.types.is_decimal128(column.type) or column.type.scale != PLACES:
        column = column.cast(_DECIMAL)
    valid = np.asarray(column.is_valid().to_numpy(zero_copy_only=False))
    if not len(column):
        return np.zeros(0, np.int64), valid
    words = np.frombuffer(column.buffers()[1], np.int64)
    low = words[2 * column.offset : 2 * (column.offset + len(column)) : 2]  # 18 digits are in the lower 64 bits
    return np.where(valid, low, 0), valid


class StepScale:
    """Finds the least power of ten that makes all steps of a run whole numbers."""

    def __init__(self) -> None:
        self.places = 0

    def see(self, steps: npt.NDArray[np.int64]) -> None:
        """Steps, in millionths, that the run has."""
        while self.places < PLACES and (steps % 10 ** (PLACES - self.places)).any():
            self.places += 1

    @property
    def factor(self) -> int:
        """What Neptune's steps are multiplied by."""
        return int(10**self.places)

    def whole(self, steps: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Steps in millionths as they are here."""
        return np.asarray(steps // 10 ** (PLACES - self.places), np.int64)
