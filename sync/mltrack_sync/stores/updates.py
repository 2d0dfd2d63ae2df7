"""Small updates of runs that the target has: of which only events are lacking, so that many are synced together.

Nothing orders the events files of a run among each other; whatever has to be on the disk before something else of the
run is written (points, artifacts, segments) is copied by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack_sync.stores.transfer import Update, entries_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mltrack_sync.stores.transfer import Need, UnitSnapshot

__all__ = ["is_update", "may_be_update"]

UPDATE_BYTES_MAX = 64 << 10
"""The most bytes of an update that is applied together with others."""


def may_be_update(snapshot: UnitSnapshot, needs: Iterable[Need]) -> bool:
    """Whether what is lacking of a unit is a small update of a run that no process records into."""
    entries = list(entries_of(snapshot, needs))
    return _fits(
        snapshot, (state.path for state, _ in entries), sum(state.size - need.start for state, need in entries)
    )


def is_update(update: Update) -> bool:
    """The same of an update, with its pieces."""
    pieces = update.pieces
    return _fits(update.snapshot, (piece.path for piece in pieces), sum(len(piece.data) for piece in pieces))


def _fits(snapshot: UnitSnapshot, paths: Iterable[str], size: int) -> bool:
    is_run = snapshot.unit.startswith("runs/") and not snapshot.live
    return is_run and size <= UPDATE_BYTES_MAX and all(path.startswith("events/") for path in paths)
