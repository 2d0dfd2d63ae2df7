"""Tags by which things of a store are found again on a remote, and others that a push sets."""

from __future__ import annotations

__all__ = ["CRASHED_TAG", "EXPERIMENT_TAG", "MODEL_ID_TAG", "PARENT_TAG", "RUN_ID_TAG", "VERSION_TAG"]

RUN_ID_TAG = "mltrack.run_id"
EXPERIMENT_TAG = "mltrack.experiment_id"
"""By it an experiment that was renamed, on either side, is found again where there is no ledger to say which it is."""
MODEL_ID_TAG = "mltrack.model_id"
VERSION_TAG = "mltrack.model_version"
CRASHED_TAG = "mltrack.crashed"
PARENT_TAG = "mlflow.parentRunId"
