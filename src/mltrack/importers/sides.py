"""What a comparison finds different between the store and a source."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mltrack.importers.session import Session

__all__ = ["Difference", "Sides"]

DIFFERENCES_MAX = 10_000
SHOWN = 200


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that differs: of which run or model, what, and what it is on either side, as text."""

    of: str
    what: str
    local: str
    source: str


@dataclass(slots=True)
class Sides:
    """Collects what is the same and what differs."""

    session: Session
    differences: list[Difference] = field(default_factory=list)

    def differ(self, of: str, what: str, local: object, source: object) -> None:
        """Note a difference; None is nothing on that side."""
        if len(self.differences) < DIFFERENCES_MAX:
            texts = ("nothing" if side is None else str(side)[:SHOWN] for side in (local, source))
            self.differences.append(Difference(of, what, *texts))

    def equal(self, of: str, what: str, local: object, source: object) -> bool:
        """Note a difference, if there is one."""
        if local != source:
            self.differ(of, what, local, source)
        return local == source
