"""Arrays of numbers: from anything that holds some, counted into bins of equal width, and as text."""

from __future__ import annotations

import base64
import math
from typing import TYPE_CHECKING, Any

from mltrack.errors import UsageError
from mltrack.process.headroom import need_numpy

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["counted", "numbers", "on_host", "packed", "spread", "unpacked"]

EXTREME = 2.0**1020
"""Beyond this, the difference of two numbers may overflow."""


def on_host(values: Any) -> Any:
    """A tensor (torch's, by its methods) moved to where NumPy can read it; anything else unchanged."""
    if hasattr(values, "detach") and hasattr(values, "cpu"):
        values = values.detach().cpu()
        if "bfloat16" in str(getattr(values, "dtype", "")):  # NumPy has no such type
            values = values.float()
    return values


def numbers(values: Any) -> npt.NDArray[Any]:
    """The values as one dimension of integers or floats.

    Raises:
        UsageError: they are not numbers.
    """
    need_numpy()
    import numpy as np

    try:
        array = np.asarray(on_host(values)).ravel()
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f"not an array of numbers: {error}", hint="give an array or a sequence of numbers") from None
    if array.size == 0:
        return array.astype(np.float64)
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind not in "iuf":
        raise UsageError(f"an array of {array.dtype} does not hold numbers", hint="give integers or floats")
    return array.astype(np.float32) if array.dtype == np.float16 else array


def counted(values: npt.NDArray[Any], bins: int) -> tuple[npt.NDArray[Any], float, float]:
    """The count of values in each of ``bins`` bins of equal width, and the limits of all."""
    import numpy as np

    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    extreme = max(-low, high) >= EXTREME
    if extreme:
        values = values.astype(np.float64) / 4  # by 2 the width is finite, but a sum of rounded steps may overflow
    for attempt in (values, values.astype(np.float64)):
        try:
            counts, edges = np.histogram(attempt, bins)
        except ValueError:  # the values are so close that not enough floats lie between them
            continue
        return (counts, low, high) if extreme and low < high else (counts, float(edges[0]), float(edges[-1]))
    if high == low:
        low, high = (math.nextafter(low, -math.inf), low) if low > 0 else (low, math.nextafter(low, math.inf))
    return np.array([values.size]), low, high


def spread(low: float, high: float, bins: int) -> npt.NDArray[np.float64]:
    """The edges of bins of equal width."""
    import numpy as np

    if max(-low, high) < EXTREME:
        return np.linspace(low, high, bins + 1)
    return np.linspace(low / 4, high / 4, bins + 1) * 4


def packed(array: npt.NDArray[Any]) -> str:
    """An array as text: its type (little-endian u1, u2, u4, u8 or f8), a colon, its bytes in base64."""
    import numpy as np

    kind = "f8"
    if array.dtype.kind in "iu":
        most = int(array.max()) if array.size else 0
        kind = next(name for name, bits in (("u1", 8), ("u2", 16), ("u4", 32), ("u8", 64)) if most < 1 << bits)
    return f"{kind}:{base64.b64encode(array.astype(np.dtype('<' + kind)).tobytes()).decode()}"


def unpacked(text: str) -> npt.NDArray[Any]:
    """The array that such a text holds.

    Raises:
        ValueError: it is not one.
    """
    import numpy as np

    kind, _, data = text.partition(":")
    if kind not in ("u1", "u2", "u4", "u8", "f8"):
        raise ValueError(f"an array of {kind!r}")
    return np.frombuffer(base64.b64decode(data, validate=True), np.dtype("<" + kind))
