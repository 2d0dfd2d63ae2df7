"""Points that were refused, until the ledger takes them together with the ack that goes past them.

So a kill neither forgets one nor counts it twice: the positions say which are known, and the others are found again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mltrack_sync.mlflow.plan.batches import Refusal

if TYPE_CHECKING:
    from mltrack_sync.mlflow.plan.batches import RefusedPoints

__all__ = ["RejectionBuffer"]


class RejectionBuffer:
    """Refused points of one run that the ledger does not know of yet."""

    def __init__(self) -> None:
        self._ahead: list[tuple[str, RefusedPoints]] = []
        self._current: list[Refusal] = []

    def ahead(self, writer: str, refused: Sequence[RefusedPoints]) -> None:
        """Add points found while reading ahead of what is sent."""
        self._ahead += [(writer, one) for one in refused]

    def current(self, refusal: Refusal) -> None:
        """Add points of the current request."""
        self._current.append(refusal)

    def take(self, ends: Mapping[str, int] | None = None) -> list[Refusal]:
        """Those of the current request, and those before ``ends`` (seq by writer; without it all), by kind and key."""
        due, self._current = self._current, []
        ahead, self._ahead = self._ahead, []
        for writer, refused in ahead:
            count = len(refused.seqs) if ends is None else int(np.searchsorted(refused.seqs, ends.get(writer, 0)))
            if count:
                due.append(Refusal(refused.kind, refused.key, refused.reason, count))
            if count < len(refused.seqs):
                self._ahead.append((writer, refused._replace(seqs=refused.seqs[count:])))
        summed: dict[tuple[str, str], Refusal] = {}
        for refusal in due:
            known = summed.get(refusal[:2])
            summed[refusal[:2]] = refusal._replace(points=refusal.points + (known.points if known else 0))
        return list(summed.values())
