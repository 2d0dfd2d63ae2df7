"""Traces that MLflow's own client records on a server."""

from __future__ import annotations

import contextlib
import math

import mlflow
from mlflow.entities import AssessmentSource, SpanEvent

from tests.support.mlflow_recording import mlflow_on
from tests.support.server import MlflowServer

HUMAN = AssessmentSource("HUMAN", "ada")


def ask(question: str) -> None:
    """A trace of two spans, or of one that failed."""
    with mlflow.start_span("asked") as root:
        root.set_inputs({"q": question})
        if not question:
            raise ValueError("nothing was asked")
        with mlflow.start_span("answer", span_type="LLM") as span:
            span.set_attributes({"mlflow.llm.model": "small", "odd": [math.nan, 1, 2.5, None, True]})
            span.set_attribute("mlflow.chat.tokenUsage", {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7})
            span.add_event(SpanEvent("thought", attributes={"long": True}))  # type: ignore[abstract]
        mlflow.update_current_trace(tags={"lang": "日本語"}, metadata={"mlflow.trace.session": "s1", "own": "1"})


def record_traces(server: MlflowServer, experiment: str) -> tuple[str, list[str]]:
    """A run with a trace, a trace that failed, judgements, and a link to the run; its id, and the traces'."""
    with mlflow_on(server.url, experiment):
        with mlflow.start_run() as run:
            ask("why?")
        with contextlib.suppress(ValueError):
            ask("")
        found = mlflow.search_traces(return_type="list", order_by=["timestamp ASC"])
        ids = [str(trace.info.trace_id) for trace in found]
        good = mlflow.log_feedback(trace_id=ids[0], name="good", value=True, rationale="short", source=HUMAN)
        mlflow.override_feedback(trace_id=ids[0], assessment_id=str(good.assessment_id), value=False)
        mlflow.log_expectation(trace_id=ids[1], name="expected", value={"a": [1]})
        server.post("traces/link-to-run", run_id=run.info.run_id, trace_ids=ids)
    return str(run.info.run_id), ids
