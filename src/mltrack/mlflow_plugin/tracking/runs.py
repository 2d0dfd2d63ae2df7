"""The tracking store's part for runs, with their metrics, params, tags and inputs."""

from __future__ import annotations

from mltrack.mlflow_plugin.errors import raises_mlflow
from mltrack.mlflow_plugin.tracking.part import Part

__all__ = ["Runs"]


@raises_mlflow
class Runs(Part):
    """Runs, with their metrics, params, tags and inputs."""
