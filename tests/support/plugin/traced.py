"""Traces and spans for the tests, made without a clock or a random number."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from mlflow.entities import Span, SpanStatus, SpanStatusCode, TraceInfo, TraceLocation, TraceState
from mlflow.entities.span import create_mlflow_span
from mlflow.tracing.utils import build_otel_context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan

__all__ = ["START_MS", "info", "info_as_dict", "prompt", "span", "trace_id_of"]

START_MS = 1_700_000_000_000


def trace_id_of(number: int) -> str:
    return f"tr-{number:032x}"


def span(
    trace: int,
    number: int,
    parent: int | None = None,
    *,
    name: str = "step",
    kind: str = "UNKNOWN",
    start_ms: float = START_MS,
    end_ms: float | None = START_MS + 10,
    status: str = "OK",
    resource: dict[str, Any] | None = None,
    events: list[Event] | None = None,
    **attributes: Any,
) -> Span:
    """A span whose attributes' names have ``__`` where a dot stands."""
    own = {"mlflow.traceRequestId": trace_id_of(trace), "mlflow.spanType": kind}
    own |= {key.replace("__", "."): value for key, value in attributes.items()}
    made: Span = create_mlflow_span(
        ReadableSpan(
            name=name,
            context=build_otel_context(trace, number),
            parent=build_otel_context(trace, parent) if parent is not None else None,
            start_time=int(start_ms * 1_000_000),
            end_time=int(end_ms * 1_000_000) if end_ms is not None else None,
            attributes={key: json.dumps(value, ensure_ascii=False) for key, value in own.items()},
            status=SpanStatus(SpanStatusCode(status)).to_otel_status(),
            resource=Resource(resource or {}),
            events=events or [],
        ),
        trace_id_of(trace),
    )
    return made


def info(trace: int, experiment_id: str = "0", **fields: Any) -> TraceInfo:
    given: dict[str, Any] = {"request_time": START_MS, "execution_duration": 10, "state": TraceState.OK, **fields}
    return TraceInfo(trace_id_of(trace), TraceLocation.from_experiment_id(experiment_id), **given)


def info_as_dict(found: TraceInfo) -> dict[str, Any]:
    """What is told of a trace, without what differs by the store's place and by the time of the test."""
    fields = found.to_dict()
    fields["tags"] = {key: value for key, value in found.tags.items() if key != "mlflow.artifactLocation"}
    fields["trace_metadata"] = dict(found.trace_metadata)
    return fields


def prompt(name: str, version: int) -> Any:
    """A version of a prompt, as links to it need one."""
    return SimpleNamespace(name=name, version=version)
