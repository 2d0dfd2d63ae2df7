"""What a rewind, or its undoing, changes for a remote, which can't remove points: by the ledger, without a request.

The ledger says which rewinds were in force when the run's points went. Points beyond its positions went nowhere, so a
rewind costs nothing for them. Of those before, some may be hidden now, and some may count again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mltrack.storage.runs.visibility import Visibility

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy.typing as npt

    from mltrack.disk.segment import PointColumns
    from mltrack.storage.runs.stored_run import StoredRun
    from mltrack_sync.ledger.runs import RunEntry

__all__ = ["RewindChange", "find_rewind_change", "hidden_points", "rewinds_in_force"]

_ALL = 1 << 62


@dataclass(frozen=True, slots=True)
class RewindChange:
    """What changed since the ledger's rewinds were in force.

    Attributes:
        rewinds: The rewinds in force now.
        hides: Whether points before the positions, or in doubt, no longer count.
        back: By writer, the seq of the first point before its position that counts again.
    """

    rewinds: tuple[str, ...] = ()
    hides: bool = False
    back: Mapping[str, int] = field(default_factory=dict)


def rewinds_in_force(run: StoredRun) -> tuple[str, ...]:
    """The rewinds of a run that are in force, in a fixed order."""
    visibility = run.visibility
    return () if visibility is None else tuple(sorted(one.rewind_id for one in visibility.in_force))


def find_rewind_change(run: StoredRun, entry: RunEntry) -> RewindChange | None:
    """What is to be done about a run's rewinds; None if they are those that the ledger knows.

    All points of the run are read where there is a change.
    """
    now = rewinds_in_force(run)
    if now == tuple(entry.rewinds):
        return None
    hides = any(True for _ in hidden_points(run, entry))
    back: dict[str, int] = {}
    for writer, points, before, after in _both(run, entry):
        again = ~before & after & (points.seqs < entry.points.get(writer, 0))
        if again.any() and writer not in back:
            back[writer] = int(points.seqs[np.flatnonzero(again)[0]])
    return RewindChange(now, hides, back)


def hidden_points(run: StoredRun, entry: RunEntry) -> Iterator[PointColumns]:
    """The points that may be on the remote, by the ledger, and no longer count."""
    for writer, points, before, after in _both(run, entry):
        reach = _ALL if entry.doubt_all else max(entry.points.get(writer, 0), entry.doubt.get(writer, 0))
        hidden = before & ~after & (points.seqs < reach)
        if hidden.any():
            yield points.take(hidden)


def _both(
    run: StoredRun, entry: RunEntry
) -> Iterator[tuple[str, PointColumns, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]]:
    """All points of a run, with which of them counted by the ledger's rewinds, and which do now."""
    now = run.visibility or Visibility()
    then = now.with_rewinds(entry.rewinds)
    for source in run.point_sources(rewinds=()):
        old, new = then.points_of(source.writer), now.points_of(source.writer)
        if old is None and new is None:
            continue
        for points in source.read(0, []):
            everything = np.ones(len(points), np.bool_)
            masks = [None if rule is None else rule.visible(points) for rule in (old, new)]
            before, after = (everything if mask is None else mask for mask in masks)
            yield source.writer, points, before, after
