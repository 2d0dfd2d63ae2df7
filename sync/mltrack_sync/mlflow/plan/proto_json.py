"""Protobuf's JSON, in which servers give traces: attributes, ids in base64, times, durations, and assessments."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

__all__ = ["STATUS_NAMES", "attributes_of", "duration_ms", "hex_of", "millis", "value_of"]

STATUS_NAMES = ("STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR")
"""Of a span, by their numbers."""


def hex_of(text: str) -> str:
    """An id in hex."""
    return base64.b64decode(text).hex()


def attributes_of(rows: Any) -> dict[str, Any]:
    """Attributes by name; NaN and infinities stay the texts that protobuf writes, which are equal to themselves."""
    return {str(row.get("key") or ""): value_of(row.get("value") or {}) for row in rows or []}


def value_of(value: Mapping[str, Any]) -> Any:
    """One value, of any kind."""
    for kind, held in value.items():
        match kind:
            case "int_value":
                return int(held)
            case "double_value":
                return held if held in ("NaN", "Infinity", "-Infinity") else float(held)
            case "array_value":
                return [value_of(each) for each in held.get("values") or []]
            case "kvlist_value":
                return attributes_of(held.get("values"))
            case _:
                return held
    return None


def millis(timestamp: str) -> int:
    """Milliseconds since the epoch of a time."""
    whole, _, fraction = timestamp.removesuffix("Z").partition(".")
    seconds = int(datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp())
    return seconds * 1000 + int(fraction.ljust(3, "0")[:3])


def duration_ms(text: str | None) -> int | None:
    """Milliseconds of a duration; None where there is none."""
    if not text:
        return None
    whole, _, fraction = text.removesuffix("s").partition(".")
    return int(whole) * 1000 + int(fraction.ljust(3, "0")[:3])
