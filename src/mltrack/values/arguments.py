"""Checks of arguments whose types are wrong: the error names the argument, before anything is done with it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from mltrack.errors import UsageError
from mltrack.text.shown import shown

__all__ = ["SECONDS_MAX", "list_argument", "path_argument", "positions_argument", "seconds_argument", "text_argument"]

SECONDS_MAX = 1e9
"""What threads can wait for anywhere; 30 years."""


def text_argument(what: str, given: object) -> str:
    """A text.

    Raises:
        UsageError: it is something else.
    """
    if not isinstance(given, str):
        raise UsageError(f"{what} is {shown(given)}, not text", hint=f"give {what} as str")
    return given


def list_argument(what: str, given: object) -> list[Any]:
    """Several values, of a list, an array or anything else that is gone through; None for none.

    Raises:
        UsageError: it is a single value, a mapping, or nothing of the kind.
    """
    if given is None:
        return []
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable) or isinstance(given, type):
        hint = f"write {what}=[{shown(given)}]" if isinstance(given, str | int) else f"give {what} as a list"
        raise UsageError(f"{what} is {shown(given)}, not a list", hint=hint)
    return list(given)


def path_argument(what: str, given: object) -> str:
    """A path that is not empty, as text.

    Raises:
        UsageError: it is something else.
    """
    text = os.fspath(given) if isinstance(given, os.PathLike) else given
    if not isinstance(text, str) or not text or "\0" in text:
        raise UsageError(f"{what} is {shown(given)}, not a path", hint=f"give {what} as str or pathlib.Path")
    return text


def positions_argument(what: str, given: Mapping[str, int] | None) -> Mapping[str, int]:
    """Positions by writer; none for None.

    Raises:
        UsageError: it is something else.
    """
    if given is not None and not isinstance(given, Mapping):
        raise UsageError(f"{what} is {shown(given)}, not a dict", hint="give {writer: position, ...}")
    return given or {}


def seconds_argument(what: str, given: object) -> float:
    """A time in seconds that is more than 0.

    Raises:
        UsageError: it is something else.
    """
    if not isinstance(given, int | float) or not 0 < given <= SECONDS_MAX:
        raise UsageError(f"{what} is {shown(given)}", hint="give seconds, more than 0")
    return given
