"""The module-level functions for stored runs: find them by name or search, delete and restore them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, overload

from mltrack.errors import NotFoundError, UsageError
from mltrack.extras import need
from mltrack.recording.current_store import chosen_experiment, get_experiment_by_name, get_store
from mltrack.values.arguments import list_argument

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import pandas as pd

    from mltrack.catalog.search import PagedList, RunRecord
    from mltrack.storage.runs.stored_run import StoredRun

__all__ = ["delete_run", "get_parent_run", "get_run", "load_table", "restore_run", "search_runs"]


def get_run(run_id: str) -> StoredRun:
    """A stored run, by id, the first digits of one, or a unique name.

    Raises:
        NotFoundError, UsageError: there is none, or several.
    """
    return get_store().run(run_id)


def delete_run(run_id: str) -> None:
    """Mark a run as deleted; ``mltrack restore`` restores it.

    Raises:
        NotFoundError: there is no such run.
    """
    get_store().delete_run(run_id)


def restore_run(run_id: str) -> None:
    """Restore a deleted run.

    Raises:
        NotFoundError: there is no such run.
    """
    get_store().restore_run(run_id)


def get_parent_run(run_id: str) -> StoredRun | None:
    """A run's parent; None if it has none.

    Raises:
        NotFoundError: the run, or its parent, does not exist.
    """
    parent = get_run(run_id).info.parent_run_id
    return None if parent is None else get_run(parent)


def load_table(
    artifact_file: str | os.PathLike[str],
    run_ids: Sequence[str] | None = None,
    extra_columns: Sequence[str] | None = None,
) -> pd.DataFrame:
    """The rows of a table that runs logged under one name, as a data frame; the latest run's come first.

    Args:
        artifact_file: the table's name.
        run_ids: the runs; without them, all runs of the experiment of new runs.
        extra_columns: columns of ``search_runs`` to add: ``["run_id", "params.lr"]``.

    Raises:
        NotFoundError: none of the runs has such a table; or there is no such run.
        UsageError: the table can't be read, or there is no such column.
        MissingPackageError: pandas is not installed.
    """
    need("pandas", "load_table")
    import pandas as pd

    from mltrack.disk.filesystem import relative_name
    from mltrack.values.tables import read_table

    name = relative_name(artifact_file)
    store = get_store()
    added = list_argument("extra_columns", extra_columns)
    ids = None if run_ids is None else [store.resolve(run_id) for run_id in list_argument("run_ids", run_ids)]
    within = [chosen_experiment(store.layout, None).experiment_id] if ids is None else None
    where = "" if not ids else f"run_id IN ({', '.join(map(repr, ids))})"
    runs = store.search_runs_frame(within, where, "ACTIVE_ONLY" if ids is None else "ALL")
    tables = []
    for _, run in runs.iterrows():
        path = store.layout.run(str(run["run_id"])).artifacts / name
        if not path.is_file():
            continue
        try:
            table = read_table(path)
        except (ValueError, OSError) as error:
            raise UsageError(f"{path}: {error}", hint="is it a table that log_table made?") from None
        for column in added:
            if column not in run:
                raise UsageError(f"runs have no column {column!r}", hint=f"they have {', '.join(runs.columns[:8])} ...")
            table[f"{column}_" if column in table else column] = run[column]
        tables.append(table)
    if not tables:
        raise NotFoundError(f"no run has a table {name!r}", hint="see: mltrack.artifacts.list_artifacts(run_id=...)")
    return pd.concat(tables, ignore_index=True)


@overload
def search_runs(
    experiment_ids: Sequence[str] | None = None,
    filter_string: str = "",
    run_view_type: int | str = "ACTIVE_ONLY",
    max_results: int = 100_000,
    order_by: Sequence[str] | None = None,
    output_format: Literal["pandas"] = "pandas",
    search_all_experiments: bool = False,
    experiment_names: Sequence[str] | None = None,
    aggregates: Sequence[str] | None = None,
) -> pd.DataFrame: ...


@overload
def search_runs(
    experiment_ids: Sequence[str] | None = None,
    filter_string: str = "",
    run_view_type: int | str = "ACTIVE_ONLY",
    max_results: int = 100_000,
    order_by: Sequence[str] | None = None,
    *,
    output_format: Literal["list"],
    search_all_experiments: bool = False,
    experiment_names: Sequence[str] | None = None,
    aggregates: Sequence[str] | None = None,
) -> PagedList[RunRecord]: ...


@overload
def search_runs(
    experiment_ids: Sequence[str] | None = None,
    filter_string: str = "",
    run_view_type: int | str = "ACTIVE_ONLY",
    max_results: int = 100_000,
    order_by: Sequence[str] | None = None,
    output_format: str = "pandas",
    search_all_experiments: bool = False,
    experiment_names: Sequence[str] | None = None,
    aggregates: Sequence[str] | None = None,
) -> pd.DataFrame | PagedList[RunRecord]: ...


def search_runs(
    experiment_ids: Sequence[str] | None = None,
    filter_string: str = "",
    run_view_type: int | str = "ACTIVE_ONLY",
    max_results: int = 100_000,
    order_by: Sequence[str] | None = None,
    output_format: str = "pandas",
    search_all_experiments: bool = False,
    experiment_names: Sequence[str] | None = None,
    aggregates: Sequence[str] | None = None,
) -> pd.DataFrame | PagedList[RunRecord]:
    """Search runs by MLflow's grammar; a data frame with ``output_format="pandas"``, else ("list") a list of runs.

    Args:
        experiment_ids: the experiments to search; without any, the one of new runs, as in MLflow.
        filter_string: such as ``metrics.loss < 0.1 and params.lr = '0.01'``.
        run_view_type: active runs, deleted ones, or all: one of MLflow's ``ViewType``.
        max_results: the most runs to return.
        order_by: such as ``["metrics.loss ASC"]``.
        output_format: "pandas" or "list".
        search_all_experiments: search every experiment if none is given.
        experiment_names: more experiments, by name.
        aggregates: what else to give of metrics: ``["min(loss)", "mean(acc)"]``, as columns, or as
            ``aggregates`` of each run; not in MLflow.

    Raises:
        FilterError: the filter or order does not parse.
        UsageError: an unknown ``output_format``.
        NotFoundError: no experiment has such a name.
        MissingPackageError: a data frame needs pandas, which is not installed.
    """
    if output_format not in ("pandas", "list"):
        raise UsageError(f"output_format {output_format!r} is unknown", hint="use 'pandas' or 'list'")
    if output_format == "pandas":
        need("pandas", "search_runs(output_format='pandas')", instead="or use output_format='list'")
    ids = list_argument("experiment_ids", experiment_ids)
    names = list_argument("experiment_names", experiment_names)
    store = get_store()
    for name in names:
        experiment = get_experiment_by_name(name)
        if experiment is None:
            raise NotFoundError(f"no experiment {name!r}", hint="see: mltrack experiments")
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
        aggregates=aggregates,
    )
