"""What a push or a comparison came to, as counts, with what was rejected and what differs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from _typeshed import DataclassInstance

__all__ = ["Difference", "PendingCounts", "PullReport", "PushReport", "Rejected", "VerifyReport", "json_fields"]


@dataclass(frozen=True, slots=True)
class Rejected:
    """Something rejected: its run, kind (param, tag, metric, point, artifact, run), key, why, and how many points.

    A metric is rejected with what is logged to it later, until it is retried; of kind point are single points of
    the metric ``key``.

    Of the registry it is a kind of model, model version or alias, and no run; likewise of logged models and traces.
    """

    run_id: str
    kind: str
    key: str
    reason: str
    points: int = 0


@dataclass(frozen=True, slots=True)
class PushReport:
    """The result of one sync cycle.

    ``runs`` had something new; ``created`` of them are new on the remote. ``points`` counts those that were sent;
    ``collapsed`` those that the remote would keep as one with an equal point (same metric, step, ms and value);
    ``found`` those that the remote turned out to have; ``in_doubt``, in a dry run, how many of ``points`` it may have.
    ``bytes`` is the size of request bodies. ``rejected`` is all that is rejected in the selected runs, also by earlier
    cycles; ``problems`` says what will be retried next time, ``unsupported`` what the remote does not support and how
    much waits for that. ``datasets`` counts those that runs were linked to; ``logged_models`` and ``traces`` those that
    had something new; ``experiments`` those without runs that are new on the remote. ``run_names`` are the names of the
    first few runs that went.
    """

    remote: str
    url: str
    dry_run: bool = False
    runs: int = 0
    created: int = 0
    params: int = 0
    tags: int = 0
    points: int = 0
    collapsed: int = 0
    found: int = 0
    in_doubt: int = 0
    artifacts: int = 0
    artifact_bytes: int = 0
    models: int = 0
    model_versions: int = 0
    datasets: int = 0
    logged_models: int = 0
    traces: int = 0
    evaluation_items: int = 0
    experiments: int = 0
    bytes: int = 0
    requests: int = 0
    seconds: float = 0.0
    rejected: tuple[Rejected, ...] = ()
    problems: tuple[str, ...] = ()
    unsupported: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    run_names: tuple[str, ...] = ()

    @property
    def lacking(self) -> tuple[str, ...]:
        """The former name of ``unsupported``."""
        return self.unsupported

    @property
    def complete(self) -> bool:
        """Whether everything selected is on the remote."""
        return not (self.rejected or self.problems or self.unsupported)

    @property
    def points_per_second(self) -> float:
        """Points sent, by the duration of the cycle."""
        return self.points / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class PendingCounts:
    """What waits for a remote, by its ledger.

    ``links`` counts runs whose datasets or logged models the remote does not support, ``experiments`` those without
    runs that it lacks. ``oldest`` is when the oldest of what waits was recorded, in ns since the epoch; 0 where nothing
    does. ``unreadable`` names what can't be read here.
    """

    runs: int = 0
    points: int = 0
    artifacts: int = 0
    artifact_bytes: int = 0
    models: int = 0
    model_versions: int = 0
    logged_models: int = 0
    traces: int = 0
    evaluation_items: int = 0
    links: int = 0
    experiments: int = 0
    oldest: int = 0
    unreadable: tuple[str, ...] = ()

    def as_dry_run(self, remote: str, url: str, *, created: int) -> PushReport:
        """What a push would report; ``created`` of the runs are new on the remote."""
        return PushReport(
            remote,
            url,
            dry_run=True,
            runs=self.runs,
            created=created,
            points=self.points,
            artifacts=self.artifacts,
            artifact_bytes=self.artifact_bytes,
            logged_models=self.logged_models,
            traces=self.traces,
            problems=self.unreadable,
        )


@dataclass(frozen=True, slots=True)
class PullReport:
    """One pull from a remote.

    ``runs`` had something new; ``created`` of them are new in the store. ``points``, ``artifacts`` and
    ``artifact_bytes`` count what came. ``skipped_artifacts`` were too large or not wanted, and can be fetched later.
    ``notes`` are conflicts and how they were resolved; ``problems`` will be retried next time; ``unsupported`` says
    what the remote can't hand out. ``left_behind`` says, a line for each kind, what else the remote has and the pull
    did not bring, because the selection or mltrack leaves it out.
    """

    remote: str
    url: str
    dry_run: bool = False
    runs: int = 0
    created: int = 0
    points: int = 0
    artifacts: int = 0
    artifact_bytes: int = 0
    skipped_artifacts: int = 0
    experiments: int = 0
    models: int = 0
    model_versions: int = 0
    logged_models: int = 0
    traces: int = 0
    evaluation_items: int = 0
    bytes: int = 0
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    unsupported: tuple[str, ...] = ()
    left_behind: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether everything selected is in the store now."""
        return not self.problems


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not the same: of which run, what, and how it is locally and on the remote.

    ``run_id`` is empty for what belongs to no run: then ``subject`` names the model, version or trace. ``kind`` and
    ``key`` are the names in the ledger of what differs.
    """

    run_id: str
    thing: str
    local: str
    remote: str
    kind: str = ""
    key: str = ""
    subject: str = ""

    @property
    def here(self) -> str:
        """The former name of ``local``."""
        return self.local

    @property
    def there(self) -> str:
        """The former name of ``remote``."""
        return self.remote

    def explained(self, reasons: Mapping[tuple[str, str], str]) -> Difference:
        """The same, with the reason for which it was rejected, if it was."""
        reason = reasons.get((self.kind, self.key)) or (reasons.get(("run", "")) if self.kind == "run" else None)
        return self if reason is None else self.noted(f"rejected: {reason}")

    def noted(self, words: str) -> Difference:
        """The same, with a note on the remote side."""
        return replace(self, remote=f"{self.remote} ({words})")


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was compared, and each thing that is not the same on both sides.

    ``runs``, ``models``, ``model_versions``, ``logged_models``, ``traces`` and ``evaluation_items`` (evaluation
    datasets, scorers, label schemas) count those compared; the others what was
    found equal: ``points`` of those read back (0 with ``quick``), ``artifact_bytes`` of those downloaded and hashed,
    ``model_links`` of runs to models they used or made. ``unsupported`` says, a line for each, what the remote does not
    support, so that it was not compared; ``partly_compared`` has the ids of runs with such things. What has no entry in
    ``differences`` is the same on both sides. ``differing_units`` are those of a store (mltrack_sync.stores.transfer),
    or runs of a server, that the next push is to look at; ``differing_files`` has by unit the files that both have and
    whose content differs.
    """

    remote: str
    url: str
    quick: bool = False
    runs: int = 0
    params: int = 0
    tags: int = 0
    metrics: int = 0
    points: int = 0
    artifacts: int = 0
    artifact_bytes: int = 0
    datasets: int = 0
    model_links: int = 0
    models: int = 0
    model_versions: int = 0
    logged_models: int = 0
    traces: int = 0
    spans: int = 0
    assessments: int = 0
    evaluation_items: int = 0
    seconds: float = 0.0
    differences: tuple[Difference, ...] = ()
    unsupported: tuple[str, ...] = ()
    partly_compared: tuple[str, ...] = ()
    differing_units: tuple[str, ...] = ()
    differing_files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def model_ties(self) -> int:
        """The former name of ``model_links``."""
        return self.model_links

    @property
    def lacking(self) -> tuple[str, ...]:
        """The former name of ``unsupported``."""
        return self.unsupported

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    def differing(self) -> set[str]:
        """The ids of runs in which something differs."""
        return {difference.run_id for difference in self.differences if difference.run_id}


RUN_NAMES_MAX = 10
"""So many names of runs are in a report."""

_FORMER_NAMES = {
    "unsupported": "lacking",
    "model_links": "model_ties",
    "pending_links": "pending_ties",
    "runs_on_remote": "runs_there",
}


def json_fields(report: DataclassInstance) -> dict[str, Any]:
    """A report's fields as JSON output has them: with former names, too, as scripts may read those."""
    fields = asdict(report)
    for each in fields.get("differences", ()):
        each.update(here=each["local"], there=each["remote"])
    return fields | {former: fields[name] for name, former in _FORMER_NAMES.items() if name in fields}
