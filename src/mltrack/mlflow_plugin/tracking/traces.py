"""The tracking store's part for traces and their assessments."""

from __future__ import annotations

from mltrack.mlflow_plugin.errors import raises_mlflow
from mltrack.mlflow_plugin.tracking.part import Part

__all__ = ["Traces"]


@raises_mlflow
class Traces(Part):
    """Traces and their assessments."""
