"""What MLflow's own SQL store does otherwise in a later version."""

from __future__ import annotations

from typing import Any

import mlflow
import pytest
from packaging.version import Version

__all__ = ["differs_since"]


def differs_since(version: str, store: Any, how: str) -> None:
    """Skip the rest of a test on MLflow's SQL store of that version or a later one: ours stays as 3.17's."""
    if not type(store).__module__.startswith("mltrack.") and Version(mlflow.__version__) >= Version(version):
        pytest.skip(f"since MLflow {version}: {how}")
