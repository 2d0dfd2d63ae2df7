"""How far a remote is behind, from the store and the ledger alone: no request is made."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mltrack_sync.daemon.heartbeat import Heartbeat, read_heartbeat
from mltrack_sync.ledger.ledger import RunEntry
from mltrack_sync.mlflow.plan.pending import Scope, find_pending
from mltrack_sync.mlflow.plan.tally import Tally
from mltrack_sync.remotes.ledgers import read_ledger
from mltrack_sync.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Callable

    from mltrack.storage.runs.stored_run import StoredRun
    from mltrack.store import Store
    from mltrack_sync.mlflow.plan.pending_run import PendingRun
    from mltrack_sync.remotes.kind import Remote
    from mltrack_sync.report import Rejected

__all__ = ["RemoteStatus", "status_of"]


ALL = 1 << 40


@dataclass(frozen=True, slots=True)
class RemoteStatus:
    """What waits for one remote. Times are ns since the epoch, 0 for never.

    ``pending_ties`` counts runs whose datasets or logged models the remote had no place for. ``oldest_pending`` is when
    the oldest of what waits was recorded, and ``lag_s`` its age in seconds.
    """

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
    pending_logged_models: int = 0
    pending_traces: int = 0
    pending_ties: int = 0
    background: Heartbeat | None = None
    oldest_pending: int = 0
    lag_s: float = 0.0


def status_of(store: Store, remote: Remote, *, clock: Callable[[], int] = time.time_ns) -> RemoteStatus:
    """Compare the store with what the ledger says the remote has; ``clock`` gives ns since the epoch.

    Raises:
        OSError: the ledger exists and can't be read.
    """
    state = read_ledger(store, remote)
    scope = Scope(store, Selection(), store.heads())
    pending = find_pending(scope, state)
    recorded: list[int] = []

    def note_times(run: StoredRun, one: PendingRun) -> None:
        recorded.extend(_recorded(run, one, state.runs.get(one.run_id) or RunEntry()))

    tally = Tally(scope, pending, state, remote.limits)
    tally.count(note_times)
    counts = tally.counts
    oldest = min(recorded, default=0)
    return RemoteStatus(
        remote=remote.name,
        url=remote.url,
        runs_there=sum(1 for entry in state.runs.values() if entry.remote_id),
        pending_runs=counts["runs"] + len(tally.unreadable),
        pending_points=counts["points"],
        pending_artifacts=counts["artifacts"],
        pending_bytes=counts["artifact_bytes"],
        last_sync=int(state.last_pass.get("time", 0)),
        last_error=str(state.last_error.get("message", "")),
        last_error_time=int(state.last_error.get("time", 0)),
        rejected=tuple(state.rejected.values()),
        damage=(*state.damage_words(), *tally.unreadable),
        pending_models=len(pending.registry),
        pending_model_versions=sum(len(model.versions) for model in pending.registry),
        pending_logged_models=len(pending.logged_models.ids),
        pending_traces=len(pending.traces.traces),
        pending_ties=len(pending.links),
        background=read_heartbeat(store.layout.remote(remote.name)),
        oldest_pending=oldest,
        lag_s=max(0, clock() - oldest) / 1e9 if oldest else 0.0,
    )


def _recorded(run: StoredRun, one: PendingRun, entry: RunEntry) -> list[int]:
    """When what waits of a run was recorded, at the earliest; points count as recorded after their writer's start."""
    opened = {writer.writer: writer.opened for writer in run.writers()}
    times = [one.first_event] if one.first_event else [event.time for event in run.read_events(entry.events)[:1]]
    for writer, since in opened.items():
        only = {other: ALL for other in opened if other != writer}  # the first piece of each writer is enough
        first = next(run.read_points({**only, writer: entry.points.get(writer, 0)}), None)
        if first is not None:
            times.append(max(int(first[1].times[0]), since))
    return times
