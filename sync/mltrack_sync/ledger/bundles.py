"""Which bundles were written for a receiver, and of which it said that they arrived, as the ledger keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = ["BundleEntries", "BundleEntry", "bundle_line"]


class BundleEntry(NamedTuple):
    """One bundle. ``confirmed``: its receipt came back."""

    bundle_id: str
    number: int
    confirmed: bool


@dataclass(slots=True)
class BundleEntries:
    """The bundles, by their numbers."""

    by_number: dict[int, BundleEntry] = field(default_factory=dict)

    def apply(self, line: Mapping[str, Any]) -> None:
        """Take in a line of the ledger."""
        self.by_number[line["number"]] = BundleEntry(line["bundle"], line["number"], line["confirmed"])

    def lines(self) -> list[dict[str, Any]]:
        """The fewest lines that say the same."""
        return [bundle_line(entry) for entry in self.by_number.values()]

    @property
    def last(self) -> int:
        """The number of the last one; 0 for none."""
        return max(self.by_number, default=0)

    def base(self, *, assume_arrived: bool) -> list[BundleEntry]:
        """Those of which the receiver has, or is assumed to have, the content, by number."""
        found = [entry for entry in self.by_number.values() if entry.confirmed or assume_arrived]
        return sorted(found, key=lambda entry: entry.number)


def bundle_line(entry: BundleEntry) -> dict[str, Any]:
    """The line that says that a bundle was written, or has arrived."""
    return {"type": "bundle", "bundle": entry.bundle_id, "number": entry.number, "confirmed": entry.confirmed}
