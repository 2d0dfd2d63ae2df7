"""What may be meant by a name that is not known."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["meant"]

SHOWN_MAX = 8
NAME_CHARACTERS_MAX = 60


def meant(name: str, known: Iterable[str], what: str = "known") -> str:
    """What to try instead of a name that is not known: near ones, else some of those that are."""
    names = list(known)
    near = get_close_matches(name, names, n=3, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(map(_short, near))}?"
    shown = [_short(each) for each in sorted(names)[:SHOWN_MAX]]
    more = ", ..." if len(names) > SHOWN_MAX else ""
    return f"{what}: {', '.join(shown)}{more}" if shown else "there are none"


def _short(name: str) -> str:
    return name if len(name) <= NAME_CHARACTERS_MAX else f"{name[: NAME_CHARACTERS_MAX - 1]}…"
