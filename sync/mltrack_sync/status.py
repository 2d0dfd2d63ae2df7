"""How far a remote is behind, from the store and the ledger alone: no request is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mltrack.entities import DELETED
from mltrack_sync.ledger import LedgerState, RunEntry
from mltrack_sync.presence import Presence, present
from mltrack_sync.push import ledger_path, pending
from mltrack_sync.registry_push import registry_todo
from mltrack_sync.selection import Selection

if TYPE_CHECKING:
    from mltrack.reading import Store
    from mltrack_sync.remotes import Remote
    from mltrack_sync.report import Rejected

__all__ = ["RemoteStatus", "status_of"]


@dataclass(frozen=True, slots=True)
class RemoteStatus:
    """What waits for one remote. Times are ns since the epoch, 0 for never."""

    remote: str
    url: str
    runs_there: int
    pending_runs: int
    pending_points: int
    pending_artifacts: int
    pending_bytes: int
    last_sync: int
    last_error: str
    last_error_time: int
    rejected: tuple[Rejected, ...]
    damage: tuple[str, ...]
    pending_models: int = 0
    pending_model_versions: int = 0
    background: Presence | None = None


def status_of(store: Store, remote: Remote) -> RemoteStatus:
    """Compare the store with what the ledger says the remote has.

    Raises:
        OSError: the ledger is there and can't be read.
    """
    state = LedgerState.read(ledger_path(store, remote))
    heads = store.heads()
    points = files = size = runs = 0
    models = registry_todo(store, state, Selection(), heads)
    for run_id in pending(state, heads):
        run = store.run(run_id)
        entry = state.runs.get(run_id) or RunEntry()
        if run.info.lifecycle_stage == DELETED and not entry.remote_id:
            continue
        waiting = [a for a in run.artifacts if entry.artifacts.get(a.path) != a.sha256]
        runs += 1
        points += max(0, heads[run_id].points - sum(entry.points.values()))
        files += len(waiting)
        size += sum(artifact.size for artifact in waiting)
    return RemoteStatus(
        remote=remote.name,
        url=remote.url,
        runs_there=sum(1 for entry in state.runs.values() if entry.remote_id),
        pending_runs=runs,
        pending_points=points,
        pending_artifacts=files,
        pending_bytes=size,
        last_sync=int(state.last_pass.get("time", 0)),
        last_error=str(state.last_error.get("message", "")),
        last_error_time=int(state.last_error.get("time", 0)),
        rejected=tuple(state.rejected.values()),
        damage=tuple(str(damage) for damage in state.damage),
        pending_models=len(models),
        pending_model_versions=sum(len(model.versions) for model in models),
        background=present(store.layout.remote(remote.name)),
    )
