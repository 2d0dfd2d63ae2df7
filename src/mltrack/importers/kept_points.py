"""Points that were read with the facts of a run, kept until they are asked for if they are not too many."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mltrack.importers.batches import Columns

__all__ = ["POINTS_MAX", "KeptPoints"]

POINTS_MAX = 1 << 21
"""So many points of a run are kept, at 32 bytes each; of a longer one they are read again."""


@dataclass(slots=True)
class KeptPoints:
    """Parts of a run's points, all of them or none."""

    points_max: int = POINTS_MAX
    parts: list[Columns] = field(default_factory=list)
    complete: bool = True
    _count: int = 0

    def add(self, points: Columns) -> None:
        """Keep these, too."""
        self._count += len(points)
        if self._count > self.points_max:
            self.complete = False
            self.parts.clear()
        elif self.complete and len(points):
            self.parts.append(points)
