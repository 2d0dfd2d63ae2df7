"""Columns for log_series: any array-like becomes three arrays of one length, or a clear error."""

from __future__ import annotations

from time import time_ns
from typing import TYPE_CHECKING, Any

import numpy as np

from mltrack.errors import InvalidMetricError
from mltrack.values.scalars import integer

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["as_columns"]


def as_columns(
    name: str, values: Any, steps: Any, times: Any
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Values as float64, steps and times (ns) as int64, each of shape (n,).

    Args:
        name: The name of the series, for messages.
        values: Numbers: an array, a sequence, a tensor, a column of a data frame.
        steps: Integers; None counts from 0.
        times: In ns since the epoch, or (with NumPy) datetime64; None is now.

    Raises:
        InvalidMetricError: a column is not of numbers, not of one dimension, or of another length.
    """
    value = _numbers(name, "values", values, np.float64)
    step = np.arange(len(value)) if steps is None else _numbers(name, "steps", steps, np.int64)
    if times is None:
        time = np.full(len(value), time_ns())
    else:
        time = _numbers(name, "times", times, np.int64)
    for what, column in (("steps", step), ("times", time)):
        if len(column) != len(value):
            raise InvalidMetricError(
                f"series {name!r}: {len(value)} values but {len(column)} {what}", hint="give one for each value"
            )
    return value, step, time


def _numbers(name: str, what: str, column: Any, kind: type) -> npt.NDArray[Any]:
    try:
        array = np.asarray(column)
    except ValueError as error:  # lists of different lengths, or nested too deeply
        raise InvalidMetricError(f"series {name!r}: {what}: {error}", hint="give one dimension") from None
    if array.ndim != 1:
        raise InvalidMetricError(f"series {name!r}: {what} have {array.ndim} dimensions", hint="give one dimension")
    if what == "times" and array.dtype.kind == "M":
        array = array.astype("datetime64[ns]").astype(np.int64)
    allowed = "biu" if kind is np.int64 else "biuf"
    if kind is np.int64 and array.dtype.kind == "f" and _are_whole(array.astype(np.float64)):
        array = array.astype(np.int64)
    if array.dtype.kind == "O" and len(array):
        if any(item is None or isinstance(item, str | bytes) for item in array):
            raise InvalidMetricError(f"series {name!r}: {what} contain text or None", hint="give numbers")
        if kind is np.int64:
            array = np.array([integer(f"series {name!r}: {what}", item) for item in array], np.int64)
    elif array.dtype.kind not in allowed and len(array):
        raise InvalidMetricError(
            f"series {name!r}: {what} are of type {array.dtype}",
            hint="give integers" if kind is np.int64 else "give numbers",
        )
    try:
        converted: npt.NDArray[Any] = array.astype(kind)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidMetricError(f"series {name!r}: {what}: {error}", hint="give numbers") from None
    if array.dtype.kind == "u" and kind is np.int64 and len(array) and array.max() > np.iinfo(np.int64).max:
        raise InvalidMetricError(f"series {name!r}: {what} beyond 64 bits", hint="give 64-bit integers")
    return converted


def _are_whole(array: npt.NDArray[np.float64]) -> bool:
    return bool((abs(array) < 2.0**63).all() and (array % 1 == 0).all())
