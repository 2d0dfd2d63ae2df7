"""Counts with their nouns."""

from __future__ import annotations

__all__ = ["plural"]


def plural(count: int, noun: str, nouns: str = "") -> str:
    """A count with its noun: 1 run, 2 runs, 1,000 runs; ``nouns`` is the plural where it is not made by an s."""
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"
