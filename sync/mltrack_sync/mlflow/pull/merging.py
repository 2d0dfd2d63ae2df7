"""Three-way merges: what was set here, on the server, and how both were when they were last the same."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["UNKNOWN", "Merged", "Unknown", "merge", "merge_texts"]

T = TypeVar("T")


class Unknown(Enum):
    """That nobody knows how it was: the ledger is new, or lost."""

    UNKNOWN = 0


UNKNOWN = Unknown.UNKNOWN


class Merged(NamedTuple):
    """``take``: what the server says is to be set here. ``conflict``: both sides set it; what is here stands."""

    take: bool
    conflict: bool


def merge(base: T | Unknown, local: T, remote: T, absent: T) -> Merged:
    """Whether the server's value is to be taken.

    Args:
        base: The value that both had; UNKNOWN where that is not known.
        local: The value here.
        remote: The server's.
        absent: The value that says that nobody set it.
    """
    if local == remote:
        return Merged(False, False)
    if base is UNKNOWN:
        return Merged(local == absent, local != absent and remote != absent)
    if local == base:
        return Merged(True, False)
    return Merged(False, remote != base)


def merge_texts(
    base: Mapping[str, T] | Unknown, local: Mapping[str, T], remote: Mapping[str, T], note: Callable[[str], None]
) -> Iterator[tuple[str, T | None]]:
    """What to set here, by key; None for what is to be removed.

    Args:
        base: What both had.
        local: What is here.
        remote: What the server has.
        note: Called with the key of each conflict.
    """
    for key in sorted(local.keys() | remote.keys()):
        mine, theirs = local.get(key), remote.get(key)
        merged = merge(UNKNOWN if base is UNKNOWN else base.get(key), mine, theirs, None)
        if merged.conflict:
            note(key)
        if merged.take:
            yield key, theirs
