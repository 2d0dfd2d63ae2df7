"""The tracking store's part for logged models."""

from __future__ import annotations

from mltrack.mlflow_plugin.errors import raises_mlflow
from mltrack.mlflow_plugin.tracking.part import Part

__all__ = ["LoggedModels"]


@raises_mlflow
class LoggedModels(Part):
    """Logged models."""
