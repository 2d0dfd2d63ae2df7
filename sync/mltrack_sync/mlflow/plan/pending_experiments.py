"""Experiments that no run brings to a remote: with tags and without runs, or with tags that were set since.

One without tags and runs is no more than a name that was once chosen; it goes with its first run. One that was pulled
from another server has tags.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack.environment import EXPERIMENT_TAG
from mltrack_sync.ledger.experiments import EXPERIMENT_TAG_KIND
from mltrack_sync.mlflow.plan.kinds import EXPERIMENT
from mltrack_sync.mlflow.plan.origin import ORIGIN_TAGS

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping

    from mltrack.entities import Experiment
    from mltrack.store import Store
    from mltrack_sync.ledger.view import LedgerView
    from mltrack_sync.selection import Selection

__all__ = ["find_pending_experiments", "find_sent_experiments", "removed_tags"]


def find_pending_experiments(
    store: Store, state: LedgerView, selection: Selection, *, retry: bool, again: Container[tuple[str, str, str]]
) -> tuple[str, ...]:
    """The ids of experiments with tags that the remote does not have and no run brings, or of which it lacks a tag.

    Args:
        store: The store.
        state: The ledger.
        selection: What of the store is meant; selected runs bring their experiments themselves.
        retry: Those that were refused, too.
        again: Or these of them.

    Raises:
        StoreError: the store can't be read.
    """
    if selection.runs or selection.filter:
        return ()

    def is_refused(kind: str, key: str) -> bool:
        item = ("", kind, key)
        return item in state.rejected and not retry and item not in again

    wanted = set(selection.experiments)
    found = [e for e in store.experiments() if not wanted or e.name in wanted]
    removed = store.workspace.removed_tags()
    new = {e.experiment_id for e in found if e.experiment_id not in state.experiments and e.tags}
    new -= _with_runs(store) if new else set()
    pending = [
        e.experiment_id
        for e in found
        if (e.experiment_id in new and not is_refused(EXPERIMENT, e.experiment_id))
        or any(
            not is_refused(EXPERIMENT_TAG_KIND, f"{e.experiment_id}/{key}") for key in _unsent_tags(e, removed, state)
        )
    ]
    return tuple(pending)


def _with_runs(store: Store) -> set[str]:
    return set(store.sql("SELECT DISTINCT experiment_id FROM runs").column("experiment_id").to_pylist())


def find_sent_experiments(store: Store, state: LedgerView, selection: Selection) -> tuple[str, ...]:
    """The ids of experiments that the remote has, and that have tags here or had some, whether they have runs or not.

    Args:
        store: The store.
        state: The ledger.
        selection: What of the store is meant; of selected runs, only these.

    Raises:
        StoreError: the store can't be read.
    """
    if selection.runs or selection.filter:
        return ()
    removed, wanted = store.workspace.removed_tags(), set(selection.experiments)
    found = (e for e in store.experiments() if e.experiment_id in state.experiments)
    named = (e for e in found if not wanted or e.name in wanted)
    return tuple(e.experiment_id for e in named if e.tags.keys() - ORIGIN_TAGS or e.experiment_id in removed)


def removed_tags(removed: Iterable[str], remote: Container[str]) -> list[str]:
    """Which of the tags that were removed here are to be removed from those of the remote."""
    return sorted(key for key in removed if key in remote and key not in ORIGIN_TAGS and key != EXPERIMENT_TAG)


def _unsent_tags(experiment: Experiment, removed: Mapping[str, frozenset[str]], state: LedgerView) -> Iterator[str]:
    """Tags of an experiment that the remote has, which it does not have as they are here, or that were removed here."""
    known = state.experiments.get(experiment.experiment_id)
    if known is not None:
        for key, value in experiment.tags.items():
            if key not in ORIGIN_TAGS and known.tags.get(key) != value:
                yield key
        yield from removed_tags(removed.get(experiment.experiment_id, ()), known.tags)
