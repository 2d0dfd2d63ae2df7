"""What a push or a comparison came to, as counts, with what was rejected and what differs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Difference", "PendingCounts", "PullReport", "PushReport", "Rejected", "VerifyReport"]


@dataclass(frozen=True, slots=True)
class Rejected:
    """Something rejected: its run, kind (param, tag, metric, point, artifact, run), key, why, and how many points.

    A metric is rejected with what is logged to it later, until it is tried again; of kind point are single points of
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
    """One pass over a store.

    ``runs`` had something new; ``created`` of them are new on the remote. ``points`` counts those sent by this pass;
    ``collapsed`` those that the remote would keep as one with an equal point (same metric, step, ms and value);
    ``found`` those that proved to be there already; ``in_doubt``, of a dry run, how many of ``points`` may be there.
    ``bytes`` is what request bodies held. ``rejected`` is all that is rejected in the selected runs, also by earlier
    passes; ``problems`` says what will be tried again next time, ``lacking`` what the remote has no place for and how
    much waits for that. ``datasets`` counts those that runs were linked to; ``logged_models`` and ``traces`` those that
    had something new.
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
    bytes: int = 0
    requests: int = 0
    seconds: float = 0.0
    rejected: tuple[Rejected, ...] = ()
    problems: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether everything selected is on the remote."""
        return not (self.rejected or self.problems or self.lacking)

    @property
    def points_per_second(self) -> float:
        """Points sent, by the whole time of the pass."""
        return self.points / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class PendingCounts:
    """What waits for a remote, by its ledger.

    ``links`` counts runs whose datasets or logged models the remote does not support. ``oldest`` is when the oldest of
    what waits was recorded, in ns since the epoch; 0 where nothing does. ``unreadable`` names what can't be read here.
    """

    runs: int = 0
    points: int = 0
    artifacts: int = 0
    artifact_bytes: int = 0
    models: int = 0
    model_versions: int = 0
    logged_models: int = 0
    traces: int = 0
    links: int = 0
    oldest: int = 0
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PullReport:
    """One pull from a remote.

    ``runs`` had something new; ``created`` of them are new in the store. ``points``, ``artifacts`` and
    ``artifact_bytes`` count what came. ``skipped_artifacts`` were too large or not wanted, and can be fetched later.
    ``notes`` are conflicts and how they were resolved; ``problems`` will be tried again next time; ``unsupported`` says
    what the remote can't hand out.
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
    bytes: int = 0
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    unsupported: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether everything selected is in the store now."""
        return not self.problems


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not the same: of which run, what, and how it is here and there.

    ``run_id`` is empty for what belongs to no run: then ``subject`` names the model, version or trace. ``kind`` and
    ``key`` are how the ledger calls what differs.
    """

    run_id: str
    thing: str
    here: str
    there: str
    kind: str = ""
    key: str = ""
    subject: str = ""

    def explained(self, reasons: Mapping[tuple[str, str], str]) -> Difference:
        """The same, with the reason for which it was rejected, if it was."""
        reason = reasons.get((self.kind, self.key)) or (reasons.get(("run", "")) if self.kind == "run" else None)
        return self if reason is None else self.noted(f"rejected: {reason}")

    def noted(self, words: str) -> Difference:
        """The same, with something to say about the other side."""
        return replace(self, there=f"{self.there} ({words})")


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was compared, and each thing that is not the same on both sides.

    ``runs``, ``models``, ``model_versions``, ``logged_models`` and ``traces`` count those compared; the others what was
    found equal: ``points`` of those read back (0 with ``quick``), ``artifact_bytes`` of those downloaded and hashed,
    ``model_ties`` of runs to models they used or made. ``lacking`` says, a line for each, what the remote
    has no place for and was therefore not compared. What has no entry in ``differences`` is there whole.
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
    model_ties: int = 0
    models: int = 0
    model_versions: int = 0
    logged_models: int = 0
    traces: int = 0
    spans: int = 0
    assessments: int = 0
    seconds: float = 0.0
    differences: tuple[Difference, ...] = ()
    lacking: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    def differing(self) -> set[str]:
        """The ids of runs in which something differs."""
        return {difference.run_id for difference in self.differences if difference.run_id}
