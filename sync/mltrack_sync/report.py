"""What a pass did, as counts, and what it set aside."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PushReport", "Rejected"]


@dataclass(frozen=True, slots=True)
class Rejected:
    """Something set aside: its run, kind (param, tag, metric, point, artifact, run), key, why, and how many points.

    A metric is set aside with what is logged to it later, until it is tried again; of kind point are single points of
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
    ``found`` those that proved to be there already. ``bytes`` is what request bodies held. ``rejected`` is all that is
    set aside in the selected runs, also by earlier passes; ``problems`` tells what will be tried again next time,
    ``lacking`` what the remote has no place for and how much waits for that. ``datasets`` counts those that runs were
    tied to; ``logged_models`` and ``traces`` those that had something new.
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
