"""Which points of a run may be on the remote although no answer said so: they are compared before they are sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mltrack_sync.ledger.runs import EVERYTHING

if TYPE_CHECKING:
    import numpy.typing as npt

    from mltrack.disk.segment import PointColumns
    from mltrack_sync.ledger.runs import RunEntry
    from mltrack_sync.mlflow.plan.batches import Request

__all__ = ["InDoubt"]


@dataclass(frozen=True, slots=True)
class InDoubt:
    """All points that are not acknowledged, or, by writer, those before ``ends``."""

    everything: bool = False
    ends: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, entry: RunEntry) -> InDoubt:
        """As in the ledger."""
        return cls(entry.doubt_all, dict(entry.doubt))

    @classmethod
    def of_line(cls, following: Mapping[str, int] | str) -> InDoubt:
        """As ``next`` in a line of the ledger says."""
        return cls(True) if isinstance(following, str) else cls(ends=dict(following))

    def __bool__(self) -> bool:
        return self.everything or bool(self.ends)

    def mask(self, writer: str, points: PointColumns) -> npt.NDArray[np.bool_]:
        """Which of a writer's points are in doubt."""
        if self.everything:
            return np.ones(len(points), np.bool_)
        return points.seqs < self.ends.get(writer, 0)

    def after(self, positions: Mapping[str, int]) -> InDoubt:
        """What is left once all points before these positions are acknowledged."""
        left = {writer: end for writer, end in self.ends.items() if end > positions.get(writer, 0)}
        return InDoubt(self.everything, left)

    def and_next(self, request: Request | None) -> dict[str, int] | str:
        """What the ledger must say while ``request`` is on its way; with None, no request follows."""
        if request is None:
            return {}
        if self.everything:
            return EVERYTHING
        later = {writer: max(end, self.ends.get(writer, 0)) for writer, end in (request.reach or request.ends).items()}
        return {**self.ends, **later}
