"""The tracking store's methods for searching traces, sessions and correlations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from mlflow.entities import TraceInfo
from mlflow.exceptions import MlflowException
from mlflow.store.analytics import trace_correlation
from mlflow.store.tracking import SEARCH_TRACES_DEFAULT_MAX_RESULTS
from mlflow.tracing.analysis import TraceFilterCorrelationResult
from mlflow.tracing.constant import TraceMetadataKey
from mlflow.utils.search_utils import SearchTraceUtils
from mlflow.utils.validation import (
    _parse_experiment_id,
    _parse_experiment_ids,
    _resolve_experiment_ids_and_locations,
)

from mltrack.errors import UsageError
from mltrack.mlflow_plugin.arguments import offset_of, parsing
from mltrack.mlflow_plugin.errors import raises_mlflow
from mltrack.mlflow_plugin.tracking.base import BaseStore
from mltrack.mlflow_plugin.tracking.paging import check_max_results
from mltrack.mlflow_plugin.tracking.trace_entities import TracePlaces, to_info
from mltrack.mlflow_plugin.tracking.trace_filter import ATTRIBUTE_COLUMNS, TraceFilter, attribute_reader
from mltrack.storage.traces.traces import Trace
from mltrack.storage.traces.views import LATEST_FIRST, SortKey

__all__ = ["TraceSearch"]

Value = Callable[[Trace], Any]


@raises_mlflow
class TraceSearch(BaseStore):
    """Searching traces."""

    def search_traces(
        self,
        experiment_ids: Sequence[str] | None = None,
        filter_string: str | None = None,
        max_results: int = SEARCH_TRACES_DEFAULT_MAX_RESULTS,
        order_by: Sequence[str] | None = None,
        page_token: str | None = None,
        model_id: str | None = None,
        locations: Sequence[str] | None = None,
    ) -> tuple[list[TraceInfo], str | None]:
        """Traces that match a filter, in order, without spans; and the token of the next page if this one is full.

        ``locations`` (or the older ``experiment_ids``) are experiments; all without them.
        """
        scope = _resolve_experiment_ids_and_locations(_list(experiment_ids), _list(locations))
        check_max_results(max_results)
        keys = _sort_keys(order_by or ())
        within = None if scope is None else frozenset(_ids(scope))
        offset = offset_of(page_token)
        shown = self._shown()
        found = TraceFilter(filter_string).search(self._store.traces, within, keys, shown, stop=offset + max_results)
        page = found[offset:]
        token = SearchTraceUtils.create_page_token(offset + max_results) if len(page) == max_results else None
        places = TracePlaces(self._store)
        return [to_info(trace, places, shown) for trace in page], token

    def _selected(self, experiment_ids: Sequence[str], filter_string: str | None) -> list[Trace]:
        scope = frozenset(experiment_ids)
        return TraceFilter(filter_string).search(self._store.traces, scope, LATEST_FIRST, self._shown())

    def find_completed_sessions(
        self,
        experiment_id: str,
        min_last_trace_timestamp_ms: int,
        max_last_trace_timestamp_ms: int,
        max_results: int | None = None,
        filter_string: str | None = None,
    ) -> list[Any]:
        """Sessions whose last trace began within the given times (ms, both inclusive), the oldest last trace first.

        With a filter, only those whose first trace passes it.
        """
        from mlflow.genai.scorers.online.entities import CompletedSession

        sessions: dict[str, list[Trace]] = {}
        scope = [str(_parse_experiment_id(experiment_id))]
        for trace in self._selected(scope, None):
            if trace.session is not None:
                sessions.setdefault(trace.session, []).append(trace)
        passed = None
        if filter_string:
            passed = {trace.trace_id for trace in self._selected(scope, filter_string)}
        found = []
        for session, traces in sessions.items():
            first, last = min(t.request_time for t in traces), max(t.request_time for t in traces)
            begin = (trace.trace_id for trace in traces if trace.request_time == first)
            if min_last_trace_timestamp_ms <= last <= max_last_trace_timestamp_ms and (
                passed is None or any(trace_id in passed for trace_id in begin)
            ):
                found.append((last, session, first))
        return [
            CompletedSession(session_id=session, first_trace_timestamp_ms=first, last_trace_timestamp_ms=last)
            for last, session, first in sorted(found)[:max_results]
        ]

    def calculate_trace_filter_correlation(
        self, experiment_ids: Sequence[str], filter_string1: str, filter_string2: str, base_filter: str | None = None
    ) -> Any:
        """The correlation of two filters (normalized pointwise mutual information), on all traces or a third's."""
        scope = _ids(experiment_ids)
        base, one, two = (
            {trace.trace_id for trace in self._selected(scope, filter_string)}
            for filter_string in (base_filter, _both(base_filter, filter_string1), _both(base_filter, filter_string2))
        )
        counts = {"filter1_count": len(one), "filter2_count": len(two)}
        counts |= {"joint_count": len(one & two), "total_count": len(base)}
        score = trace_correlation.calculate_npmi_from_counts(len(one & two), len(one), len(two), len(base))
        return TraceFilterCorrelationResult(npmi=score.npmi, npmi_smoothed=score.npmi_smoothed, **counts)


def _ids(experiment_ids: Sequence[str]) -> list[str]:
    return [str(one) for one in _parse_experiment_ids(list(experiment_ids))]


def _list(given: Sequence[str] | None) -> list[str] | None:
    return None if given is None else list(given)


def _both(base: str | None, filter_string: str) -> str:
    return f"{base} and {filter_string}" if base else filter_string


# --- order ---


def _sort_keys(order_by: Sequence[str]) -> tuple[SortKey, ...]:
    """The keys to sort by; finally by time, the latest first."""
    keys: list[SortKey] = []
    for clause in order_by:
        with parsing("order", clause):
            kind, key, ascending = _parsed_order(clause)
        if any(one.name == (kind, key) for one in keys):
            raise MlflowException(f"`order_by` contains duplicate fields: {list(order_by)}")
        column = ATTRIBUTE_COLUMNS.get(key) if SearchTraceUtils.is_attribute(kind, key, "=") else None
        keys.append(SortKey((kind, key), ascending, _value_of(kind, key), column))
    given = {key.name for key in keys}
    return (*keys, *(key for key in LATEST_FIRST if key.name not in given))


@lru_cache(maxsize=64)
def _parsed_order(clause: str) -> tuple[str, str, bool]:
    kind, key, ascending = SearchTraceUtils.parse_order_by_for_search_traces(clause)
    return kind, key, ascending


def _value_of(kind: str, key: str) -> Value:
    if SearchTraceUtils.is_request_metadata(kind, "="):
        if key in (TraceMetadataKey.TOKEN_USAGE, TraceMetadataKey.COST):
            raise UsageError(
                f"Ordering by reserved metadata '{key}' is not supported because it is represented by multiple columns."
            )
        if key == TraceMetadataKey.TRACE_SESSION:
            return lambda trace: trace.session
        return lambda trace: trace.metadata.get(key)
    if SearchTraceUtils.is_attribute(kind, key, "="):
        return attribute_reader(key)
    if SearchTraceUtils.is_tag(kind, "="):
        return lambda trace: trace.tags.get(key)
    raise UsageError(f"Invalid identifier type '{kind}'")
