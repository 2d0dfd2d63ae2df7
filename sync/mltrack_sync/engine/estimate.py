"""How long a push may take, by the rate that the remote was measured to take points at; asked before it starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mltrack.environment import HISTORY_TAG
from mltrack.errors import MltrackError
from mltrack_sync.ledger.runs import RunEntry
from mltrack_sync.remotes.kind import find_kind
from mltrack_sync.remotes.ledgers import read_ledger
from mltrack_sync.remotes.settings import ConfigurableKind

if TYPE_CHECKING:
    from mltrack.store import Store
    from mltrack_sync.remotes.kind import Remote
    from mltrack_sync.selection import Selection

__all__ = ["PushEstimate", "estimate_push"]

POINTS_PER_S = 6_000.0
"""The rate of an MLflow server that was not measured yet (docs/live-push.md)."""

SAMPLE = 2_000
"""The history that is proposed."""

MANY_POINTS = 10_000
"""A run with fewer points than this gains nothing by a sampled history, and is not looked at."""


@dataclass(frozen=True, slots=True)
class PushEstimate:
    """What a push may come to.

    Attributes:
        points: How many points wait, at most.
        seconds: How long they take; 0 where the kind of remote does not take single points.
        measured: Whether the rate was measured with this remote.
        sampled_seconds: How long a sampled history of ``SAMPLE`` points would take; None where the remote has none, or
            gets one anyway.
    """

    points: int
    seconds: float
    measured: bool
    sampled_seconds: float | None = None


def estimate_push(
    store: Store, remote: Remote, selection: Selection, history: int | None = None, *, worth_s: float = 60.0
) -> PushEstimate:
    """How long a push would take; no request is made.

    Args:
        store: The store.
        remote: Where to push to.
        selection: The runs.
        history: What the push asks for: how many points of a metric, 0 for all, None for the remote's setting.
        worth_s: From so many seconds on it is found out what a sampled history would take.

    Raises:
        NotFoundError, FilterError, UsageError: the selection or the remote's kind is not valid.
    """
    kind = find_kind(remote.kind)
    can_sample = isinstance(kind, ConfigurableKind) and "history" in kind.settings
    wanted = remote.history if history is None else history
    if not can_sample or wanted:
        return PushEstimate(0, 0.0, measured=False)
    state = read_ledger(store, remote)
    waiting: dict[str, int] = {}
    for run_id, head in selection.heads(store).items():
        entry = state.runs.get(run_id) or RunEntry()
        is_sampled = history is None and bool(entry.sampled.history)
        if not entry.is_settled_at(head) and not is_sampled:
            waiting[run_id] = max(0, head.points - sum(entry.points.values()))
    if history is None:
        waiting = {run_id: points for run_id, points in waiting.items() if not _asks_for_sample(store, run_id, points)}
    points, rate = sum(waiting.values()), state.points_per_s or POINTS_PER_S
    seconds = points / rate
    sampled = _sampled_points(store, waiting) / rate if seconds >= worth_s else None
    return PushEstimate(points, seconds, bool(state.points_per_s), sampled)


def _asks_for_sample(store: Store, run_id: str, points: int) -> bool:
    """Whether a run of many points says itself that a choice of them goes: ``start_run(history=)``."""
    if points <= MANY_POINTS:
        return False
    try:
        return store.run(run_id).tags.get(HISTORY_TAG, "0") not in ("0", "whole")
    except (MltrackError, OSError):  # the push says what is wrong with it
        return False


def _sampled_points(store: Store, waiting: dict[str, int]) -> int:
    """How many points of these runs a sampled history would send, at most."""
    found = 0
    for run_id, points in waiting.items():
        if points > MANY_POINTS:
            try:
                counts = [each.count for each in store.run(run_id).summaries.values()]
            except (MltrackError, OSError):  # the push says what is wrong with it
                continue
            points = min(points, sum(min(count, 2 * SAMPLE) for count in counts))
        found += points
    return found
