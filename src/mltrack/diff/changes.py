"""What two mappings of names to texts differ in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Change", "find_changes"]


@dataclass(frozen=True, slots=True)
class Change:
    """One thing by its name, as it was in either run; None where that run does not have it."""

    name: str
    a: str | None
    b: str | None


def find_changes(a: Mapping[str, str], b: Mapping[str, str]) -> tuple[Change, ...]:
    """All names whose texts differ or that only one has, sorted."""
    return tuple(Change(name, a.get(name), b.get(name)) for name in sorted({*a, *b}) if a.get(name) != b.get(name))
