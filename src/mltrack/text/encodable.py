"""Text that may hold half a surrogate pair, for those who can take UTF-8 only: databases, MLflow's answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import overload

__all__ = ["encodable", "encodable_pairs"]


@overload
def encodable(text: str) -> str: ...
@overload
def encodable(text: str | None) -> str | None: ...
def encodable(text: str | None) -> str | None:
    """The text with lone surrogates as escapes; None stays None."""
    if text is None or text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode()


def encodable_pairs(texts: Mapping[str, str]) -> dict[str, str]:
    """The same for keys and values."""
    return {encodable(key): encodable(value) for key, value in texts.items()}
