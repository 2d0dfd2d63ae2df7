"""The tracking store's methods for statistics of traces: counts, times, tokens and costs, for the overview charts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from mlflow.entities.trace_metrics import AggregationType, MetricDataPoint, MetricViewType
from mlflow.store.entities.paged_list import PagedList
from mlflow.store.tracking import MAX_RESULTS_QUERY_TRACE_METRICS
from mlflow.tracing.constant import TraceMetadataKey, TraceTagKey
from mlflow.utils.search_utils import SearchTraceMetricsUtils
from mlflow.utils.validation import _parse_experiment_ids

from mltrack.errors import UsageError
from mltrack.mlflow_plugin.arguments import parsing
from mltrack.mlflow_plugin.errors import raises_mlflow
from mltrack.mlflow_plugin.tracking.base import BaseStore
from mltrack.mlflow_plugin.tracking.shown_assessments import ShownAssessments
from mltrack.mlflow_plugin.tracking.trace_entities import value_number
from mltrack.storage.traces.trace import COST_KEYS
from mltrack.storage.traces.traces import Assessment, SpanHead, Trace

__all__ = ["TraceMetrics"]

TIME_BUCKET = "time_bucket"


class _Row(NamedTuple):
    """A row to aggregate: a trace, one of its spans, or one of its assessments."""

    trace: Trace
    span: SpanHead | None
    assessment: Assessment | None


@raises_mlflow
class TraceMetrics(BaseStore):
    """Statistics of traces, spans and assessments."""

    def query_trace_metrics(
        self,
        experiment_ids: Sequence[str],
        view_type: MetricViewType,
        metric_name: str,
        aggregations: Sequence[Any],
        dimensions: Sequence[str] | None = None,
        filters: Sequence[str] | None = None,
        time_interval_seconds: int | None = None,
        start_time_ms: int | None = None,
        end_time_ms: int | None = None,
        max_results: int = MAX_RESULTS_QUERY_TRACE_METRICS,
        page_token: str | None = None,
    ) -> Any:
        """One metric, aggregated over all rows, or for each bucket of time and value of the dimensions, in order."""
        from mlflow.store.tracking.utils.sql_trace_metrics_utils import validate_query_trace_metrics_params

        validate_query_trace_metrics_params(view_type, metric_name, list(aggregations), list(dimensions or ()))
        if time_interval_seconds and (start_time_ms is None or end_time_ms is None):
            raise UsageError("start_time_ms and end_time_ms are required if time_interval_seconds is set")
        scope = {str(one) for one in _parse_experiment_ids(list(experiment_ids))}
        by_span_time = view_type == MetricViewType.SPANS and metric_name in COST_KEYS
        tests = [_test(text, view_type) for text in filters or ()]
        value = _VALUES[view_type, metric_name]
        groups: dict[tuple[Any, ...], list[Any]] = {}
        for row in _rows(self._store.traces.all(), scope, view_type, self._shown()):
            time_ms = row.span.start / 1_000_000 if by_span_time and row.span else row.trace.request_time
            held = value(row) if _within(time_ms, start_time_ms, end_time_ms) else None
            if held is not None and all(test(row) for test in tests):
                key = _group(row, view_type, dimensions or (), time_interval_seconds)
                if None not in key:
                    groups.setdefault(key, []).append(held)
        names = ([TIME_BUCKET] if time_interval_seconds else []) + list(dimensions or ())
        if not names:
            groups.setdefault((), [])
        return PagedList(_points(groups, names, metric_name, aggregations, max_results), None)

    def sum_gateway_trace_cost(
        self,
        start_time_ms: int,
        end_time_ms: int,
        workspace: str | None = None,
        endpoint_id: str | None = None,
        username: str | None = None,
    ) -> float:
        """What the gateway's calls of that time cost (USD), by their traces; of one endpoint or user if given."""
        wanted = {TraceMetadataKey.GATEWAY_ENDPOINT_ID: endpoint_id}
        if username is not None:
            wanted[TraceMetadataKey.AUTH_USERNAME] = username
        return sum(
            trace.cost.get("total_cost", 0.0)
            for trace in self._store.traces.all()
            if start_time_ms <= trace.request_time < end_time_ms
            and all(key in trace.metadata and text in (None, trace.metadata[key]) for key, text in wanted.items())
        )


def _rows(
    traces: Sequence[Trace], scope: set[str], view_type: MetricViewType, shown: ShownAssessments
) -> Iterator[_Row]:
    for trace in traces:
        if trace.experiment_id not in scope:
            continue
        if view_type == MetricViewType.TRACES:
            yield _Row(trace, None, None)
        elif view_type == MetricViewType.SPANS:
            yield from (_Row(trace, span, None) for span in trace.spans.values())
        else:
            yield from (_Row(trace, None, held) for held in shown.of(trace) if held.valid)


def _within(time_ms: float, start_ms: int | None, end_ms: int | None) -> bool:
    return (start_ms is None or time_ms >= start_ms) and (end_ms is None or time_ms < end_ms + 1)


# --- values and dimensions ---


def _span_latency(row: _Row) -> int | None:
    span = row.span
    return (span.end - span.start) // 1_000_000 if span is not None and span.end is not None else None


def _tokens(key: str) -> Callable[[_Row], Any]:
    return lambda row: row.trace.tokens.get(key)


def _cost(key: str) -> Callable[[_Row], Any]:
    return lambda row: row.span.cost.get(key) if row.span is not None and row.span.cost is not None else None


_TOKENS = ("input_tokens", "output_tokens", "total_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
_VALUES: dict[tuple[MetricViewType, str], Callable[[_Row], Any]] = {
    (MetricViewType.TRACES, "trace_count"): lambda row: row.trace.trace_id,
    (MetricViewType.TRACES, "session_count"): lambda row: row.trace.session,
    (MetricViewType.TRACES, "latency"): lambda row: row.trace.duration,
    **{(MetricViewType.TRACES, key): _tokens(key) for key in _TOKENS},
    (MetricViewType.SPANS, "span_count"): lambda row: row.span and row.span.span_id,
    (MetricViewType.SPANS, "latency"): _span_latency,
    **{(MetricViewType.SPANS, key): _cost(key) for key in COST_KEYS},
    (MetricViewType.ASSESSMENTS, "assessment_count"): lambda row: row.assessment and row.assessment.assessment_id,
    (MetricViewType.ASSESSMENTS, "assessment_value"): lambda row: row.assessment and value_number(row.assessment)[0],
}
_DIMENSIONS: dict[str, Callable[[_Row], Any]] = {
    "trace_name": lambda row: row.trace.tags.get(TraceTagKey.TRACE_NAME),
    "trace_status": lambda row: row.trace.state,
    "span_name": lambda row: row.span and row.span.name,
    "span_type": lambda row: row.span and row.span.kind,
    "span_status": lambda row: row.span and row.span.status,
    "span_model_name": lambda row: row.span and row.span.model,
    "span_model_provider": lambda row: row.span and row.span.provider,
    "assessment_name": lambda row: row.assessment and row.assessment.name,
    "assessment_value": lambda row: row.assessment and row.assessment.value,
}


def _group(row: _Row, view_type: MetricViewType, dimensions: Sequence[str], interval_s: int | None) -> tuple[Any, ...]:
    key = [_DIMENSIONS[name](row) for name in dimensions]
    if not interval_s:
        return tuple(key)
    time_ms = row.span.start / 1_000_000 if row.span is not None else row.trace.request_time
    return (math.floor(time_ms / (interval_s * 1000)) * interval_s * 1000, *key)


# --- filters ---


def _test(text: str, view_type: MetricViewType) -> Callable[[_Row], bool]:
    """One filter, such as ``trace.status = 'OK'``, as a test of a row."""
    with parsing("filter", text):
        parsed = SearchTraceMetricsUtils.parse_search_filter(text)
    entity, key, value = parsed.entity, parsed.key or "", parsed.value
    if parsed.view_type == "trace":
        if entity == "status":
            return lambda row: row.trace.state == value
        if entity == "tag":
            return lambda row: row.trace.tags.get(key) == value
        if key == TraceMetadataKey.SOURCE_RUN:
            return lambda row: row.trace.metadata.get(key) == value or value in row.trace.run_ids
        return lambda row: row.trace.full_metadata.get(key) == value
    wanted = {"span": MetricViewType.SPANS, "assessment": MetricViewType.ASSESSMENTS}[parsed.view_type]
    if view_type != wanted:
        raise UsageError(f"Filtering by {parsed.view_type} is only supported for {wanted} view type, got {view_type}")
    field = "kind" if entity == "type" else entity
    if wanted == MetricViewType.SPANS:
        return lambda row: getattr(row.span, field) == value
    return lambda row: getattr(row.assessment, field) == value


# --- aggregation ---


def _points(
    groups: dict[tuple[Any, ...], list[Any]],
    names: Sequence[str],
    metric_name: str,
    aggregations: Sequence[Any],
    max_results: int,
) -> list[Any]:
    points = []
    for key in sorted(groups)[:max_results]:
        held = set(groups[key]) if metric_name == "session_count" else groups[key]
        figures = {str(one): _aggregated(one, list(held)) for one in aggregations}
        values = {name: figure for name, figure in figures.items() if figure is not None}
        dimensions = dict(zip(names, key, strict=True))
        if TIME_BUCKET in dimensions:
            dimensions[TIME_BUCKET] = datetime.fromtimestamp(dimensions[TIME_BUCKET] / 1000, tz=UTC).isoformat()
        if values:
            points.append(MetricDataPoint(dimensions=dimensions, metric_name=metric_name, values=values))
    return points


def _aggregated(aggregation: Any, values: list[Any]) -> Any:
    kind = aggregation.aggregation_type
    if kind == AggregationType.COUNT:
        return len(values)
    if not values:
        return None
    if kind == AggregationType.SUM:
        return sum(values)
    if kind == AggregationType.AVG:
        return sum(values) / len(values)
    if kind == AggregationType.MIN:
        return min(values)
    if kind == AggregationType.MAX:
        return max(values)
    return _percentile(sorted(values), aggregation.percentile_value)


def _percentile(values: list[Any], percent: float) -> float:
    """The percentile of the values, with linear interpolation."""
    place = percent / 100 * (len(values) - 1)
    below = int(place)
    above = min(below + 1, len(values) - 1)
    return float(values[below] + (values[above] - values[below]) * (place - below))
