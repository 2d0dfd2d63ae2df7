"""MLflow's name for the base of all errors, for scripts that catch it: here it is ``MltrackError``."""

from __future__ import annotations

from mltrack.errors import MltrackError

__all__ = ["MlflowException"]

MlflowException = MltrackError
