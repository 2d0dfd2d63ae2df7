"""The tracking store's part for experiments."""

from __future__ import annotations

from mltrack.mlflow_plugin.errors import raises_mlflow
from mltrack.mlflow_plugin.tracking.part import Part

__all__ = ["Experiments"]


@raises_mlflow
class Experiments(Part):
    """Experiments."""
