"""What a remote lacks of one run: params, tags, points, files, links, its ending, or that it was deleted or restored.

It is determined from the run and the ledger. Whether a request whose answer was lost has arrived, only the remote can
say: ``points_in_doubt`` says how many points a push compares with it before it sends them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mltrack.entities import ACTIVE, DELETED
from mltrack.environment import ORIGIN_RUN_TAG, PARENT_TAG, RUN_ID_TAG
from mltrack_sync.mlflow.plan.batches import Facts, Refusal, facts_of
from mltrack_sync.mlflow.plan.history import HistorySetting, find_positions
from mltrack_sync.mlflow.plan.in_doubt import InDoubt
from mltrack_sync.mlflow.plan.kinds import ARTIFACT, METRIC, MODEL_INPUT, MODEL_OUTPUT, PARAM, TAG, dataset_key
from mltrack_sync.mlflow.plan.origin import ORIGIN_TAGS, remote_tags
from mltrack_sync.mlflow.plan.rewinds import find_rewind_change
from mltrack_sync.mlflow.plan.sampled_points import count_due
from mltrack_sync.mlflow.plan.whole_run import find_pending_copy

if TYPE_CHECKING:
    from mltrack.entities import Artifact, DatasetInput, Event, ModelOutput
    from mltrack.storage.runs.stored_run import StoredRun
    from mltrack_sync.ledger.runs import RunEntry
    from mltrack_sync.limits import Limits
    from mltrack_sync.mlflow.plan.history import Positions
    from mltrack_sync.mlflow.plan.whole_run import PendingCopy
    from mltrack_sync.report import Rejected

__all__ = [
    "PendingLinks",
    "PendingRun",
    "find_pending_links",
    "find_pending_run",
    "local_tags",
    "refused_metrics",
]


@dataclass(frozen=True, slots=True)
class PendingLinks:
    """What a run is not linked to yet on the remote."""

    datasets: tuple[DatasetInput, ...] = ()
    model_inputs: tuple[str, ...] = ()
    model_outputs: tuple[ModelOutput, ...] = ()


@dataclass(frozen=True, slots=True)
class PendingRun:
    """What the remote lacks of one run.

    ``stage`` is DELETED or ACTIVE where the run is to be deleted or restored on the remote, else "". ``points`` are
    those after the ledger's positions. ``ending`` is what status, end time, name and the mark of a crash are to be, if
    they differ. ``first_event`` is when the first new event was recorded, in ns; 0 where there is none.
    """

    run_id: str
    is_new: bool = False
    stage: str = ""
    facts: Facts = field(default_factory=Facts)
    points: int = 0
    points_in_doubt: int = 0
    links: PendingLinks = field(default_factory=PendingLinks)
    files: tuple[Artifact, ...] = ()
    copy: PendingCopy | None = None
    ending: list[Any] | None = None
    first_event: int = 0


def local_tags(run: StoredRun) -> dict[str, str]:
    """The run's tags and our own, with local ids."""
    return {**run.tags, RUN_ID_TAG: run.run_id}


def find_pending_run(
    run: StoredRun,
    entry: RunEntry,
    rejected: Collection[Rejected],
    limits: Limits,
    *,
    retry: bool = False,
    made_with: Mapping[str, str] | None = None,
    map_tags: Callable[[StoredRun], Mapping[str, str]] = local_tags,
    history: HistorySetting | None = None,
    counting: bool = True,
) -> PendingRun | None:
    """What the remote lacks of a run; None for one that is deleted here and missing or deleted on the remote.

    Args:
        run: The run; it is refreshed.
        entry: What the ledger says that the remote has of it.
        rejected: What was rejected of this run.
        limits: What the remote takes.
        retry: Whether to retry what was rejected.
        made_with: The tags that the run was just created with.
        map_tags: Maps the run's tags to those of the remote.
        history: How many points of a metric go, by what was asked for.
        counting: Whether to count points: of a sample all points are read for that.
    """
    if run.info.lifecycle_stage == DELETED:
        is_on_remote = entry.remote_id and entry.stage != DELETED
        return PendingRun(run.run_id, stage=DELETED) if is_on_remote else None
    restored = entry.stage == DELETED  # its rejections were forgotten: all of it is checked again
    events = run.read_events({} if restored else entry.events)
    run.refresh()  # after the events were read: so the values are at least as new
    retried = [item for item in rejected if retry]
    facts = facts_of(
        events,
        params=run.params,
        tags=remote_tags(map_tags(run), entry.remote_id, ORIGIN_RUN_TAG),
        limits=limits,
        known_tags=made_with,
        again=[(item.kind, item.key) for item in retried if item.kind in (PARAM, TAG)],
        first=(RUN_ID_TAG, PARENT_TAG),
    )
    facts = replace(facts, removed=tuple(key for key in facts.removed if key not in ORIGIN_TAGS))
    positions = find_positions(run, entry, history or HistorySetting())
    points, in_doubt = _points(run, entry, positions, restored=restored) if counting else (0, 0)
    is_sampled = bool(positions.sampled.history)
    return PendingRun(
        run.run_id,
        is_new=not entry.remote_id,
        stage=ACTIVE if restored else "",
        facts=facts,
        points=points,
        points_in_doubt=in_doubt,
        links=find_pending_links(run, entry, () if retry else rejected),
        files=_files(run, entry, () if retry else rejected, events),
        copy=find_pending_copy(run, entry, () if retry else rejected) if is_sampled else None,
        ending=_ending(run, entry),
        first_event=events[0].time if events else 0,
    )


def find_pending_links(run: StoredRun, entry: RunEntry, rejected: Iterable[Rejected]) -> PendingLinks:
    """The links that are neither on the remote nor ``rejected``."""
    settled = {*entry.linked, *(f"{item.kind} {item.key}" for item in rejected)}
    return PendingLinks(
        tuple(used for used in run.datasets if dataset_key(used) not in settled),
        tuple(model_id for model_id in run.model_inputs if f"{MODEL_INPUT} {model_id}" not in settled),
        tuple(output for output in run.model_outputs if f"{MODEL_OUTPUT} {output.model_id}" not in settled),
    )


def _files(
    run: StoredRun, entry: RunEntry, rejected: Iterable[Rejected], events: Iterable[Event]
) -> tuple[Artifact, ...]:
    """Files that the remote lacks or has with another content, if not rejected. One logged again is retried."""
    fresh = {str(event.fields["path"]) for event in events if event.type == "artifact"}
    refused = {item.key for item in rejected if item.kind == ARTIFACT} - fresh
    missing = (file for file in run.artifacts if entry.artifacts.get(file.path) != file.sha256)
    return tuple(file for file in missing if file.path not in refused)


def refused_metrics(run: StoredRun, rejected: Iterable[Rejected], limits: Limits) -> Iterator[Refusal]:
    """Metrics whose names the remote does not take, without those rejected before. All points are read."""
    known = {item.key for item in rejected if item.kind == METRIC}
    for key in sorted(run.summaries.keys() - known):
        reason = limits.refuse_key(key)
        if reason is not None:
            yield Refusal(METRIC, key, reason)


def _points(run: StoredRun, entry: RunEntry, found: Positions, *, restored: bool) -> tuple[int, int]:
    """How many points are to go, and how many of them may be on the remote."""
    positions: Mapping[str, int] = {} if restored else found.points
    change = find_rewind_change(run, entry)
    if change is not None:  # where the remote has what is hidden now, the run is made again
        positions = {} if change.hides else {**positions, **change.back}
    doubt = InDoubt.of_line(found.following).after(positions)
    if found.sampled.history:
        points, beyond = count_due(run, found.sampled, positions, doubt.ends)
    elif run.visibility is not None:
        points, beyond = _counting(run, positions, doubt)
    else:
        points = max(0, run.head().points - sum(positions.values()))
        beyond = sum(end - positions.get(writer, 0) for writer, end in doubt.ends.items())
    # if the answer to its creation was lost and it exists, so may all its points
    return points, points if restored or entry.creating or doubt.everything else min(beyond, points)


def _counting(run: StoredRun, positions: Mapping[str, int], doubt: InDoubt) -> tuple[int, int]:
    """How many points of a run that was rewound or forked count at or after these positions, and are in doubt."""
    points = beyond = 0
    for writer, piece in run.read_points(positions):
        points += len(piece)
        beyond += int(doubt.mask(writer, piece).sum())
    return points, beyond


def _ending(run: StoredRun, entry: RunEntry) -> list[Any] | None:
    info = run.info
    ending = [info.status, info.end_time, info.run_name, info.crashed]
    if ending == entry.ended or (not entry.ended and info.status == "RUNNING"):
        return None
    return ending
