"""Figures over traces, as the overview charts of MLflow's UI ask for them: the same on both stores."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from mlflow.entities import AssessmentSource, Feedback, TraceState
from mlflow.entities.trace_metrics import AggregationType, MetricAggregation, MetricViewType

from tests.support.plugin.codes import raises
from tests.support.plugin.traced import START_MS, info, span, trace_id_of

TRACES, SPANS, ASSESSMENTS = MetricViewType.TRACES, MetricViewType.SPANS, MetricViewType.ASSESSMENTS
COUNT = MetricAggregation(AggregationType.COUNT)
_KINDS = (AggregationType.SUM, AggregationType.AVG, AggregationType.MIN, AggregationType.MAX)
SUM, AVG, MIN, MAX = (MetricAggregation(kind) for kind in _KINDS)
P90 = MetricAggregation(AggregationType.PERCENTILE, 90)
HOUR_MS = 3_600_000


def fill(store: Any) -> None:
    for number in range(1, 7):
        tokens = {"input_tokens": number, "output_tokens": 10 * number, "total_tokens": 11 * number}
        cost = {"input_cost": 0.5, "output_cost": 0.25 * number, "total_cost": 0.5 + 0.25 * number}
        at = START_MS + number * HOUR_MS // 2
        tags = {"mlflow.traceName": "even" if number % 2 == 0 else "odd", "team": "nlp"} if number < 6 else {}
        metadata = {"mlflow.trace.session": f"s-{number // 3}"} if number > 1 else {"mlflow.sourceRun": "run-1"}
        state = TraceState.ERROR if number == 3 else TraceState.OK
        duration = None if number == 5 else 100 * number
        given: dict[str, Any] = {
            "execution_duration": duration,
            "tags": tags,
            "trace_metadata": metadata,
            "state": state,
        }
        model: dict[str, Any] = {
            "mlflow__llm__model": f"gpt-{number % 2}",
            "mlflow__llm__provider": "o",
            "mlflow__llm__cost": cost,
        }
        spans = [
            span(number, 1, name="root", kind="CHAIN", start_ms=at, end_ms=at + 100),
            span(number, 2, 1, name="model", kind="LLM", start_ms=at, end_ms=at + 7.9, **model),
        ]
        store.log_spans("0", [spans[0], span(number, 2, 1, mlflow__chat__tokenUsage=tokens, start_ms=at)])
        store.log_spans("0", spans)
        store.start_trace(info(number, request_time=at, **given))
        for name, value in (("score", number / 4), ("good", "yes" if number % 2 else "no")):
            store.create_assessment(
                Feedback(name=name, value=value, source=AssessmentSource("CODE"), trace_id=trace_id_of(number))
            )
    store.link_traces_to_run([trace_id_of(2)], "run-1")


@pytest.fixture(scope="module", params=["mltrack", "sql"])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Both stores, filled once."""
    folder = tmp_path_factory.mktemp("filled")
    store: Any
    if request.param == "mltrack":
        from mltrack.mlflow_plugin.tracking import TrackingStore

        store = TrackingStore(f"mltrack://{folder}/.mltrack")
        fill(store)
        yield store
    else:
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        shutil.copy(request.getfixturevalue("empty_database"), folder / "mlflow.db")
        store = SqlAlchemyStore(f"sqlite:///{folder}/mlflow.db", str(folder / "artifacts"))
        fill(store)
        yield store
        store._dispose_engine()


def figures(store: Any, view: Any, metric: str, *aggregations: Any, **arguments: Any) -> list[tuple[Any, ...]]:
    """Each point as its dimensions' values and then its figures."""
    found = store.query_trace_metrics(["0"], view, metric, list(aggregations), **arguments)
    assert found.token is None
    assert {point.metric_name for point in found} <= {metric}
    return [(*point.dimensions.values(), *point.values.values()) for point in found]


@pytest.mark.parametrize(
    ("view", "metric", "aggregations", "arguments", "expected"),
    [
        (TRACES, "trace_count", [COUNT], {}, [(6,)]),
        (TRACES, "trace_count", [COUNT], {"dimensions": ["trace_name"]}, [("even", 2), ("odd", 3)]),
        (
            TRACES,
            "trace_count",
            [COUNT],
            {"dimensions": ["trace_status", "trace_name"]},
            [("ERROR", "odd", 1), ("OK", "even", 2), ("OK", "odd", 2)],
        ),
        (TRACES, "session_count", [COUNT], {}, [(3,)]),
        (TRACES, "latency", [AVG, MIN, MAX, P90], {}, [(320.0, 100, 600, 520.0)]),
        (TRACES, "latency", [P90], {"dimensions": ["trace_name"]}, [("even", 380.0), ("odd", 280.0)]),
        (TRACES, "total_tokens", [SUM, AVG], {}, [(231, 38.5)]),
        (TRACES, "cache_read_input_tokens", [SUM], {}, []),
        (TRACES, "trace_count", [COUNT], {"filters": ["trace.status = 'ERROR'"]}, [(1,)]),
        (TRACES, "trace_count", [COUNT], {"filters": ["trace.status = 'NEVER'"]}, [(0,)]),
        (TRACES, "trace_count", [COUNT], {"filters": ["trace.tag.team = 'nlp'", "trace.status = 'OK'"]}, [(4,)]),
        (TRACES, "trace_count", [COUNT], {"filters": ["trace.tag.`mlflow.traceName` = 'odd'"]}, [(3,)]),
        (TRACES, "trace_count", [COUNT], {"filters": ["trace.metadata.`mlflow.trace.session` = 's-1'"]}, [(3,)]),
        (TRACES, "trace_count", [COUNT], {"filters": ["trace.metadata.`mlflow.sourceRun` = 'run-1'"]}, [(2,)]),
        (
            TRACES,
            "trace_count",
            [COUNT],
            {"start_time_ms": START_MS + HOUR_MS, "end_time_ms": START_MS + 2 * HOUR_MS},
            [(3,)],
        ),
        (SPANS, "span_count", [COUNT], {"dimensions": ["span_name"]}, [("model", 6), ("root", 6)]),
        (
            SPANS,
            "span_count",
            [COUNT],
            {"dimensions": ["span_type", "span_status"]},
            [("CHAIN", "OK", 6), ("LLM", "OK", 6)],
        ),
        (SPANS, "span_count", [COUNT], {"dimensions": ["span_model_name"]}, [("gpt-0", 3), ("gpt-1", 3)]),
        (SPANS, "span_count", [COUNT], {"filters": ["span.name = 'model'", "trace.status = 'ERROR'"]}, [(1,)]),
        (SPANS, "latency", [AVG, MAX], {"filters": ["span.type = 'LLM'"]}, [(7.0, 7)]),
        (SPANS, "total_cost", [SUM, MIN], {}, [(8.25, 0.75)]),
        (
            SPANS,
            "input_cost",
            [SUM],
            {"dimensions": ["span_model_name", "span_model_provider"]},
            [("gpt-0", "o", 1.5), ("gpt-1", "o", 1.5)],
        ),
        (SPANS, "output_cost", [SUM], {"end_time_ms": START_MS + HOUR_MS}, [(0.75,)]),
        (ASSESSMENTS, "assessment_count", [COUNT], {"dimensions": ["assessment_name"]}, [("good", 6), ("score", 6)]),
        (
            ASSESSMENTS,
            "assessment_count",
            [COUNT],
            {"filters": ["assessment.name = 'good'"], "dimensions": ["assessment_value"]},
            [('"no"', 3), ('"yes"', 3)],
        ),
        (
            ASSESSMENTS,
            "assessment_value",
            [AVG, P90],
            {"dimensions": ["assessment_name"]},
            [("good", 0.5, 1.0), ("score", 0.875, 1.375)],
        ),
        (
            ASSESSMENTS,
            "assessment_count",
            [COUNT],
            {"filters": ["assessment.type = 'feedback'", "trace.status = 'ERROR'"]},
            [(2,)],
        ),
    ],
)
def test_trace_metrics_are_aggregated(
    filled: Any, view: Any, metric: str, aggregations: list[Any], arguments: dict[str, Any], expected: list[Any]
) -> None:
    assert figures(filled, view, metric, *aggregations, **arguments) == expected


@pytest.mark.parametrize(("view", "metric"), [(TRACES, "trace_count"), (SPANS, "span_count"), (SPANS, "total_cost")])
def test_trace_metrics_are_aggregated_by_time(filled: Any, view: Any, metric: str) -> None:
    within = {"start_time_ms": START_MS, "end_time_ms": START_MS + 9 * HOUR_MS, "time_interval_seconds": 3600}
    aggregation = SUM if metric == "total_cost" else COUNT
    found = figures(filled, view, metric, aggregation, **within)
    times = [time for time, _ in found]
    assert times[0] == "2023-11-14T22:00:00+00:00"
    assert times == sorted(times)
    assert sum(figure for _, figure in found) == {"trace_count": 6, "span_count": 12, "total_cost": 8.25}[metric]
    assert len(figures(filled, view, metric, aggregation, **within, max_results=2)) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        {"metric_name": "nothing", "aggregations": [COUNT]},
        {"metric_name": "trace_count", "aggregations": [AVG]},
        {"metric_name": "trace_count", "aggregations": [COUNT], "dimensions": ["span_name"]},
        {"metric_name": "trace_count", "aggregations": [COUNT], "time_interval_seconds": 60},
        {"metric_name": "trace_count", "aggregations": [COUNT], "filters": ["span.name = 'x'"]},
        {"metric_name": "trace_count", "aggregations": [COUNT], "filters": ["assessment.name = 'x'"]},
        {"metric_name": "trace_count", "aggregations": [COUNT], "filters": ["trace.status != 'OK'"]},
        {"metric_name": "trace_count", "aggregations": [COUNT], "filters": ["nothing = 'x'"]},
    ],
)
def test_an_invalid_query_is_refused(filled: Any, arguments: dict[str, Any]) -> None:
    with raises("INVALID_PARAMETER_VALUE"):
        filled.query_trace_metrics(["0"], TRACES, **arguments)
