"""Stores that this process has recorded into: later runs start in them even if the disk fails.

A store that can't be written to is an error at first, for the user to fix. Later a run that can't be started would end
a training, so it is started with what is known of the store, and what can't be stored is counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mltrack.entities import Experiment
from mltrack.errors import MltrackError, StoreError
from mltrack.process.trouble import TROUBLE, say, words_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mltrack.disk.layout import Layout

__all__ = ["experiment_or_last", "layout_or_last", "note", "was_used"]


class _Use(NamedTuple):
    layout: Layout
    experiment: Experiment


_used: dict[Path, _Use] = {}


def note(layout: Layout, experiment: Experiment) -> None:
    """Remember that a run was started in a store."""
    _used[layout.root] = _Use(layout, experiment)


def was_used(layout: Layout) -> bool:
    """Whether this process has started a run in this store."""
    used = _used.get(layout.root)
    return used is not None and used.layout.store_id == layout.store_id


def layout_or_last(root: Path, find: Callable[[], Layout]) -> Layout:
    """The store in ``root``; if the disk fails, as it was when the last run was started in it.

    Raises:
        MltrackError: as ``find``, for a store that no run was started in.
    """
    try:
        return find()
    except (StoreError, *TROUBLE) as error:
        used = _used.get(root)
        if used is None or not _is_trouble(error):
            raise
        _say(root, error)
        return used.layout


def experiment_or_last(layout: Layout, find: Callable[[], Experiment], experiment_id: str | None) -> Experiment:
    """A run's experiment; if the disk fails, that of the last run started in the store.

    Raises:
        MltrackError: as ``find``, for a store that no run was started in, and for errors of the caller.
    """
    try:
        return find()
    except (MltrackError, *TROUBLE) as error:
        if not was_used(layout) or not _is_trouble(error):
            raise
        _say(layout.root, error)
        last = _used[layout.root].experiment
        return last if experiment_id in (None, last.experiment_id) else Experiment(str(experiment_id), "")


def _is_trouble(error: Exception) -> bool:
    return isinstance(error, TROUBLE) or isinstance(error.__cause__, TROUBLE)


def _say(root: Path, error: Exception) -> None:
    cause = error.__cause__
    words = words_of(cause if isinstance(cause, Exception) else error)
    say("a run is started without reading the store %s: %s", str(root), words)
