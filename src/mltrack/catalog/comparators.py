"""The comparators of all search grammars, and what each means for a value held in memory.

Filters of runs become SQL, which has these comparators itself (see filter_sql); filters of experiments, registered
models, logged models and traces are answered by the tests that are made here.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

from mltrack.errors import UsageError

__all__ = [
    "EQUALITY",
    "LISTS",
    "NULLS",
    "NUMBERS",
    "ORDERED",
    "TEXTS",
    "Test",
    "comparator_test",
    "like",
]

EQUALITY = ("=", "!=")
ORDERED = ("<", "<=", ">", ">=")
NUMBERS = (*EQUALITY, *ORDERED)
TEXTS = (*EQUALITY, "LIKE", "ILIKE")
LISTS = ("IN", "NOT IN")
NULLS = ("IS NULL", "IS NOT NULL")

Test = Callable[[Any], bool]
"""Whether a value passes; a missing one (None) passes only IS NULL, as in SQL."""

_COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def comparator_test(comparator: str, value: Any) -> Test:
    """A test of one value against ``value``, which is a collection for IN and NOT IN and counts for nothing for NULL.

    LIKE distinguishes letters' case and ILIKE does not; RLIKE searches by a regular expression, and one that is not
    valid finds nothing.

    Raises:
        UsageError: there is no such comparator, or it does not apply to such a value.
    """
    compared = _COMPARED.get(comparator)
    if compared is not None:
        return lambda held: held is not None and compared(held, value)
    match comparator:
        case "IN" | "NOT IN" if isinstance(value, str):
            raise UsageError(f"{comparator} takes a list, not {value!r}", hint="write for example: ('a', 'b')")
        case "LIKE" | "ILIKE" | "RLIKE" if not isinstance(value, str):
            raise UsageError(f"{comparator} takes a text, not {value!r}", hint="put one text between single quotes")
        case "IN":
            return lambda held: held is not None and held in value
        case "NOT IN":
            return lambda held: held is not None and held not in value
        case "IS NULL":
            return lambda held: held is None
        case "IS NOT NULL":
            return lambda held: held is not None
        case "LIKE" | "ILIKE":
            return like(value, ignore_case=comparator == "ILIKE")
        case "RLIKE":
            return _regular(value)
    raise UsageError(f"Invalid comparator '{comparator}'")


def like(pattern: str, *, ignore_case: bool = False) -> Test:
    """A test by SQL's LIKE: % stands for any text, _ for one letter."""
    inner = pattern.removeprefix("%").removesuffix("%")
    if len(pattern) >= 2 and pattern[0] == pattern[-1] == "%" and not ignore_case and not re.search("[%_]", inner):
        return lambda held: held is not None and inner in held
    expression = "".join({"%": ".*", "_": "."}.get(letter) or re.escape(letter) for letter in pattern)
    fullmatch = re.compile(expression, re.DOTALL | (re.IGNORECASE if ignore_case else re.NOFLAG)).fullmatch
    return lambda held: held is not None and fullmatch(held) is not None


def _regular(expression: str) -> Test:
    try:
        search = re.compile(expression).search
    except re.error:
        return lambda held: False
    return lambda held: held is not None and search(held) is not None
