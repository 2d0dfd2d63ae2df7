"""The tracking store's methods for the history of metrics: complete, in pages, and sampled for charts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from mlflow.entities import Metric
from mlflow.entities.metric import MetricWithRunId
from mlflow.store.entities.paged_list import PagedList
from mlflow.utils.search_utils import SearchUtils

from mltrack.drawing.sampling import sample
from mltrack.errors import NotFoundError, UsageError
from mltrack.mlflow_plugin.arguments import offset_of
from mltrack.mlflow_plugin.errors import raises_mlflow
from mltrack.mlflow_plugin.tracking.base import BaseStore
from mltrack.mlflow_plugin.tracking.graphql import representable
from mltrack.process.collecting import without_collecting

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

__all__ = ["MetricHistories"]


READERS = 4
"""How many histories are read at a time for a chart; most of the time is spent outside of the interpreter's lock."""


class History(NamedTuple):
    """The points of one metric: steps, times in ms, values."""

    steps: npt.NDArray[np.int64]
    times: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]

    def take(self, which: Any) -> History:
        """Some of the points."""
        return History(self.steps[which], self.times[which], self.values[which])


@raises_mlflow
class MetricHistories(BaseStore):
    """Histories; of points with equal step, time (ms) and value, one is returned."""

    def get_metric_history(
        self, run_id: str, metric_key: str, max_results: int | None = None, page_token: str | None = None
    ) -> Any:
        """All points of a metric by time, step and value; empty for a run or a metric that does not exist."""
        history = self._history(run_id, metric_key, by_time=True)
        first = offset_of(page_token)
        end = len(history.steps) if max_results is None else first + max_results
        token = SearchUtils.create_page_token(end) if end < len(history.steps) else None
        return PagedList(_metrics(metric_key, history.take(slice(first, end))), token)

    def sanitize_metric_value(self, metric_value: float) -> tuple[bool, float]:
        """Whether a value is NaN, and the value itself: unlike a database, a store keeps NaN and infinities."""
        return bool(np.isnan(metric_value)), metric_value

    def get_metric_history_bulk(self, run_ids: Sequence[str], metric_key: str, max_results: int) -> list[Any]:
        """The first ``max_results`` points of a metric of several runs, by run id, time, step and value."""
        found: list[Any] = []
        for run_id in sorted(set(run_ids)):
            history = self._history(run_id, metric_key, by_time=True)
            found += _of_run(run_id, metric_key, history.take(slice(max_results - len(found))))
            if len(found) >= max_results:
                break
        return found

    def get_metric_history_bulk_interval(
        self,
        run_ids: Sequence[str],
        metric_key: str,
        max_results: int,
        start_step: int | None,
        end_step: int | None,
    ) -> list[Any]:
        """At most ``max_results`` points per run, by step: evenly spread, with the first, the last, and each peak."""
        if (start_step is None) != (end_step is None):
            raise UsageError("Both start_step and end_step must be specified together, or neither may be specified.")

        def sampled(run_id: str) -> History:
            history = self._columns(run_id, metric_key)
            rises = bool((history.steps[1:] > history.steps[:-1]).all())
            if not rises:
                history = _ordered(_in_ms(history), by_time=False)
            if start_step is not None and end_step is not None:
                first = int(np.searchsorted(history.steps, start_step, "left"))
                history = history.take(slice(first, int(np.searchsorted(history.steps, end_step, "right"))))
            chosen = history.take(sample(history.values, max(1, max_results)))
            return _in_ms(chosen) if rises else chosen

        if len(run_ids) == 1:
            return _of_run(run_ids[0], metric_key, sampled(run_ids[0]))
        with ThreadPoolExecutor(READERS, thread_name_prefix="mltrack-chart") as pool:
            histories = list(pool.map(sampled, run_ids))
        with without_collecting():
            return [
                point
                for run_id, history in zip(run_ids, histories, strict=True)
                for point in _of_run(run_id, metric_key, history)
            ]

    def get_metric_history_bulk_interval_from_steps(
        self, run_id: str, metric_key: str, steps: Sequence[int], max_results: int
    ) -> list[Any]:
        """The first ``max_results`` points at these steps, by step, time and value."""
        history = self._history(run_id, metric_key, by_time=False)
        chosen = np.flatnonzero(np.isin(history.steps, np.array(list(steps), dtype=np.int64)))
        return _of_run(run_id, metric_key, history.take(chosen[:max_results]))

    def get_max_step_for_metric(self, run_id: str, metric_key: str) -> int:
        """The greatest step of a metric; 0 without any."""
        history = self._history(run_id, metric_key, by_time=False)
        return int(history.steps[-1]) if len(history.steps) else 0

    def _history(self, run_id: str, key: str, *, by_time: bool) -> History:
        """A metric's points by (time, step, value), or by (step, time, value)."""
        return _ordered(_in_ms(self._columns(run_id, key)), by_time=by_time)

    def _columns(self, run_id: str, key: str) -> History:
        """A metric's points as they are stored, with times in ns."""
        try:
            with self._runs.reading(run_id) as run:
                table = run.metrics(key)
        except NotFoundError:
            nothing = np.empty(0, np.int64)
            return History(nothing, nothing, np.empty(0, np.float64))
        steps, values = (table.column(name).to_numpy() for name in ("step", "value"))
        return History(steps, table.column("time").to_numpy().view(np.int64), values)


def _in_ms(history: History) -> History:
    """The points with times in ms instead of ns."""
    return history._replace(times=history.times // 1_000_000)


def _ordered(history: History, *, by_time: bool) -> History:
    """The points in order, each once."""
    first, second = (history.times, history.steps) if by_time else (history.steps, history.times)
    rises = (first[1:] > first[:-1]) | ((first[1:] == first[:-1]) & (second[1:] > second[:-1]))
    if rises.all():
        return history
    nan = np.isnan(history.values)
    ranked = np.where(nan, 0.0, history.values)  # MLflow's SQL store stores NaN as 0 and a flag
    order = np.lexsort((nan, ranked, second, first))
    columns = [column[order] for column in (first, second, ranked, nan)]
    new = np.ones(len(order), dtype=bool)
    new[1:] = np.logical_or.reduce([column[1:] != column[:-1] for column in columns])
    return history.take(order[new])


# --- many of MLflow's objects at a time ---


def _metrics(key: str, history: History) -> list[Any]:
    values = representable(history.values)
    with without_collecting():
        return list(map(Metric, repeat(key), values.tolist(), history.times.tolist(), history.steps.tolist()))


def _of_run(run_id: str, key: str, history: History) -> list[Any]:
    return [MetricWithRunId(metric, run_id) for metric in _metrics(key, history)]
