"""The module-level functions for experiments beyond the one that new runs belong to: searched, tagged, restored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mltrack.errors import UsageError
from mltrack.recording.current_store import chosen_experiment, get_store
from mltrack.values.scalars import texts_by_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mltrack.entities import Experiment

__all__ = ["delete_experiment_tag", "restore_experiment", "search_experiments", "set_experiment_tags"]


def restore_experiment(experiment_id: str) -> None:
    """Restore a deleted experiment and all its runs.

    Raises:
        NotFoundError: there is no such experiment.
    """
    get_store().restore_experiment(str(experiment_id))


def set_experiment_tags(tags: Mapping[str, Any]) -> None:
    """Set tags of the experiment of new runs, as text.

    Raises:
        UsageError: the experiment is deleted, or a tag's key is not a non-empty text; none was set.
    """
    texts = texts_by_name("tags", tags)
    workspace, experiment_id = _current()
    for key, value in texts.items():
        workspace.set_tag(experiment_id, key, value)


def delete_experiment_tag(key: str) -> None:
    """Remove a tag of the experiment of new runs; it need not exist.

    Raises:
        UsageError: the experiment is deleted.
    """
    workspace, experiment_id = _current()
    workspace.set_tag(experiment_id, key, None)


def _current() -> tuple[Any, str]:
    store = get_store()
    return store.workspace, store.workspace.usable(chosen_experiment(store.layout, None)).experiment_id


def search_experiments(
    view_type: int | str = "ACTIVE_ONLY",
    max_results: int | None = None,
    filter_string: str | None = None,
    order_by: Sequence[str] | None = None,
) -> list[Experiment]:
    """Experiments that match a filter in MLflow's grammar (``name LIKE 'a%' AND tags.team = 'x'``), the newest first.

    Args:
        view_type: ACTIVE_ONLY, DELETED_ONLY or ALL, or MLflow's numbers for these.
        max_results: how many at most; all when not given.
        filter_string: about ``name``, ``experiment_id``, ``creation_time``, ``last_update_time`` (ms) and tags.
        order_by: for example ``["name", "creation_time DESC"]``.

    Raises:
        FilterError: the filter or order does not parse.
        UsageError: another argument is invalid.
    """
    from mltrack.catalog.experiment_search import find_experiments

    whole = isinstance(max_results, int) and not isinstance(max_results, bool)
    if max_results is not None and not (whole and max_results > 0):
        raise UsageError(f"max_results {max_results!r} is not a positive number", hint="give an int above 0, or None")
    known = get_store().experiments(deleted=True)
    return find_experiments(known, view_type, filter_string or "", order_by or ())[:max_results]
