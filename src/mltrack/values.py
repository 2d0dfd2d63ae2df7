"""What may be logged: names that are text, values that are numbers, steps and times that are 64-bit integers."""

from __future__ import annotations

import operator

from mltrack.errors import InvalidMetricError

__all__ = ["KEY_BYTES_MAX", "as_float", "check_key", "integer"]

KEY_BYTES_MAX = 65_535


def check_key(key: object) -> str:
    """A metric's, param's or tag's name: non-empty text of at most 65,535 bytes.

    Raises:
        InvalidMetricError: it is something else.
    """
    if isinstance(key, str) and key:
        try:
            if len(key.encode()) <= KEY_BYTES_MAX:
                return str(key)
        except UnicodeEncodeError:  # half a surrogate pair
            pass
    raise InvalidMetricError(
        f"{_short(key)} is no name to log under", hint="give a non-empty str of at most 65,535 bytes in UTF-8"
    )


def as_float(key: object, value: object) -> float:
    """``value`` as float64, NaN and infinities included; text is refused though ``float`` takes it."""
    if not isinstance(value, (str, bytes, bytearray)):
        try:
            return float(value)  # type: ignore[arg-type]  # that is what is being found out
        except (TypeError, ValueError, OverflowError, RuntimeError):
            pass
    raise InvalidMetricError(
        f"metric {_short(key)}: {_short(value)} is no number", hint="give a value that float() takes"
    )


def integer(what: str, value: object) -> int:
    """``value`` as a signed 64-bit integer.

    Raises:
        InvalidMetricError: it is none.
    """
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError, RuntimeError):
        number = 1 << 63
    if not -(1 << 63) <= number < 1 << 63:
        raise InvalidMetricError(f"{what} {_short(value)} is no 64-bit integer", hint=f"give an int as {what}")
    return number


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
