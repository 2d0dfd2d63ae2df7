"""How far a remote is behind, from the store and the ledger alone: no request is made."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mltrack.errors import UsageError
from mltrack.storage.runs.state import running_elsewhere
from mltrack.text.figures import with_times
from mltrack_sync.daemon.heartbeat import Heartbeat, read_heartbeat
from mltrack_sync.remotes.kind import MLFLOW, CountingKind, find_kind
from mltrack_sync.remotes.ledgers import read_ledger
from mltrack_sync.remotes.options import PushOptions
from mltrack_sync.remotes.pending import is_run_pending, pending_since
from mltrack_sync.report import PendingCounts, json_fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from mltrack.store import Store
    from mltrack_sync.ledger.ledger import LedgerState
    from mltrack_sync.remotes.kind import Remote
    from mltrack_sync.report import Rejected

__all__ = ["RemoteStatus", "status_fields", "status_of"]


_COUNTED = frozenset(
    (
        "runs",
        "points",
        "artifacts",
        "artifact_bytes",
        "models",
        "model_versions",
        "logged_models",
        "traces",
        "evaluation_items",
        "experiments",
    )
)


@dataclass(frozen=True, slots=True)
class RemoteStatus:
    """What waits for one remote. Times are ns since the epoch, 0 for never.

    ``pending_links`` counts runs whose datasets or logged models the remote does not support. ``oldest_pending`` is
    when the oldest of what waits was recorded, and ``lag_s`` its age in seconds. Of a receiver of bundles,
    ``bundles_written`` counts these, and ``bundles_arrived`` is the number of the last one whose receipt came back.
    ``points_per_s`` is the rate that the remote took points at when a sync last measured it, 0 where none did.
    ``running`` counts runs that were being recorded on the remote when they were pulled, the longest ago at
    ``running_as_of``: what became of them since is not known here.
    """

    remote: str
    url: str
    runs_on_remote: int
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
    pending_evaluation_items: int = 0
    pending_links: int = 0
    pending_experiments: int = 0
    background: Heartbeat | None = None
    oldest_pending: int = 0
    lag_s: float = 0.0
    bundles_written: int = 0
    bundles_arrived: int = 0
    running: int = 0
    running_as_of: int = 0
    points_per_s: float = 0.0

    @property
    def runs_there(self) -> int:
        """The former name of ``runs_on_remote``."""
        return self.runs_on_remote

    @property
    def pending_ties(self) -> int:
        """The former name of ``pending_links``."""
        return self.pending_links


def status_fields(one: RemoteStatus) -> dict[str, Any]:
    """What is known of a remote, as JSON has it: times as ISO 8601."""
    fields = with_times(json_fields(one), ns=("last_sync", "last_error_time", "oldest_pending", "running_as_of"))
    if fields["background"] is not None:
        fields["background"] = with_times(fields["background"], ns=("since", "last_pass"))
    return fields


def status_of(store: Store, remote: Remote, *, clock: Callable[[], int] = time.time_ns) -> RemoteStatus:
    """Compare the store with what the ledger says the remote has; ``clock`` gives ns since the epoch.

    Raises:
        OSError: the ledger exists and can't be read.
    """
    state = read_ledger(store, remote)
    counts = _count_pending(store, remote, state)
    running = _running_there(store, state)
    return RemoteStatus(
        remote=remote.name,
        url=remote.url,
        runs_on_remote=sum(1 for entry in state.runs.values() if entry.remote_id),
        pending_runs=counts.runs,
        pending_points=counts.points,
        pending_artifacts=counts.artifacts,
        pending_bytes=counts.artifact_bytes,
        last_sync=int(state.last_pass.get("time", 0)),
        last_error=str(state.last_error.get("message", "")),
        last_error_time=int(state.last_error.get("time", 0)),
        rejected=tuple(state.rejected.values()),
        damage=(*state.damage_words(), *counts.unreadable),
        pending_models=counts.models,
        pending_model_versions=counts.model_versions,
        pending_logged_models=counts.logged_models,
        pending_traces=counts.traces,
        pending_evaluation_items=counts.evaluation_items,
        pending_links=counts.links,
        pending_experiments=counts.experiments,
        background=read_heartbeat(store.layout.remote(remote.name)),
        oldest_pending=counts.oldest,
        bundles_written=len(state.bundles.by_number),
        bundles_arrived=max((entry.number for entry in state.bundles.base(assume_arrived=False)), default=0),
        running=len(running),
        running_as_of=min(running, default=0),
        points_per_s=state.points_per_s,
        lag_s=max(0, clock() - counts.oldest) / 1e9 if counts.oldest else 0.0,
    )


def _running_there(store: Store, state: LedgerState) -> list[int]:
    """When runs were pulled that the remote, which is a store, was recording then."""
    if not state.copied.store_id:
        return []
    live = (run_id for run_id, head in store.heads().items() if head.live)
    found = (running_elsewhere(store.layout.run(run_id)) for run_id in live)
    return [each.time for each in found if each is not None and each.store_id == state.copied.store_id]


def _count_pending(store: Store, remote: Remote, state: LedgerState) -> PendingCounts:
    try:
        kind = find_kind(remote.kind)
    except UsageError:  # of a remote of an unknown kind, status can still say how far it is behind
        kind = find_kind(MLFLOW)
    if isinstance(kind, CountingKind):
        return kind.count_pending(store, remote, state)
    report = kind.dry_run(store, remote, state, PushOptions(dry_run=True))
    waiting = [run_id for run_id, head in store.heads().items() if is_run_pending(head, state)]
    times = [time for run_id in waiting for time in pending_since(store.run(run_id), state)]
    counts: dict[str, Any] = {name: getattr(report, name) for name in _COUNTED}
    return PendingCounts(oldest=min(times, default=0), **counts)
