"""What a run of the server says and the store does not: as events, in the order in which they may be written."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from mltrack.entities import ACTIVE, DELETED, RUN_STATUSES
from mltrack.environment import ORIGIN_RUN_TAG, ORIGIN_TAG, RUN_ID_TAG
from mltrack.errors import UsageError
from mltrack_sync.mlflow.plan.batches import NS_PER_MS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mltrack.entities import Experiment
    from mltrack_sync.mlflow.api.client import RemoteRun
    from mltrack_sync.mlflow.pull.local_run import LocalRun

__all__ = ["ENDED", "ending_of", "fingerprint", "new_facts", "start_event", "wanted_tags"]

ENDED = ("FINISHED", "FAILED", "KILLED")
TIME_MS_MAX = 1 << 43

Event = dict[str, Any]


def fingerprint(run: RemoteRun) -> str:
    """Changes with whatever the server says of a run where it lists runs."""
    said = (
        run.experiment_id,
        run.status,
        run.deleted,
        run.name,
        run.user,
        run.start_time,
        run.end_time,
        sorted(run.params.items()),
        sorted(run.tags.items()),
        sorted((key, *latest, repr(run.values.get(key))) for key, latest in run.latest.items()),
        run.inputs,
        run.outputs,
    )
    text = json.dumps(said, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:32]


def start_event(run: RemoteRun, experiment: Experiment) -> Event:
    """That the run exists."""
    return {
        "type": "start",
        "run_name": run.name,
        "experiment_id": experiment.experiment_id,
        "experiment_name": experiment.name,
        "start_time": time_ns_of(run, run.start_time or 0),
        "user_id": run.user,
    }


def ending_of(run: RemoteRun) -> Event:
    """Its status, and when it ended.

    Raises:
        UsageError: it is none that a run can have.
    """
    if run.status not in RUN_STATUSES:
        raise UsageError(
            f"run {run.run_id} has the status {run.status[:100]!r}, which MLflow does not know", hint="set it there"
        )
    event: Event = {"type": "status", "status": run.status}
    return event if run.end_time is None else event | {"end_time": time_ns_of(run, run.end_time)}


def time_ns_of(run: RemoteRun, time_ms: int) -> int:
    """A time of the server in ns.

    Raises:
        UsageError: there is no such time.
    """
    if not -TIME_MS_MAX < time_ms < TIME_MS_MAX:
        raise UsageError(f"run {run.run_id} names a time that does not exist: {time_ms} ms", hint="set it there")
    return time_ms * NS_PER_MS


def wanted_tags(run: RemoteRun, local: LocalRun, url: str, mapped: Mapping[str, str]) -> dict[str, str]:
    """The tags that the run is to have here: the server's, with ids as they are here, and where it came from."""
    tags = {key: value for key, value in mapped.items() if key != RUN_ID_TAG}
    if not local.is_own and run.tags.get(RUN_ID_TAG) != local.run_id:
        tags = {ORIGIN_TAG: url, ORIGIN_RUN_TAG: run.run_id, **tags}
    return tags


def new_facts(run: RemoteRun, local: LocalRun, tags: Mapping[str, str]) -> Iterator[Event]:
    """Params and tags that the run does not have here, or that changed on the server and not here."""
    yield from local.new_params(run.params)
    yield from local.new_tags(tags, _FIRST_STANDS)


_FIRST_STANDS = (ORIGIN_TAG, ORIGIN_RUN_TAG)


def new_stage(run: RemoteRun, local: LocalRun) -> Event | None:
    """That it was deleted or restored, unless somebody did so here."""
    return local.new_stage(DELETED if run.deleted else ACTIVE)


def new_ending(run: RemoteRun, local: LocalRun) -> Event | None:
    """Its status and end, unless that was set here."""
    event = ending_of(run)
    return local.new_ending(event["status"], event.get("end_time"))
