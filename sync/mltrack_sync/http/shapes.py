"""The one place where answers are validated: types, ranges, and that pages come to an end.

All that is read from an answer is read by these; anything else than expected is a NotMlflowError naming the call.
"""

from __future__ import annotations

import contextlib
import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from mltrack.text.redaction import hide
from mltrack_sync.errors import NotMlflowError

__all__ = [
    "WRONG_SHAPE",
    "Fields",
    "flag",
    "identifier",
    "integer",
    "integers",
    "mapping",
    "numbers",
    "pages",
    "pairs",
    "rows",
    "shaped",
    "text",
    "texts",
]

T = TypeVar("T")
Fields = Mapping[str, Any]

WRONG_SHAPE = (KeyError, TypeError, ValueError, AttributeError, OverflowError, IndexError, RecursionError)
"""What reading an answer of an unexpected shape raises."""

INT64_MAX = 2**63 - 1
IDENTIFIER_CHARS_MAX = 1000
PAGES_MAX = 1_000_000
SPARSE_PAGES_MAX = 1000
"""How many pages may hold less than half of what was asked for and yet announce more."""


class WrongShapeError(ValueError):
    """A value that is not what it should be."""


@contextlib.contextmanager
def shaped(url: str, call: str, answer: object) -> Iterator[None]:
    """Wrap code that reads this answer to that call.

    Raises:
        NotMlflowError: it has an unexpected shape.
    """
    try:
        yield
    except WRONG_SHAPE as error:
        what = f": {error}" if isinstance(error, WrongShapeError) else ""
        raise NotMlflowError(
            f"{url} gave an answer to {call} that MLflow does not give{what}: {_EXCERPT.repr(answer)}",
            hint="is there something between here and the server that changes answers?",
        ) from error


class _Excerpt(reprlib.Repr):
    """Shortens values, after secrets were removed: a part of a secret can't be recognised."""

    def repr_str(self, x: str, level: int) -> str:
        """As the base does."""
        return super().repr_str(hide(x), level)


_EXCERPT = _Excerpt()
_EXCERPT.maxlevel, _EXCERPT.maxdict, _EXCERPT.maxlist, _EXCERPT.maxstring, _EXCERPT.maxother = 3, 4, 2, 60, 60
_EXCERPT.maxlong = 40

# --- values ------------------------------------------------------------------------------------------------------


def text(value: object) -> str:
    """A text; a number, as ids may be, becomes text, and None the empty text."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if type(value) in (int, float):
        return str(value)
    raise WrongShapeError("not a text")


def identifier(value: object) -> str:
    """An id: one that can stand in a URL, a file and a message."""
    found = text(value)
    if not 0 < len(found) <= IDENTIFIER_CHARS_MAX or not found.isprintable():
        raise WrongShapeError("not an id")
    return found


def integer(value: object) -> int:
    """A whole number of 64 bits, as JSON or as protobuf writes it."""
    if (type(value) is float and value.is_integer()) or (
        isinstance(value, str) and len(value) <= 20 and value.isascii()
    ):
        value = int(value)
    if type(value) is not int or not -INT64_MAX - 1 <= value <= INT64_MAX:
        raise WrongShapeError("not a whole number of 64 bits")
    return value


def flag(value: object) -> bool:
    """True or false; a missing value is false."""
    if value is None or isinstance(value, bool):
        return bool(value)
    raise WrongShapeError("neither true nor false")


def mapping(value: object) -> Fields:
    """An object; a missing value is an empty one."""
    if value is None:
        return {}
    if isinstance(value, dict):
        return value
    raise WrongShapeError("not an object")


def texts(value: object) -> dict[str, str]:
    """An object of texts."""
    return {key: text(each) for key, each in mapping(value).items()}


def rows(fields: Fields, name: str) -> list[Fields]:
    """A list of objects; a missing one is empty."""
    value = fields.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not {dict}.issuperset(map(type, value)):
        raise WrongShapeError(f"{name} is not a list of objects")
    return value


def pairs(fields: Fields, name: str) -> dict[str, str]:
    """Params or tags, which MLflow writes as a list of pairs."""
    return {text(row["key"]): text(row.get("value")) for row in rows(fields, name)}


def integers(values: Sequence[object]) -> npt.NDArray[np.int64]:
    """Many whole numbers."""
    if {int}.issuperset(map(type, values)):
        return np.array(values, np.int64)
    return np.array([integer(value) for value in values], np.int64)


def numbers(values: Sequence[object]) -> npt.NDArray[np.float64]:
    """Many numbers; NaN and infinities as strings too, as MLflow writes them."""
    if {float}.issuperset(map(type, values)):
        return np.array(values, np.float64)
    return np.array([_number(value) for value in values], np.float64)


def _number(value: object) -> float:
    if type(value) in (int, float) or (isinstance(value, str) and len(value) <= 100):
        return float(value)  # type: ignore[arg-type]
    raise WrongShapeError("not a number")


# --- pages -------------------------------------------------------------------------------------------------------


def pages(
    ask: Callable[[str], dict[str, Any]], name: str, *, url: str, call: str, page_rows: int
) -> Iterator[list[Fields]]:
    """The rows ``name`` of each page; ``ask(token)`` requests the page of a token, "" the first one.

    Raises:
        NotMlflowError: their shape is unexpected, or they don't end: a token is repeated, or too many pages hold
            little.
    """
    token, seen, sparse = "", set[str](), 0
    while True:
        answer = ask(token)
        with shaped(url, call, answer):
            found = rows(answer, name)
            token = text(answer.get("next_page_token"))
        yield found
        if not token:
            return
        sparse += len(found) < page_rows / 2
        if token in seen or sparse > SPARSE_PAGES_MAX or len(seen) > PAGES_MAX:
            raise NotMlflowError(
                f"{url} answers {call} with pages that don't end",
                hint="is there something between here and the server that changes answers?",
            )
        seen.add(token if len(token) <= 64 else str(hash(token)))
