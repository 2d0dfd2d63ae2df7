"""What waits for a lake: by the ledger alone, the lake is not looked at."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mltrack.errors import CorruptionError, NotFoundError
from mltrack_sync.ledger.ledger import RunEntry
from mltrack_sync.remotes.pending import is_run_pending, pending_since
from mltrack_sync.report import PendingCounts, PushReport
from mltrack_sync.stores.local_source import LocalSource
from mltrack_sync.stores.pending import least_bound

if TYPE_CHECKING:
    from mltrack.entities import Artifact, RunHead
    from mltrack.storage.runs.stored_run import StoredRun
    from mltrack.store import Store
    from mltrack_sync.ledger.view import LedgerView
    from mltrack_sync.remotes.kind import Remote
    from mltrack_sync.selection import Selection

__all__ = ["LOGS", "count_pending", "dry_run", "least_bound", "pending_units", "waiting_artifacts", "with_fork_sources"]

LOGS = "../"
"""What the names of a run's own files begin with in the ledger, where they stand among the artifacts."""

_AREAS = ("workspace", "models", "traces")


def with_fork_sources(store: Store, heads: dict[str, RunHead], selection: Selection) -> dict[str, RunHead]:
    """How far each selected run goes, and each run that one of these was forked from: a pull needs its points.

    Raises:
        StoreError: the store can't be read.
    """
    if selection.everything or not heads:
        return heads
    needed = set(store.fork_sources(sorted(heads))) - heads.keys()
    return heads | {run_id: head for run_id, head in store.heads().items() if run_id in needed} if needed else heads


def waiting_artifacts(run: StoredRun, entry: RunEntry, bytes_max: int | None) -> list[Artifact]:
    """Artifacts of a run that are here and that the lake does not have, by the ledger."""
    return [
        artifact
        for artifact in run.artifacts
        if entry.artifacts.get(artifact.path) != artifact.sha256
        and not artifact.remote
        and (bytes_max is None or artifact.size <= bytes_max > 0)
        and os.path.isfile(run.folder.artifacts / artifact.path)
    ]


def pending_units(store: Store, state: LedgerView, selection: Selection) -> dict[str, str]:
    """Units other than runs that changed since they were sent, with their tokens now."""
    return {
        unit.unit: unit.token
        for unit in LocalSource(store).other_units(selection)
        if unit.unit.partition("/")[0] in _AREAS and state.copied.units.get(unit.unit) != unit.token
    }


def count_pending(store: Store, remote: Remote, state: LedgerView, selection: Selection) -> tuple[PendingCounts, int]:
    """What waits, and how many of the runs are new in the lake.

    Raises:
        StoreError: the store can't be read.
        NotFoundError, FilterError: the selection is not valid.
    """
    runs = points = created = artifacts = artifact_bytes = 0
    recorded: list[int] = []
    unreadable: list[str] = []
    for run_id, head in with_fork_sources(store, selection.heads(store), selection).items():
        if not is_run_pending(head, state):
            continue
        entry = state.runs.get(run_id) or RunEntry()
        runs += 1
        created += not entry.remote_id
        points += max(0, head.points - sum(entry.points.values()))
        try:
            run = store.run(run_id)
            recorded += pending_since(run, state)
            waiting = waiting_artifacts(run, entry, remote.max_artifact_size)
        except NotFoundError:
            continue
        except CorruptionError as error:
            unreadable.append(str(error))
            continue
        artifacts += len(waiting)
        artifact_bytes += sum(artifact.size for artifact in waiting)
    areas = [unit.partition("/")[0] for unit in pending_units(store, state, selection)]
    counts = PendingCounts(
        runs=runs,
        points=points,
        artifacts=artifacts,
        artifact_bytes=artifact_bytes,
        logged_models=areas.count("models"),
        traces=areas.count("traces"),
        oldest=min(recorded, default=0),
        unreadable=tuple(unreadable),
    )
    return counts, created


def dry_run(store: Store, remote: Remote, state: LedgerView, selection: Selection) -> PushReport:
    """What a push would send, by the ledger."""
    counts, created = count_pending(store, remote, state, selection)
    return counts.as_dry_run(remote.name, remote.url, created=created)
