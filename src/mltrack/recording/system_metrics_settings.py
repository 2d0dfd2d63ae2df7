"""MLflow's functions for the system metrics of runs started later, in child processes too."""

from __future__ import annotations

import os

from mltrack.environment import MLTRACK_SYSTEM_METRICS, MLTRACK_SYSTEM_METRICS_INTERVAL

__all__ = [
    "disable_system_metrics_logging",
    "enable_system_metrics_logging",
    "set_system_metrics_node_id",
    "set_system_metrics_samples_before_logging",
    "set_system_metrics_sampling_interval",
]


def enable_system_metrics_logging() -> None:
    """Log system metrics, except in runs started with ``log_system_metrics=False``."""
    _set(MLTRACK_SYSTEM_METRICS, "true")


def disable_system_metrics_logging() -> None:
    """Log no system metrics, except in runs started with ``log_system_metrics=True``."""
    _set(MLTRACK_SYSTEM_METRICS, "false")


def set_system_metrics_sampling_interval(interval: float | None) -> None:
    """Seconds between two samples; None: the default."""
    _set(MLTRACK_SYSTEM_METRICS_INTERVAL, interval)


def set_system_metrics_samples_before_logging(samples: int | None) -> None:
    """How many samples are averaged into one logged value; None: the default."""
    _set("MLFLOW_SYSTEM_METRICS_SAMPLES_BEFORE_LOGGING", samples)


def set_system_metrics_node_id(node_id: str | None) -> None:
    """This host's name in the names of its metrics; None: the default."""
    _set("MLFLOW_SYSTEM_METRICS_NODE_ID", node_id)


def _set(variable: str, value: object) -> None:
    """Set an environment variable, as MLflow's functions do: an invalid value is an error when a run starts."""
    if value is None:
        os.environ.pop(variable, None)
    else:
        os.environ[variable] = str(value)
