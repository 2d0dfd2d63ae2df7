"""How much waits for a remote that speaks MLflow's API: what a dry run counts, and since when it waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack_sync.mlflow.plan.history import HistorySetting
from mltrack_sync.mlflow.plan.pending import Scope, find_pending
from mltrack_sync.mlflow.plan.tally import Tally
from mltrack_sync.remotes.pending import pending_since
from mltrack_sync.report import PendingCounts
from mltrack_sync.selection import Selection

if TYPE_CHECKING:
    from mltrack.storage.runs.stored_run import StoredRun
    from mltrack.store import Store
    from mltrack_sync.ledger.view import LedgerView
    from mltrack_sync.mlflow.plan.pending_run import PendingRun
    from mltrack_sync.remotes.kind import Remote

__all__ = ["count_pending"]


def count_pending(store: Store, state: LedgerView, remote: Remote) -> PendingCounts:
    """Count what the ledger lacks of the whole store.

    Raises:
        StoreError: the store can't be read.
    """
    scope = Scope(store, Selection(), store.heads(), history=HistorySetting(remote=remote.history))
    pending = find_pending(scope, state)
    recorded: list[int] = []

    def note_times(run: StoredRun, one: PendingRun) -> None:
        recorded.extend(pending_since(run, state, one.first_event))

    tally = Tally(scope, pending, state, remote.limits)
    tally.count(note_times)
    return PendingCounts(
        runs=tally.counts["runs"] + len(tally.unreadable),
        experiments=tally.counts["experiments"],
        points=tally.counts["points"],
        artifacts=tally.counts["artifacts"],
        artifact_bytes=tally.counts["artifact_bytes"],
        models=len(pending.registry),
        model_versions=sum(len(model.versions) for model in pending.registry),
        logged_models=len(pending.logged_models.ids),
        traces=len(pending.traces.traces),
        evaluation_items=len(pending.tables),
        links=len(pending.links),
        oldest=min(recorded, default=0),
        unreadable=(*tally.unreadable, *([pending.tables.unreadable] if pending.tables.unreadable else [])),
    )
