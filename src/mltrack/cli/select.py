"""Selects the runs of a command, and describes each for JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mltrack.entities import Experiment, RunData, RunInfo
    from mltrack.storage.runs.stored_run import StoredRun
    from mltrack.store import Store

__all__ = ["Described", "Found", "experiment_named", "find_runs", "iterate_runs", "run_facts"]

PAGE = 1000


class Described(Protocol):
    """A run from its folder or from the catalog."""

    @property
    def info(self) -> RunInfo:
        """Name, experiment, status, times."""

    @property
    def data(self) -> RunData:
        """Params, tags, latest metrics."""


class Found(Described, Protocol):
    """A run from a search."""

    @property
    def aggregates(self) -> Mapping[str, float]:
        """The aggregates of metrics that were asked for."""


def find_runs(
    store: Store,
    *,
    experiments: Sequence[str] = (),
    filter_string: str = "",
    order_by: Sequence[str] = (),
    limit: int = PAGE,
    deleted: bool = False,
    aggregates: Sequence[str] = (),
) -> list[Found]:
    """Runs that match, newest first unless ordered otherwise.

    Args:
        store: where to search.
        experiments: only of these, if any are named.
        filter_string: in MLflow's grammar.
        order_by: fields to order by.
        limit: how many at most.
        deleted: the deleted runs instead.
        aggregates: what to give of metrics as well as the latest values.

    Raises:
        NotFoundError: no experiment has that name.
        FilterError: the filter or order does not parse, or names a status that does not exist.
    """
    from mltrack.cli.names import check_statuses

    check_statuses(filter_string)
    found: list[Found] = []
    token = None
    while True:
        page = store.search_runs(
            filter_string=filter_string,
            run_view_type="DELETED_ONLY" if deleted else "ACTIVE_ONLY",
            max_results=min(limit - len(found), PAGE),
            order_by=list(order_by),
            page_token=token,
            experiment_names=list(experiments) or None,
            aggregates=aggregates,
        )
        found += page
        token = page.token
        if token is None or len(found) >= limit:
            return found


def iterate_runs(store: Store, names: Sequence[str]) -> Iterator[StoredRun]:
    """The named runs, each once, all resolved when this returns; without names, all that are not deleted."""
    if not names:
        return (run for run in store.runs() if run.info.lifecycle_stage == "active")
    ids = list(dict.fromkeys(map(store.resolve, names)))
    return iter([store.run(run_id) for run_id in ids])


def experiment_named(store: Store, name: str) -> Experiment:
    """The experiment of that name or id, deleted or not.

    Raises:
        NotFoundError: there is none.
    """
    from mltrack.errors import NotFoundError
    from mltrack.text.nearest import meant

    found = store.workspace.by_name(name)
    if found is not None:
        return found
    try:
        return store.workspace.get(name)
    except NotFoundError as error:
        names = [one.name for one in store.workspace.experiments().values()]
        raise NotFoundError(f"no experiment {name!r}", hint=meant(name, names)) from error


def run_facts(run: Described, points: int) -> dict[str, Any]:
    """A run for --json: MLflow's names; times as ISO 8601 in UTC; the latest value of each metric."""
    from mltrack.text.figures import with_times

    data = run.data
    return {
        **with_times(asdict(run.info), ms=("start_time", "end_time")),
        "status": run.info.shown_status,
        "points": points,
        "metrics": dict(data.metrics),
        "params": dict(data.params),
        "tags": dict(data.tags),
    }
