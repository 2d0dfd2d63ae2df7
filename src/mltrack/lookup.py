"""The module-level functions for runs as they are stored: found by name or by search, and deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mltrack.errors import NotFoundError, UsageError
from mltrack.fluent import chosen_experiment, get_experiment_by_name, get_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mltrack.store.stored_run import StoredRun

__all__ = ["delete_run", "get_run", "search_runs"]


def get_run(run_id: str) -> StoredRun:
    """A run as it is stored, by id, by its first digits, or by a name that is unique.

    Raises:
        NotFoundError, UsageError: there is none, or several.
    """
    return get_store().run(run_id)


def delete_run(run_id: str) -> None:
    """Mark a run as deleted; ``mltrack restore`` brings it back.

    Raises:
        NotFoundError: there is no such run.
    """
    get_store().delete_run(run_id)


def search_runs(
    experiment_ids: Sequence[str] | None = None,
    filter_string: str = "",
    run_view_type: int | str = "ACTIVE_ONLY",
    max_results: int = 100_000,
    order_by: Sequence[str] | None = None,
    output_format: str = "pandas",
    search_all_experiments: bool = False,
    experiment_names: Sequence[str] | None = None,
) -> Any:
    """Search runs by MLflow's grammar; a data frame with ``output_format="pandas"``, else ("list") a list of runs.

    Without experiments named, the one that new runs belong to is searched, as in MLflow.

    Raises:
        FilterError: the filter or order does not parse.
        UsageError: an unknown ``output_format``.
        NotFoundError: no experiment has such a name.
    """
    if output_format not in ("pandas", "list"):
        raise UsageError(f"output_format {output_format!r} is unknown", hint="use 'pandas' or 'list'")
    store = get_store()
    ids = list(experiment_ids or [])
    for name in experiment_names or []:
        experiment = get_experiment_by_name(name)
        if experiment is None:
            raise NotFoundError(f"no experiment {name!r}", hint="see: mltrack sql 'select name from experiments'")
        ids.append(experiment.experiment_id)
    if not ids and not search_all_experiments:
        ids = [chosen_experiment(store.layout, None).experiment_id]
    search = store.search_runs_frame if output_format == "pandas" else store.search_runs
    return search(
        experiment_ids=ids or None,
        filter_string=filter_string,
        run_view_type=run_view_type,
        max_results=max_results,
        order_by=order_by,
    )
