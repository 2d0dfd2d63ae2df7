"""Rules that never had anything to look at: the metric that they name was not logged, as one that is misspelled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack.guards.conditions import ANY, SYSTEM, Query
from mltrack.text.nearest import meant

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from mltrack.guards.rules import Guard
    from mltrack.storage.runs.state import RunState

__all__ = ["logged_metrics", "unseen"]


def logged_metrics(state: RunState) -> set[str]:
    """The metrics that the run's own writers have logged."""
    return {key for writer in state.writers.values() for key in writer.keys}


def unseen(guards: Collection[Guard], experiment: str, metrics: Collection[str]) -> Iterator[str]:
    """What to say of each rule on a metric that a run never logged.

    Args:
        guards: The rules.
        experiment: The run's experiment, by name.
        metrics: What the run has logged; where that is nothing but the machine's load, nothing is said.
    """
    own = [metric for metric in metrics if not metric.startswith(SYSTEM)]
    for guard in guards if own else ():
        condition = guard.condition
        if isinstance(condition, Query) or condition.pattern == ANY or not guard.concerns(experiment):
            continue
        if not any(map(condition.matches, metrics)):
            words = f"the rule {condition.text!r} had nothing to look at, as no metric {condition.pattern!r} was logged"
            yield f"{words}; {meant(condition.pattern, own, 'metrics')}"
