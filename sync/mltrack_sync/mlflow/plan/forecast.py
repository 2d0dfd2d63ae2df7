"""What a pass would do, from the store and the ledger alone."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from mltrack.entities import DELETED
from mltrack.errors import NotFoundError
from mltrack_sync.ledger.fallback import InRunEntry
from mltrack_sync.ledger.ledger import LedgerState, RunEntry
from mltrack_sync.mlflow.api.client import RUN_ID_TAG
from mltrack_sync.mlflow.plan.batches import facts_of
from mltrack_sync.mlflow.plan.fallback import has_files_for_run
from mltrack_sync.mlflow.push.run_ids import PARENT_TAG
from mltrack_sync.mlflow.push.run_links import dataset_key
from mltrack_sync.report import PushReport, Rejected

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mltrack.entities import Artifact
    from mltrack.store import Store
    from mltrack_sync.remotes.config import Remote

__all__ = ["files_to_runs", "foresee"]


def foresee(store: Store, remote: Remote, state: LedgerState, todo: list[str]) -> PushReport:
    """The counts of a pass over these runs."""
    counts: Counter[str] = Counter()
    rejected: list[Rejected] = []
    limits = remote.limits
    for run_id in todo:
        run = store.run(run_id)
        entry = state.runs.get(run_id) or RunEntry()
        if run.info.lifecycle_stage == DELETED:
            counts["runs"] += int(bool(entry.remote_id) and entry.stage != DELETED)
            continue
        first = (RUN_ID_TAG, PARENT_TAG)
        facts = facts_of(
            run.read_events(entry.events),
            params=run.params,
            tags={**run.tags, RUN_ID_TAG: run_id},
            limits=limits,
            first=first,
        )
        rejected += [Rejected(run_id, *refusal) for refusal in facts.refused]
        for key in sorted(run.summaries):
            reason = limits.refuse_key(key)
            if reason is not None and (run_id, "metric", key) not in state.rejected:
                rejected.append(Rejected(run_id, "metric", key, reason))
        files = [a for a in run.artifacts if entry.artifacts.get(a.path) != a.sha256]
        counts.update(
            runs=1,
            created=int(not entry.remote_id),
            params=len(facts.params),
            tags=len(facts.tags),
            points=max(0, run.head().points - sum(entry.points.values())),
            artifacts=len(files),
            artifact_bytes=sum(a.size for a in files),
            datasets=sum(dataset_key(used) not in entry.linked for used in run.datasets),
        )
    fields: dict[str, Any] = dict(counts)
    known = tuple(state.rejected.values())
    return PushReport(remote.name, remote.url, dry_run=True, rejected=(*known, *rejected), **fields)


def files_to_runs(store: Store, state: LedgerState, model_ids: Iterable[str]) -> list[Artifact]:
    """Files of these logged models that would go to their runs, where the remote has no logged models."""
    found: list[Artifact] = []
    for model_id in model_ids:
        there = (state.in_runs.get(model_id) or InRunEntry()).artifacts
        try:
            model = store.logged_models.get(model_id)
        except NotFoundError:
            continue
        if has_files_for_run(model):
            found += [artifact for artifact in model.artifacts if there.get(artifact.path) != artifact.sha256]
    return found
