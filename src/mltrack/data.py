"""MLflow's own ``mlflow.data``, whose datasets ``log_input`` takes; it is imported where a name of it is first used."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    from importlib import import_module

    from mltrack.extras import need

    need("mlflow", f"mltrack.data.{name}", instead="or use mltrack.Dataset")

    return getattr(import_module("mlflow.data"), name)
