"""What the catalog answers about a store's runs: searches, groups, SQL, and what could not be verified of them."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, TypeVar

from mltrack.disk.damage import unreadable
from mltrack.disk.filesystem import EXHAUSTED, LOCAL, FileSystem
from mltrack.extras import need
from mltrack.storage.experiments import Workspace
from mltrack.storage.runs.stored_run import StoredRun
from mltrack.values.arguments import list_argument, text_argument

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    import duckdb
    import pandas as pd
    import pyarrow as pa

    from mltrack.catalog.catalog import Catalog
    from mltrack.catalog.groups import RunGroup
    from mltrack.catalog.overview import Overview, RunLine
    from mltrack.catalog.search import PagedList, RunQuery, RunRecord
    from mltrack.disk.layout import Layout
    from mltrack.entities import MetricSummary, RunHead
    from mltrack.errors import CorruptionError

__all__ = ["StoreQueries"]

Answer = TypeVar("Answer")

GROUPED_MAX = 10_000_000
"""How many runs are grouped at most."""


class StoreQueries:
    """The part of a ``Store`` that asks the catalog; it opens the catalog with the first question."""

    def __init__(self, layout: Layout, *, clock: Callable[[], int] = time.time_ns, fs: FileSystem = LOCAL) -> None:
        """``clock`` gives ns since the epoch."""
        self.layout = layout
        self.workspace = Workspace(layout, clock=clock, fs=fs)
        self.damage: dict[tuple[str, int | None], CorruptionError] = {}
        self.on_damage: Callable[[CorruptionError], None] = _say
        self.on_reading: Callable[[int], None] = lambda runs: (
            None
        )  # before a first question, called with their number when very many are read
        self._catalog_lock = threading.Lock()
        self._catalog: Catalog | None = None

    def search_runs(
        self,
        experiment_ids: Sequence[str] | None = None,
        filter_string: str = "",
        run_view_type: str | int = "ACTIVE_ONLY",
        max_results: int = 1000,
        order_by: Sequence[str] | None = None,
        page_token: str | None = None,
        *,
        experiment_names: Sequence[str] | None = None,
        artifact_root: str | None = None,
        aggregates: Sequence[str] | None = None,
    ) -> PagedList[RunRecord]:
        """Runs that pass a filter, in order, a page at a time; live runs as of their last call that returned.

        Args:
            experiment_ids: only runs of these; all (for ACTIVE_ONLY: all of active experiments) when not given.
            filter_string: MLflow's grammar: ``metrics.loss < 0.5 and params.opt = 'adam'``.
            run_view_type: ACTIVE_ONLY, DELETED_ONLY or ALL (or MLflow's ViewType numbers).
            max_results: the size of a page.
            order_by: as in MLflow: ``["metrics.loss DESC", "start_time"]``, and ``["min(loss)"]``; by default the
                latest start comes first.
            page_token: the ``token`` of the page before; None for the first page.
            experiment_names: only runs of experiments of these names.
            artifact_root: what artifact URIs begin with, in records, filters and orders alike; else the runs' folder.
            aggregates: what else to give of metrics: ``["min(loss)", "max(acc)", "mean(loss)"]``,
                also ``last`` and ``count``. A mean is computed from the points, without those that are NaN.

        Returns:
            A list of records with ``info``, ``data``, ``datasets``, ``model_inputs``, ``model_outputs`` and
            ``aggregates``; its ``token`` is None on the last page.

        Raises:
            FilterError: the filter or an ordering does not parse.
            UsageError: another argument is not valid.
            NotFoundError: no experiment has one of the names.
        """
        from mltrack.catalog.search import RunQuery, find_runs

        query = RunQuery.parse(
            experiment_ids,
            filter_string,
            run_view_type,
            max_results,
            order_by,
            page_token,
            experiment_names,
            aggregates,
        )
        root = artifact_root or str(self.layout.runs)
        found = self._ask(lambda con: find_runs(con, query, root), lambda page: [run.run_id for run in page])
        self._add_means({run.run_id: run.aggregates for run in found}, query)
        return found

    def _add_means(self, found: Mapping[str, dict[str, float]], query: RunQuery) -> None:
        from mltrack.catalog.aggregates import add_means

        add_means(found, query.aggregates, lambda run_id: self._stored(run_id, lambda _: None), self._report)

    def group_runs(
        self,
        by: Sequence[str],
        aggregates: Sequence[str],
        *,
        experiment_ids: Sequence[str] | None = None,
        filter_string: str = "",
        run_view_type: str | int = "ACTIVE_ONLY",
        experiment_names: Sequence[str] | None = None,
    ) -> list[RunGroup]:
        """Runs that pass a filter in groups with the same params, with mean and deviation of metrics over each group.

        Args:
            by: what to group by: ``["params.lr", "tags.team", "experiment"]``; another bare name is a param.
            aggregates: one value a run, such as ``["last(loss)", "max(acc)"]``, as for search_runs.
            experiment_ids: as for search_runs, like all that follow.
            filter_string: MLflow's grammar.
            run_view_type: ACTIVE_ONLY, DELETED_ONLY or ALL.
            experiment_names: only runs of experiments of these names.

        Returns:
            Groups with ``keys``, ``run_ids`` and ``values``: ``group.values["last(loss)"].mean``, ``.std`` (of the
            sample), ``.min``, ``.max``, ``.count``.

        Raises:
            FilterError, UsageError, NotFoundError: as search_runs.
        """
        from mltrack.catalog.groups import find_values, group_runs, parse_keys
        from mltrack.catalog.search import RunQuery

        keys = parse_keys(by)
        query = RunQuery.parse(
            experiment_ids, filter_string, run_view_type, GROUPED_MAX, None, None, experiment_names, aggregates
        )
        found = self._ask(lambda con: find_values(con, query, keys), list)
        self._add_means({run_id: values.aggregates for run_id, values in found.items()}, query)
        return group_runs(keys, found)

    def search_runs_frame(
        self,
        experiment_ids: Sequence[str] | None = None,
        filter_string: str = "",
        run_view_type: str | int = "ACTIVE_ONLY",
        max_results: int = 100_000,
        order_by: Sequence[str] | None = None,
        *,
        experiment_names: Sequence[str] | None = None,
        aggregates: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """The same as a data frame of the shape ``mlflow.search_runs`` gives.

        Columns run_id, experiment_id, status, artifact_uri, start_time and end_time (UTC), then one for each metric,
        param and tag: ``metrics.loss`` (NaN where a run has none), ``params.lr`` and ``tags.team`` (None); then one for
        each aggregate, by its name.

        Args:
            experiment_ids: As in search_runs, like all that follow.
            filter_string: MLflow's grammar.
            run_view_type: ACTIVE_ONLY, DELETED_ONLY or ALL.
            max_results: How many rows the frame has at most.
            order_by: As in MLflow.
            experiment_names: Only runs of experiments with these names.
            aggregates: ``["min(loss)"]``, as in search_runs.

        Raises:
            FilterError, UsageError, NotFoundError: as search_runs.
            MissingPackageError: pandas is not installed.
        """
        need("pandas", "a data frame of runs", instead="or use search_runs")
        from mltrack.catalog.aggregates import find_aggregates
        from mltrack.catalog.search import RunQuery, find_frame

        query = RunQuery.parse(
            experiment_ids, filter_string, run_view_type, max_results, order_by, None, experiment_names, aggregates
        )

        def frame_and_aggregates(con: duckdb.DuckDBPyConnection) -> tuple[pd.DataFrame, dict[str, dict[str, float]]]:
            frame = find_frame(con, query, str(self.layout.runs))
            return frame, find_aggregates(con, list(frame["run_id"]), query.aggregates)

        frame, found = self._ask(frame_and_aggregates, lambda answer: list(answer[0]["run_id"]))
        self._add_means(found, query)
        for one in query.aggregates:
            frame[one.name] = [found.get(run_id, {}).get(one.name, float("nan")) for run_id in frame["run_id"]]
        return frame

    def overview(self, asked: Overview) -> list[RunLine]:
        """All runs that pass a filter, a line each, the latest start first; for lists of thousands of runs.

        Raises:
            FilterError: the filter or the pattern does not parse.
        """
        from mltrack.catalog.overview import find_overview

        return self._ask(lambda con: find_overview(con, asked), lambda lines: [line.run_id for line in lines])

    def keys(self, entity: str) -> list[str]:
        """The keys of all params, tags or metrics of the store: ``entity`` is "param", "tag" or "metric"."""
        from mltrack.catalog.overview import find_keys

        return self._ask(lambda con: find_keys(con, entity), lambda _: [])

    def heads(self) -> dict[str, RunHead]:
        """How far each run goes, by run id: comparing with an earlier answer shows which runs have something new."""
        from mltrack.catalog.search import find_heads

        return self._ask(find_heads, list)

    def sql(
        self,
        query: str,
        params: Sequence[Any] | Mapping[str, Any] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> pa.Table:
        """The result of one SELECT, in DuckDB's SQL, as an Arrow table (``.to_pandas()`` gives a data frame).

        Views: ``runs``; ``params`` and ``tags`` (run_id, key, value); ``metrics``, all points of all runs (run_id,
        key, step, time, value); ``latest_metrics`` (run_id, key, value, step, time, min, max, count);
        ``datasets`` (run_id, name, digest, context, source_type, source, schema, profile, tags); ``artifacts``;
        ``alerts`` (run_id, time, rule, condition, key, step, value, message, actions); ``experiments``. Times are
        UTC. ``params`` binds ``?`` or ``$name``. It can't change anything, nor read a file outside the store. A query
        that takes longer than ``timeout_s`` seconds is ended.

        Raises:
            UsageError: it is not a single reading statement, fails or takes too long; the message is DuckDB's.
            CorruptionError: it reads a segment that is damaged.
        """
        from mltrack.catalog.sql import run_sql

        return self._ask(
            lambda con: run_sql(con, self.layout, query, params, report=self._report, timeout_s=timeout_s),
            lambda _: None,
        )

    def refresh(self, *, full: bool = False) -> None:
        """Bring the catalog up to date, as every search does by itself; ``full`` reads every run again.

        That is needed only where another program overwrote files of a run in place.
        """
        self._index().ask(lambda con: None, full=full)

    def _ask(
        self,
        question: Callable[[duckdb.DuckDBPyConnection], Answer],
        runs_of: Callable[[Answer], Sequence[str] | None],
    ) -> Answer:
        """Query the catalog, and report what of the runs in the answer (None: all) could not be verified."""
        from mltrack.catalog.search import find_damage

        def answered(con: duckdb.DuckDBPyConnection) -> tuple[Answer, list[CorruptionError]]:
            answer = question(con)
            return answer, find_damage(con, runs_of(answer))

        index = self._index()
        answer, damage = index.ask(answered)
        for error in (*damage, *self.workspace.damage):
            self._report(error)
        for run_id, trouble in list(index.unreadable.items()):
            self._report(unreadable(run_id, trouble))
        return answer

    def _report(self, error: CorruptionError) -> None:
        """Remember damage, and report it when it is met for the first time."""
        place = (error.path, error.offset)
        known = self.damage.get(place)
        self.damage[place] = error
        if known is None:
            self.on_damage(error)

    def _index(self) -> Catalog:
        with self._catalog_lock:
            if self._catalog is None:
                from mltrack.catalog.catalog import Catalog
                from mltrack.catalog.refresh import Refresher

                experiments = self.workspace.experiments
                refresher = Refresher(self.layout, experiments, on_reading=self.on_reading)
                self._catalog = Catalog(self.layout, experiments, refresher=refresher)
            return self._catalog

    def summaries(self, run_ids: Sequence[str]) -> dict[str, dict[str, MetricSummary]]:
        """``StoredRun.summaries`` of several runs, by run id and key, from the catalog: no point is read twice."""
        from mltrack.catalog.aggregates import find_summaries

        ids = [text_argument("run_ids", run_id) for run_id in list_argument("run_ids", run_ids)]
        return self._ask(lambda con: find_summaries(con, ids), lambda _: ids)

    def point_counts(self) -> dict[str, int]:
        """How many points of each run count, by run id."""
        from mltrack.catalog.search import find_point_counts

        return self._ask(find_point_counts, list)

    def _stored(self, run_id: str, names: Callable[[str], str | None]) -> StoredRun:
        try:
            return StoredRun(self.layout.run(run_id), experiment_name=names, report=self._report)
        except OSError as error:
            if error.errno in EXHAUSTED:
                raise
            raise unreadable(run_id, error) from error


def _say(error: CorruptionError) -> None:
    import logging

    logging.getLogger("mltrack").warning("not read: %s", error)
