"""MLflow's functions that say how runs started from now on measure the machine; child processes heed them too."""

from __future__ import annotations

import os

__all__ = [
    "disable_system_metrics_logging",
    "enable_system_metrics_logging",
    "set_system_metrics_node_id",
    "set_system_metrics_samples_before_logging",
    "set_system_metrics_sampling_interval",
]


def enable_system_metrics_logging() -> None:
    """Measure the machine in runs that don't say otherwise (``start_run(log_system_metrics=False)``)."""
    _set("MLTRACK_SYSTEM_METRICS", "true")


def disable_system_metrics_logging() -> None:
    """Don't measure the machine in runs that don't say otherwise."""
    _set("MLTRACK_SYSTEM_METRICS", "false")


def set_system_metrics_sampling_interval(interval: float | None) -> None:
    """Seconds between two samples; None for what is usual."""
    _set("MLTRACK_SYSTEM_METRICS_INTERVAL", interval)


def set_system_metrics_samples_before_logging(samples: int | None) -> None:
    """How many samples one logged value is the mean of; None for what is usual."""
    _set("MLFLOW_SYSTEM_METRICS_SAMPLES_BEFORE_LOGGING", samples)


def set_system_metrics_node_id(node_id: str | None) -> None:
    """What this host is called in the names of its metrics; None for what is usual."""
    _set("MLFLOW_SYSTEM_METRICS_NODE_ID", node_id)


def _set(variable: str, value: object) -> None:
    """Environment variables, as MLflow's own functions set: a bad value is refused when a run starts."""
    if value is None:
        os.environ.pop(variable, None)
    else:
        os.environ[variable] = str(value)
