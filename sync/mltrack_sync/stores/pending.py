"""What waits for a remote that is a store: by the ledger alone, the remote is not looked at."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mltrack.errors import CorruptionError, NotFoundError
from mltrack_sync.ledger.ledger import RunEntry
from mltrack_sync.remotes.pending import is_run_pending, pending_since
from mltrack_sync.report import PendingCounts, PushReport
from mltrack_sync.stores.local_source import RUNS, LocalSource
from mltrack_sync.stores.run_token import run_token

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from mltrack.entities import Artifact, RunHead
    from mltrack.storage.runs.stored_run import StoredRun
    from mltrack.store import Store
    from mltrack_sync.ledger.ledger import LedgerState
    from mltrack_sync.remotes.kind import Remote
    from mltrack_sync.selection import Selection

__all__ = ["count_pending", "dry_run", "least_bound"]


def least_bound(asked: int | None, remote: Remote) -> int | None:
    """The largest artifact that is copied, by what is asked for and by the remote's own setting; None is no limit."""
    bounds = [bound for bound in (asked, remote.max_artifact_size) if bound is not None]
    return min(bounds, default=None)


def count_pending(
    store: Store,
    state: LedgerState,
    selection: Selection,
    heads: Mapping[str, RunHead],
    artifact_bytes_max: int | None,
) -> tuple[PendingCounts, int]:
    """What waits, and how many of the runs are new on the remote.

    Args:
        store: The store here.
        state: The ledger.
        selection: What of the store is meant.
        heads: The selected runs.
        artifact_bytes_max: Larger artifacts are not copied.

    Raises:
        StoreError: the store can't be read.
    """
    runs = points = created = artifacts = artifact_bytes = 0
    recorded: list[int] = []
    unreadable: list[str] = []
    for run_id, head in heads.items():
        if not _is_pending(store, head, state):
            continue
        entry = state.runs.get(run_id) or RunEntry()
        runs += 1
        created += not entry.remote_id
        points += max(0, head.points - sum(entry.points.values()))
        try:
            run = store.run(run_id)
            recorded += pending_since(run, state)
            waiting = list(_artifacts(run, entry, artifact_bytes_max))
        except NotFoundError:
            continue
        except CorruptionError as error:
            unreadable.append(str(error))
            continue
        artifacts += len(waiting)
        artifact_bytes += sum(artifact.size for artifact in waiting)
    counts = PendingCounts(
        runs=runs,
        points=points,
        artifacts=artifacts,
        artifact_bytes=artifact_bytes,
        **_others(_waiting_units(store, state, selection)),
        oldest=min(recorded, default=0),
        unreadable=tuple(unreadable),
    )
    return counts, created


def _is_pending(store: Store, head: RunHead, state: LedgerState) -> bool:
    """Whether a run is to be copied; the head alone does not tell where the remote has files that can't all be read."""
    unit = f"{RUNS}{head.run_id}"
    if unit in state.copied.differing:
        return True
    if not is_run_pending(head, state):
        return False
    return head.live or state.copied.units.get(unit, "") != run_token(str(store.layout.run(head.run_id).path))


def _artifacts(run: StoredRun, entry: RunEntry, artifact_bytes_max: int | None) -> Iterator[Artifact]:
    """Artifacts of a run that are here and that the remote does not have, by the ledger."""
    for artifact in run.artifacts:
        if entry.artifacts.get(artifact.path) == artifact.sha256 or artifact.remote:
            continue
        if artifact_bytes_max is not None and (artifact.size > artifact_bytes_max or not artifact_bytes_max):
            continue
        if os.path.isfile(run.folder.artifacts / artifact.path):
            yield artifact


def _waiting_units(store: Store, state: LedgerState, selection: Selection) -> Iterator[str]:
    """Units other than runs that changed since they were copied."""
    for unit in LocalSource(store).units(selection):
        is_held = state.copied.units.get(unit.unit) == unit.token and unit.unit not in state.copied.differing
        if not unit.unit.startswith(RUNS) and not is_held:
            yield unit.unit


def _others(units: Iterable[str]) -> dict[str, int]:
    """How many of these units are logged models, and how many are experiments with traces."""
    areas = [unit.partition("/")[0] for unit in units]
    return {"logged_models": areas.count("models"), "traces": areas.count("traces")}


def dry_run(
    store: Store, remote: Remote, state: LedgerState, selection: Selection, artifact_bytes_max: int | None
) -> PushReport:
    """What a push would copy, by the ledger.

    Args:
        store: The store here.
        remote: The other one.
        state: The ledger.
        selection: What of the store is meant.
        artifact_bytes_max: Larger artifacts are not copied.
    """
    counts, created = count_pending(store, state, selection, selection.heads(store), artifact_bytes_max)
    return counts.as_dry_run(remote.name, remote.url, created=created)
