"""wandb's names of system metrics as MLflow's, where both measure the same."""

from __future__ import annotations

import re

__all__ = ["system_name"]

_NAMES = {
    "cpu": ("cpu_utilization_percentage", 1.0),
    "memory_percent": ("system_memory_usage_percentage", 1.0),
    "memory": ("system_memory_usage_percentage", 1.0),
    "network.recv": ("network_receive_megabytes", 1e-6),
    "network.sent": ("network_transmit_megabytes", 1e-6),
    "disk./.usagePercent": ("disk_usage_percentage", 1.0),
    "disk./.usageGB": ("disk_usage_megabytes", 1.073741824e3),
}
_GPU_NAMES = {
    "gpu": ("utilization_percentage", 1.0),
    "memoryAllocated": ("memory_usage_percentage", 1.0),
    "memoryAllocatedBytes": ("memory_usage_megabytes", 1e-6),
    "powerWatts": ("power_usage_watts", 1.0),
    "powerPercent": ("power_usage_percentage", 1.0),
}
_GPU = re.compile(r"gpu\.(\d+)\.(\w+)")


def system_name(key: str) -> tuple[str, float]:
    """The name of a metric, and by what its values are multiplied."""
    if key in _NAMES:
        name, factor = _NAMES[key]
        return f"system/{name}", factor
    gpu = _GPU.fullmatch(key)
    if gpu is not None and gpu[2] in _GPU_NAMES:
        name, factor = _GPU_NAMES[gpu[2]]
        return f"system/gpu_{gpu[1]}_{name}", factor
    return f"system/{key}", 1.0
