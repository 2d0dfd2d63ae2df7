"""Checks of what is logged: names are text, values are numbers, steps and times are 64-bit integers."""

from __future__ import annotations

import operator
from time import time_ns
from typing import TYPE_CHECKING, Any

from mltrack.errors import InvalidMetricError, UsageError
from mltrack.text.shown import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "KEY_BYTES_MAX",
    "as_float",
    "as_text",
    "check_key",
    "integer",
    "plain_columns",
    "require_mapping",
    "texts_by_name",
    "time_from_ms",
]

KEY_BYTES_MAX = 65_535


def check_key(key: object, what: str = "metric") -> str:
    """A metric's, param's or tag's name: non-empty text of at most 65,535 bytes; ``what`` says whose.

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
        f"{what} names must be non-empty text, not {shown(key)}",
        hint="give a non-empty str of at most 65,535 bytes in UTF-8",
    )


def require_mapping(what: str, given: object) -> None:
    """Check that what is logged at once has names: a dict, or what has ``items()`` as one, such as a pandas Series.

    Raises:
        UsageError: it has none.
    """
    if isinstance(given, type) or not callable(getattr(given, "items", None)):
        kind = type(given).__name__
        raise UsageError(f"{what} must be a dict of values by name, not {kind}", hint="give {'name': value, ...}")


def as_text(what: str, value: object) -> str:
    """``value`` as text; ``what`` names it in a message.

    Raises:
        UsageError: it can't be one: an int of thousands of digits, a list that is nested too deeply.
    """
    try:
        return str(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"{what} can't be stored as text: {error}", hint="log it as a file: log_dict") from None


def texts_by_name(what: str, given: Mapping[str, Any] | None) -> dict[str, str]:
    """Values as text, by name; none for None.

    Raises:
        UsageError: they have no names, or one of these is not a non-empty text.
    """
    if given is None:
        return {}
    require_mapping(what, given)
    kind = what.removesuffix("s")
    return {check_key(key, kind): as_text(f"{what}: {shown(key)}", value) for key, value in given.items()}


def as_float(key: object, value: object) -> float:
    """``value`` as float64, NaN and infinities included: what ``float`` takes, and arrays and tensors of one element.

    Raises:
        InvalidMetricError: it is something else.
    """
    try:
        return float(value)  # type: ignore[arg-type]  # that is what is being found out
    except (TypeError, ValueError, OverflowError, RuntimeError, ArithmeticError, Warning):
        pass
    try:
        return float(_only_element(value))
    except (TypeError, ValueError, OverflowError, RuntimeError, ArithmeticError, AttributeError, Warning):
        pass
    raise InvalidMetricError(
        f"metric {shown(key)}: {shown(value)} is not a number",
        hint="give a value that float() takes, or an array of one element",
    )


def _only_element(value: Any) -> Any:
    """The element of an array, a tensor or a column that has only one."""
    if hasattr(value, "detach"):  # torch's, which may require gradients
        value = value.detach()
    elif not hasattr(value, "item"):  # TensorFlow's
        value = value.numpy()
    return value.item()


def integer(what: str, value: object) -> int:
    """``value`` as a signed 64-bit integer; a float, a Decimal and the like too, if it is a whole number.

    Raises:
        InvalidMetricError: it is something else.
    """
    try:
        number = operator.index(value)  # type: ignore[arg-type]  # that is what is being found out
    except (TypeError, ValueError, OverflowError, RuntimeError, Warning):
        number = _whole(value)
    if not -(1 << 63) <= number < 1 << 63:
        raise InvalidMetricError(f"{what} {shown(value)} is not a 64-bit integer", hint=f"give an int as {what}")
    return number


def _whole(value: Any) -> int:
    """A whole number of another type as int; for anything else an int that is too large."""
    try:
        number = int(value)
        return number if number == value else 1 << 63
    except (TypeError, ValueError, OverflowError, RuntimeError, ArithmeticError, Warning):
        return 1 << 63


def time_from_ms(value: object) -> int:
    """A time in ms since the epoch, whole or not, converted to ns.

    Raises:
        InvalidMetricError: it is something else.
    """
    try:
        whole, rest = divmod(value, 1)  # type: ignore[operator]  # that is what is being found out
        number = int(whole) * 1_000_000 + int(rest * 1_000_000)
    except (TypeError, ValueError, OverflowError, RuntimeError, ArithmeticError, Warning):
        number = 1 << 63
    if not -(1 << 63) <= number < 1 << 63:
        raise InvalidMetricError(f"timestamp {shown(value)} is not a time in ms", hint="give ms since 1970")
    return number


def plain_columns(name: str, values: Any, steps: Any, times: Any) -> Iterable[tuple[int, int, float]]:
    """(step, time, value) of each point of a series, without NumPy; all are checked before the first is returned.

    Args:
        name: The name of the series, for messages.
        values: Numbers.
        steps: Integers; None counts from 0.
        times: In ns since the epoch, or (with NumPy) datetime64; None is now.

    Raises:
        InvalidMetricError: they are not numbers, or differ in length.
    """
    found = [as_float(name, value) for value in values]
    now = time_ns()
    at = [integer("step", step) for step in (range(len(found)) if steps is None else steps)]
    when = [integer("time", time) for time in ([now] * len(found) if times is None else times)]
    for what, column in (("steps", at), ("times", when)):
        if len(column) != len(found):
            raise InvalidMetricError(
                f"series {shown(name)}: {len(found)} values but {len(column)} {what}", hint="give one for each value"
            )
    return zip(at, when, found, strict=True)
