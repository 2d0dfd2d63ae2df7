"""Schemas of records: kinds of values, and the check of a line against the fields that its type declares.

A checksum shows that a line is as it was written, not that mltrack wrote it. So every line is compared with what
line_types.py declares for its file as soon as it is decoded, and one that doesn't fit is reported as damaged.
Code that reads a line after that can rely on the kinds of its fields. Types and fields that are not declared are
ignored: a later mltrack may add some.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

__all__ = [
    "COMPONENT",
    "COUNT_MAX",
    "EXPERIMENT_ID",
    "FINITE",
    "FLAG",
    "INT64",
    "JSON_OBJECT_TEXT",
    "JSON_TEXT",
    "KEY",
    "KEY_CHARACTERS_MAX",
    "NAME",
    "PATH",
    "RUN_ID",
    "SHA256",
    "STEP_MAX",
    "TEXT",
    "TEXTS",
    "TIME",
    "TIME_MAX",
    "VERSION",
    "Kind",
    "Optional",
    "Records",
    "count",
    "dictionary",
    "is_finite",
    "listing",
    "maybe",
    "one_of",
    "record",
]

COUNT_MAX = 1 << 48
"""More than any numbered thing can have: events, points, bytes."""

INT64_MIN, INT64_END = -(1 << 63), 1 << 63

STEP_MAX = (1 << 63) - 1
TIME_MAX = (1 << 63) - (1 << 32)
"""The latest time of an event, in ns, some seconds before what 64 bits hold."""

KEY_CHARACTERS_MAX = 65_535
NAME_CHARACTERS_MAX = 4_096
COMPONENT_BYTES_MAX = 255
ID_DIGITS_MAX = 40
SHOWN_CHARACTERS = 40


_RUN_ID = re.compile(r"[0-9a-f]{32}")


class Kind(NamedTuple):
    """A kind of value: a check for it, and its name in messages."""

    check: Callable[[Any], bool]
    what: str


class Optional(NamedTuple):
    """A field that may be missing."""

    kind: Kind


Field = Kind | Optional
Fields = Mapping[str, Field]


class _Missing:
    """Stands for a missing field; no kind accepts it."""

    __slots__ = ()


_MISSING: Any = _Missing()
_Compiled = tuple[tuple[str, Callable[[Any], bool], bool, str], ...]


def _compiled(fields: Fields) -> _Compiled:
    return tuple(
        (name, field.kind.check, True, field.kind.what)
        if isinstance(field, Optional)
        else (name, field.check, False, field.what)
        for name, field in fields.items()
    )


def _fault(line: Mapping[str, Any], fields: _Compiled) -> str | None:
    get = line.get
    for name, check, optional, what in fields:
        value = get(name, _MISSING)
        if not check(value):
            if value is _MISSING:
                if optional:
                    continue
                return f"has no {name!r}"
            return f"{name!r} is {_shown(value)}, not {what}"
    return None


class Records:
    """The schema of the lines of one kind of file."""

    def __init__(self, envelope: Fields, types: Mapping[str, Fields | tuple[Fields, ...]]) -> None:
        """``envelope``: fields of every line. ``types``: more of them, by type (of several sets one must fit)."""
        self._envelope = _compiled(envelope)
        self._types = {
            name: tuple(map(_compiled, fields if isinstance(fields, tuple) else (fields,)))
            for name, fields in types.items()
        }

    def fault(self, line: Mapping[str, Any]) -> str | None:
        """What is wrong with a line, in words that follow "a line that"; None if nothing is."""
        found = _fault(line, self._envelope)
        if found is not None:
            return found
        kind = line.get("type")
        for fields in self._types.get(kind, _ANY) if type(kind) is str else _ANY:
            found = _fault(line, fields)
            if found is None:
                return None
        return f"{found} (of type {_shown(kind)})"

    @property
    def numbered(self) -> bool:
        """Whether its lines are numbered, by ``seq``."""
        return any(name == "seq" for name, *_ in self._envelope)

    @property
    def types(self) -> Collection[str]:
        """The types that are declared."""
        return self._types.keys()


_ANY: tuple[_Compiled, ...] = ((),)


def _shown(value: Any) -> str:
    try:
        text = ascii(value)
    except (RecursionError, ValueError):  # nested too deeply, or an integer of thousands of digits
        return f"a {type(value).__name__}"
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


# --- kinds of values -------------------------------------------------------------------------------------------

# Texts may be of a subclass of str before they are written (members of an enum, numpy's, Django's): JSON has a text.


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= NAME_CHARACTERS_MAX


def _is_key(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= KEY_CHARACTERS_MAX


def _is_flag(value: Any) -> bool:
    return value is True or value is False


def _is_int64(value: Any) -> bool:
    return type(value) is int and INT64_MIN <= value < INT64_END


def is_finite(value: object) -> bool:
    """Whether it is a 64-bit integer or a finite float."""
    return (type(value) is int and INT64_MIN <= value < INT64_END) or (type(value) is float and value - value == 0)


def _is_time(value: Any) -> bool:
    return type(value) is int and 0 <= value <= TIME_MAX


_PLAIN_PATH = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}(?:/[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}){0,9}")
"""Most paths: they need no further look."""


def _is_path(value: Any) -> bool:
    """Whether this is what ``relative_name`` makes: parts between slashes, none of which leads elsewhere."""
    if type(value) is str and _PLAIN_PATH.fullmatch(value):
        return True
    if type(value) is not str or not 0 < len(value) <= KEY_CHARACTERS_MAX or any(c in value for c in "\\\0\n\r"):
        return False
    return all(0 < len(p) <= COMPONENT_BYTES_MAX and p not in (".", "..") for p in value.split("/"))


def _is_component(value: Any) -> bool:
    return _is_path(value) and "/" not in value


def _is_experiment_id(value: Any) -> bool:
    return type(value) is str and 0 < len(value) <= ID_DIGITS_MAX and value.isascii() and value.isdigit()


def _is_json(value: Any) -> bool:
    try:
        json.loads(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return type(value) is str


def _is_json_object(value: Any) -> bool:
    try:
        return type(value) is str and isinstance(json.loads(value), dict)
    except (ValueError, RecursionError):
        return False


TEXT = Kind(_is_text, "a text")
NAME = Kind(_is_name, f"a text of 1 to {NAME_CHARACTERS_MAX:,} characters")
KEY = Kind(_is_key, f"a text of 1 to {KEY_CHARACTERS_MAX:,} characters")
FLAG = Kind(_is_flag, "true or false")
INT64 = Kind(_is_int64, "a 64-bit integer")
TIME = Kind(_is_time, "a time in ns since 1970")
PATH = Kind(_is_path, "a relative path")
RUN_ID = Kind(lambda value: type(value) is str and _RUN_ID.fullmatch(value) is not None, "a run's id")
FINITE = Kind(is_finite, "a finite number")
SHA256 = Kind(lambda value: type(value) is str and len(value) <= 128, "a SHA-256 in hex")
COMPONENT = Kind(_is_component, "a name that a folder can have")
EXPERIMENT_ID = Kind(_is_experiment_id, f"an experiment's id, of 1 to {ID_DIGITS_MAX} digits")
JSON_TEXT = Kind(_is_json, "JSON as a text")
JSON_OBJECT_TEXT = Kind(_is_json_object, "a JSON object as a text")


def count(end: int = COUNT_MAX, first: int = 0) -> Kind:
    """An integer from ``first`` up to, not including, ``end``."""
    return Kind(lambda value: type(value) is int and first <= value < end, f"an integer from {first} below {end:,}")


def one_of(*texts: str) -> Kind:
    """One of these texts."""
    known = frozenset(texts)
    return Kind(lambda value: type(value) is str and value in known, f"one of {', '.join(texts)}")


def maybe(kind: Kind) -> Kind:
    """A value of this kind, or null."""
    check = kind.check
    return Kind(lambda value: value is None or check(value), f"{kind.what}, or null")


def dictionary(kind: Kind, keys: Kind = TEXT) -> Kind:
    """An object with values of this kind."""
    check, check_key = kind.check, keys.check
    return Kind(
        lambda value: type(value) is dict and all(map(check_key, value)) and all(map(check, value.values())),
        f"an object with values that are each {kind.what}",
    )


def listing(kind: Kind, length: int | None = None) -> Kind:
    """A list of values of this kind; exactly ``length`` of them if given."""
    check = kind.check
    return Kind(
        lambda value: type(value) is list and (length is None or len(value) == length) and all(map(check, value)),
        f"a list of values that are each {kind.what}",
    )


def record(fields: Fields, *, closed: bool = False) -> Kind:
    """An object with these fields; ``closed``: and without others."""
    compiled, known = _compiled(fields), frozenset(fields)
    return Kind(
        lambda value: type(value) is dict and _fault(value, compiled) is None and not (closed and value.keys() - known),
        f"an object with {', '.join(fields)}",
    )


TEXTS = dictionary(TEXT)
VERSION = count(1 << 40)
"""The number of a version of a registered model."""
