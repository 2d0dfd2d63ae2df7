"""Stores that this process has recorded into: further runs start in them whatever their disk says by then.

A store that was never written to is refused at once, for a person to mend. Later a run that can't be started would end
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
    """A run was started there."""
    _used[layout.root] = _Use(layout, experiment)


def was_used(layout: Layout) -> bool:
    """Whether this process has started a run in that very store."""
    used = _used.get(layout.root)
    return used is not None and used.layout.store_id == layout.store_id


def layout_or_last(root: Path, find: Callable[[], Layout]) -> Layout:
    """The store in ``root``; as it was when a run was started there last, where the disk is in trouble.

    Raises:
        MltrackError: as ``find``, of a store that no run was started in.
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
    """Where a run goes; as it was when one was started in that store last, where the disk is in trouble.

    Raises:
        MltrackError: as ``find``, of a store that no run was started in, and for what the caller is to know.
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
    say("a run is started without a look into the store %s: %s", str(root), words)
