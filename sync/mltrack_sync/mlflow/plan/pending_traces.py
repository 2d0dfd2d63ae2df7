"""What a remote lacks of traces: which of them are new or changed, and which tags of one the remote takes.

A trace that changed is sent again as a whole, as its ids are the same on both sides and all its calls may be repeated.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mltrack.entities import DELETED
from mltrack_sync.mlflow.plan.batches import Refusal
from mltrack_sync.mlflow.plan.kinds import TRACE, TRACE_TAG
from mltrack_sync.mlflow.plan.pending_models import is_whole_experiment

if TYPE_CHECKING:
    from mltrack.storage.traces.traces import Assessment, Trace
    from mltrack.store import Store
    from mltrack_sync.ledger.traces import TraceEntry
    from mltrack_sync.ledger.view import LedgerView
    from mltrack_sync.limits import Limits
    from mltrack_sync.selection import Selection

__all__ = [
    "ARTIFACT_LOCATION",
    "ASSESSMENT_RUN",
    "MODEL_ID",
    "SERVERS_OWN",
    "SOURCE_RUN",
    "PendingTraces",
    "as_on_remote",
    "attachments",
    "fact_sizes",
    "find_pending_traces",
    "fingerprint",
    "split_tags",
]

ARTIFACT_LOCATION = "mlflow.artifactLocation"
"""The tag in which a server gives the location of a trace's attachments."""

SERVERS_OWN = (ARTIFACT_LOCATION, "mlflow.trace.spansLocation")
"""Tags that a server sets itself."""

SOURCE_RUN = "mlflow.sourceRun"
MODEL_ID = "mlflow.modelId"
ASSESSMENT_RUN = "mlflow.assessment.sourceRunId"


@dataclass(frozen=True, slots=True)
class PendingTraces:
    """Traces to send; ``positions`` and ``sizes`` go to the ledger when all were sent (see ledger/traces.py).

    ``whole`` says that these are all, so that the ledger may note it. ``deleted`` counts those that were deleted since
    the ledger noted this last: if they are on the remote, they stay there.
    """

    traces: tuple[Trace, ...] = ()
    positions: Mapping[str, int] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    whole: bool = False
    deleted: int = 0


def find_pending_traces(
    store: Store,
    state: LedgerView,
    selection: Selection,
    chosen: Mapping[str, object],
    *,
    retry: bool = False,
    again: Collection[str] = (),
) -> PendingTraces:
    """The traces of which the ledger does not have all.

    Args:
        store: The store.
        state: The ledger.
        selection: What is selected: traces of selected runs, and of whole experiments.
        chosen: The selected runs.
        retry: Whether to retry what was rejected.
        again: Traces that are sent in any case.
    """
    sizes = fact_sizes(store)  # before the facts are read: what is added meanwhile is seen next time
    rejected = [item for item in state.rejected.values() if not item.run_id]
    whole = {item.key for item in rejected if item.kind == TRACE}
    of_tags = {item.key.partition("/")[0] for item in rejected if item.kind == TRACE_TAG}
    tried = {*(whole | of_tags if retry else ()), *again}
    known = state.traces
    if sizes == known.sizes and not tried:
        return PendingTraces()
    changes = store.traces.changes(known.positions)
    found = []
    present = store.traces.find_some(dict.fromkeys((*changes.trace_ids, *tried)))
    deleted = len(set(changes.trace_ids) - {trace.trace_id for trace in present})
    for trace in present:
        if trace.trace_id not in tried and (trace.trace_id in whole or _is_sent(trace, known)):
            continue
        if selection.everything or _is_selected(store, trace, selection, chosen):
            found.append(trace)
    found.sort(key=lambda trace: (trace.request_time, trace.trace_id))
    if not (selection.everything and (known.positions or known.done)):
        deleted = 0
    return PendingTraces(tuple(found), changes.positions, sizes, whole=selection.everything, deleted=deleted)


def as_on_remote(trace: Trace, state: LedgerView) -> Trace:
    """A trace without what runs assessed that are deleted on the remote: MLflow removes that with the run."""
    kept = {key: held for key, held in trace.assessments.items() if not _is_of_deleted_run(held, state)}
    return trace if len(kept) == len(trace.assessments) else replace(trace, assessments=kept)


def _is_of_deleted_run(held: Assessment, state: LedgerView) -> bool:
    run_id = held.source_run or held.run_id
    entry = state.runs.get(run_id) if run_id is not None else None
    return entry is not None and entry.stage == DELETED


def fingerprint(trace: Trace) -> str:
    """A hash of a trace's state."""
    return hashlib.blake2b(repr(trace).encode("utf-8", "replace"), digest_size=8).hexdigest()


def fact_sizes(store: Store) -> dict[str, int]:
    """How long each writer's file of facts is, by experiment and writer."""
    found: dict[str, int] = {}
    try:
        experiments = sorted(os.listdir(store.layout.traces))
    except FileNotFoundError:
        return {}
    for experiment_id in experiments:
        try:
            with os.scandir(store.layout.traces / experiment_id / "facts") as entries:
                found |= {f"{experiment_id}/{entry.name}": entry.stat().st_size for entry in entries}
        except (FileNotFoundError, NotADirectoryError):
            continue
    return found


def split_tags(trace_id: str, tags: Mapping[str, str], limits: Limits) -> tuple[dict[str, str], list[Refusal]]:
    """The tags of a trace that can be sent, and those that the remote does not take."""
    taken, refused = {}, []
    for key, value in tags.items():
        if key == ARTIFACT_LOCATION:
            continue
        reason = limits.refuse_tag(key, value)
        if reason is None:
            taken[key] = value
        else:
            refused.append(Refusal(TRACE_TAG, f"{trace_id}/{key}", reason))
    return taken, refused


def attachments(store: Store, trace: Trace) -> list[tuple[str, Path]]:
    """The files attached to a trace's spans: path in their folder, and where it is."""
    folder = store.path / "artifacts" / trace.experiment_id / "traces" / trace.trace_id / "artifacts"
    found = []
    for parent, _, names in os.walk(folder):
        paths = (Path(parent) / name for name in sorted(names))
        found += [(path.relative_to(folder).as_posix(), path) for path in paths]
    return found


def _is_sent(trace: Trace, known: TraceEntry) -> bool:
    done = known.done.get(trace.trace_id)
    return done is not None and done == fingerprint(trace)


def _is_selected(store: Store, trace: Trace, selection: Selection, chosen: Mapping[str, object]) -> bool:
    runs = {*trace.run_ids, trace.metadata.get(SOURCE_RUN, "")}
    return not runs.isdisjoint(chosen) or is_whole_experiment(store, trace.experiment_id, selection)
