"""A run that the program itself records: MLflow's runs join it instead of being made (``mltrack.autolog``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack.environment import PARENT_TAG

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mltrack.store import Store

__all__ = ["is_joined", "join_runs", "run_to_join"]

_find: Callable[[Store], str | None] | None = None
_joined: set[str] = set()


def join_runs(find: Callable[[Store], str | None] | None) -> None:
    """From now on a run that MLflow starts is the one that ``find`` names for a store, if it names one."""
    global _find
    _find = find


def run_to_join(store: Store, tags: Mapping[str, str | None]) -> str | None:
    """The id of the run to go on with instead of making one; None for a child run, and where there is none."""
    found = None if _find is None or PARENT_TAG in tags else _find(store)
    if found is not None:
        _joined.add(found)
    return found


def is_joined(run_id: str) -> bool:
    """Whether MLflow joined this run: its status is not MLflow's to set, as the program ends it."""
    return run_id in _joined
