"""A logged model and traces, recorded into the store of a test without MLflow."""

from __future__ import annotations

from typing import Any

import mltrack
from mltrack.entities import ModelMetric
from mltrack.store import Store
from tests.support.model_recording import put_file

START_MS = 1_700_000_000_000


def record_model(store: Store, name: str = "net") -> tuple[str, str]:
    """A run and the model it made, with two params, a tag, three points and two files; returns their ids."""
    with mltrack.start_run(run_name=f"training of {name}") as run:
        for step in range(3):
            mltrack.log_metric("acc", step / 8, step=step)
    made = store.logged_models.create(
        store.run(run.run_id).info.experiment_id,
        name,
        model_type="agent",
        source_run_id=run.run_id,
        tags={"team": "vision"},
        params={"depth": "3", "width": "4"},
    )
    points = store.run(run.run_id).metrics("acc").to_pylist()
    times = store.run(run.run_id).metrics("acc").column("time").cast("int64").to_pylist()
    metrics = [
        ModelMetric("acc", point["value"], point["step"], time // 1_000_000, run.run_id, "train", "abc")
        for point, time in zip(points, times, strict=True)
    ]
    store.logged_models.log_metrics(made.model_id, metrics)
    put_file(store, made.model_id, "weights/w.bin", b"\0" * 1000)
    put_file(store, made.model_id, "notes.txt", b"words")
    store.logged_models.set_status(made.model_id, "READY")
    return run.run_id, made.model_id


def record_trace(store: Store, experiment_id: str, number: int, run_id: str | None = None, *, spans_ms: int = 7) -> str:
    """A trace of two spans with a tag and an assessment, linked to a run; returns its id.

    It took 7 ms, its spans ``spans_ms``: a server rounds those otherwise.
    """
    trace_id = f"tr-{number:032x}"
    spans = [span_content(number, 1, None, spans_ms), span_content(number, 2, 1, spans_ms)]
    heads = [
        {"id": f"{n:016x}", "parent": None, "name": f"step {n}", "status": "OK", "start": 5, "end": 9} for n in (1, 2)
    ]
    fact = {"type": "spans", "trace_id": trace_id, "start": START_MS, "end": START_MS + 7, "heads": heads}
    store.traces.add_spans(experiment_id, [fact], [spans])
    about = {"request_time": START_MS, "duration": 7, "state": "OK", "tags": {"kind": "a"}, "metadata": {"m": "1"}}
    store.traces.add(experiment_id, {"type": "info", "trace_id": trace_id, **about})
    assess(store, experiment_id, trace_id, f"a-{number}")
    if run_id is not None:
        store.traces.add(experiment_id, {"type": "run", "trace_id": trace_id, "run_id": run_id, "linked": True})
    return trace_id


def assess(store: Store, experiment_id: str, trace_id: str, assessment_id: str, **fields: Any) -> None:
    """Feedback on a trace."""
    record: dict[str, Any] = {"assessment_id": assessment_id, "name": "good", "kind": "feedback", "value": "0.5"}
    record |= {"source_type": "HUMAN", "create_time": START_MS, "update_time": START_MS, **fields}
    store.traces.add(experiment_id, {"type": "assessment", "trace_id": trace_id, "assessment": record})


def tag_trace(store: Store, experiment_id: str, trace_id: str, key: str, value: str | None) -> None:
    """Set a tag of a trace; None takes it away."""
    store.traces.add(experiment_id, {"type": "tag", "trace_id": trace_id, "key": key, "value": value})


def span_content(trace: int, number: int, parent: int | None, took_ms: int = 7) -> dict[str, Any]:
    """A span as a store keeps it: MLflow's JSON."""
    return {
        "trace_id": f"{trace:032x}",
        "span_id": f"{number:016x}",
        "parent_span_id": f"{parent:016x}" if parent is not None else None,
        "name": f"step {number}",
        "start_time_unix_nano": START_MS * 1_000_000,
        "end_time_unix_nano": (START_MS + took_ms) * 1_000_000,
        "attributes": {"mlflow.traceRequestId": f'"tr-{trace:032x}"', "n": str(number)},
        "status": {"code": "STATUS_CODE_OK"},
    }
