"""A value as an error message shows it: short, and whatever the value is."""

from __future__ import annotations

__all__ = ["shown"]

CHARACTERS_MAX = 60


def shown(value: object) -> str:
    """The value's ``repr``, at most 60 characters of it; its type alone where it has none."""
    try:
        text = repr(value)
    except (ValueError, TypeError, RecursionError):  # an int of thousands of digits; nested too deeply
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= CHARACTERS_MAX else text[: CHARACTERS_MAX - 3] + "..."
