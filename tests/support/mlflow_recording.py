"""Recording by MLflow's own calls, through the plugin, into the store of a test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient

from mltrack.store import Store

AT_ONCE = "MLFLOW_ENABLE_ASYNC_TRACE_LOGGING"
"""Traces are stored when their span ends, not some time later."""

ADDS_ONE = """\
from typing import Any

import mlflow


class AddsOne(mlflow.pyfunc.PythonModel):
    def predict(self, model_input: list[float]) -> list[float]:
        return [each + 1 for each in model_input]


mlflow.models.set_model(AddsOne())
"""


@contextmanager
def mlflow_on(uri: str, experiment: str | None = None) -> Iterator[MlflowClient]:
    """For the body, MLflow's functions speak to the server or store ``uri``."""
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    os.environ[AT_ONCE] = "false"
    try:
        if experiment is not None:
            mlflow.set_experiment(experiment)
        yield MlflowClient(uri)
    finally:
        while mlflow.active_run() is not None:
            mlflow.end_run()
        forget_where(experiment_too=False)  # which MLflow keeps from call to call
        os.environ.pop(AT_ONCE, None)


def forget_where(*, experiment_too: bool = True) -> None:
    """Let MLflow's functions forget which server, registry and experiment they were told to use."""
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # which resets it
    mlflow.set_registry_uri(None)  # type: ignore[arg-type]
    if experiment_too:
        mlflow.tracking.fluent._active_experiment_id = None  # which nothing public resets
    for name in ("MLFLOW_EXPERIMENT_ID", "MLFLOW_REGISTRY_URI", "MLFLOW_TRACKING_URI"):  # set for its children
        os.environ.pop(name, None)


def uri_of(store: Store) -> str:
    """How MLflow calls the store."""
    return f"mltrack://{store.path}"


def log_adder(folder: Path, **more: Any) -> Any:
    """Log a model that adds one, within the active run; returns MLflow's info of it."""
    code = folder / "adds_one.py"
    code.write_text(ADDS_ONE)
    return mlflow.pyfunc.log_model(name="adder", python_model=str(code), pip_requirements=["mlflow"], **more)


def trace_once(name: str = "question", **tags: str) -> str:
    """One trace of two spans; returns its id."""
    with mlflow.start_span(name) as root:
        root.set_inputs({"text": "wie geht's — 好", "numbers": [1, 2.5, None, {"deep": True}]})
        with mlflow.start_span("asking", span_type="LLM") as child:
            child.set_attributes({"model": "tiny", "large": 2**60, "nothing": None})
            child.add_event(mlflow.entities.SpanEvent("answered", attributes={"after": 1}))  # type: ignore[abstract]
        root.set_outputs("good")
        if tags:
            mlflow.update_current_trace(tags=tags)
    return str(root.trace_id)
