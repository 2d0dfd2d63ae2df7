"""What is in JSON objects that trackers log: numbers, those that JSON does not have included, and params."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["number_of", "params_of", "parse_json", "text_of"]

_WORDS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
DEPTH_MAX = 20


def parse_json(text: bytes) -> Any:
    """What JSON says, lone surrogates replaced.

    Raises:
        ValueError, RecursionError: it is not JSON.
    """
    found = json.loads(text)
    if b"\\ud" in text or b"\\uD" in text or b"\xed" in text:  # how JSON may have a part of a surrogate pair
        return json.loads(json.dumps(found, ensure_ascii=False).encode("utf-8", "replace"))
    return found


def number_of(value: Any) -> float | None:
    """A number or a truth value as a float; None if it is something else."""
    if isinstance(value, bool | int | float):
        try:
            return float(value)
        except OverflowError:
            return float("inf") if value > 0 else float("-inf")
    return _WORDS.get(value if isinstance(value, str) else "")


def params_of(fields: Mapping[str, Any]) -> dict[str, str]:
    """Fields as params, nested keys joined by dots."""
    return dict(_flat(fields, "", 0))


def text_of(value: Any) -> str:
    """A value that is not text as text: JSON, but for None, True and False."""
    return str(value) if value is None or isinstance(value, bool) else json.dumps(value, ensure_ascii=False)


def _flat(fields: Mapping[str, Any], prefix: str, depth: int) -> Iterator[tuple[str, str]]:
    for key, value in fields.items():
        if isinstance(value, dict) and value and depth < DEPTH_MAX:
            yield from _flat(value, f"{prefix}{key}.", depth + 1)
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else text_of(value)
