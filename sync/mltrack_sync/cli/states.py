"""The states of a store's remotes for the sync pane of `mltrack top`, found by it by entry point."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack.top.remotes import RejectedItem, RemoteState

if TYPE_CHECKING:
    from mltrack.store import Store
    from mltrack_sync.status import RemoteStatus

__all__ = ["remote_states"]


def remote_states(store: Store) -> list[RemoteState]:
    """How far each remote is behind, as `mltrack status` says it.

    Raises:
        MltrackError, OSError: a ledger, or the file of the remotes, can't be read.
    """
    from mltrack_sync.remotes.config import Remotes
    from mltrack_sync.remotes.receivers import receivers
    from mltrack_sync.status import status_of

    return [_state(status_of(store, remote)) for remote in (*Remotes(store).all(), *receivers(store))]


def _state(found: RemoteStatus) -> RemoteState:
    heartbeat = found.background
    background = "" if heartbeat is None else heartbeat.trouble or f"pushed by process {heartbeat.pid}"
    return RemoteState(
        name=found.remote,
        url=found.url,
        runs=found.pending_runs,
        points=found.pending_points,
        files=found.pending_artifacts,
        file_bytes=found.pending_bytes,
        lag_s=found.lag_s,
        points_per_s=found.points_per_s,
        last_sync=found.last_sync,
        last_error=found.last_error,
        last_error_time=found.last_error_time,
        background=background,
        rejected=tuple(RejectedItem(each.run_id, each.kind, each.key, each.reason) for each in found.rejected),
    )
