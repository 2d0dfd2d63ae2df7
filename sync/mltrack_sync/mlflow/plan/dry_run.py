"""What a push would do, as a report: it counts what is pending and makes no request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mltrack_sync.mlflow.plan.pending import find_pending, rejected_by_run, rejected_of, unsupported_lines
from mltrack_sync.mlflow.plan.pending_run import refused_metrics
from mltrack_sync.mlflow.plan.tally import Tally
from mltrack_sync.report import PushReport

if TYPE_CHECKING:
    from mltrack.storage.runs.stored_run import StoredRun
    from mltrack_sync.ledger.view import LedgerView
    from mltrack_sync.mlflow.plan.pending import Scope
    from mltrack_sync.mlflow.plan.pending_run import PendingRun
    from mltrack_sync.remotes.kind import Remote

__all__ = ["dry_run"]


def dry_run(scope: Scope, remote: Remote, state: LedgerView) -> PushReport:
    """The report of a push of this scope, by the ledger.

    Raises:
        StoreError: the store can't be read.
    """
    pending, limits = find_pending(scope, state), remote.limits
    tally, known = Tally(scope, pending, state, limits), rejected_by_run(state)

    def reject_metrics(run: StoredRun, one: PendingRun) -> None:
        if one.points:
            tally.reject_all(refused_metrics(run, known[run.run_id], limits), run.run_id)

    tally.count(reject_metrics)
    fields: dict[str, Any] = dict(tally.counts)
    return PushReport(
        remote.name,
        remote.url,
        dry_run=True,
        rejected=rejected_of(tally.rejected.values(), scope.heads),
        problems=tuple(tally.problems),
        unsupported=unsupported_lines(pending, state, limits.unsupported),
        **fields,
    )
