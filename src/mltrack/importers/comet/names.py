"""What metrics and files of Comet's are called here."""

from __future__ import annotations

import re
from collections.abc import Hashable
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any

__all__ = ["NAME_KEYS", "file_name", "metric_name"]

NAME_KEYS = {"Name"}
"""Which of the other things that are logged has the name of the experiment."""

GENERATED = "auto-generated-in-the-backend"
_SYSTEM = {
    "sys.cpu.percent.avg": ("cpu_utilization_percentage", 1.0),
    "sys.ram.percent.used": ("system_memory_usage_percentage", 1.0),
    "sys.ram.used": ("system_memory_usage_megabytes", 1e-6),
    "sys.disk.root.percent.used": ("disk_usage_percentage", 1.0),
    "sys.disk.root.used": ("disk_usage_megabytes", 1e-6),
}
_GPU = re.compile(r"sys\.gpu\.(\d+)\.gpu_utilization")


@lru_cache(maxsize=1 << 12)
def metric_name(key: str, context: Hashable = None) -> tuple[str, float]:
    """The name of a metric, and by what its values are multiplied: MLflow's names where both measure the same."""
    if key in _SYSTEM:
        name, factor = _SYSTEM[key]
        return f"system/{name}", factor
    gpu = _GPU.fullmatch(key)
    if gpu is not None:
        return f"system/gpu_{gpu[1]}_utilization_percentage", 1.0
    if key.startswith("sys."):
        return f"system/{key.removeprefix('sys.')}", 1.0
    return (f"{context}_{key}" if isinstance(context, str) and context else key), 1.0


def file_name(kind: str, more: dict[str, Any]) -> str:
    """The name of a file by what it was logged as; ``more`` are the params of its upload."""
    name = str(more.get("fileName") or more.get("figName") or "")
    if not name or name == GENERATED:
        name = str(more.get("assetId") or more.get("imageId") or kind)
    if kind == "visualization":
        return f"images/{name}"
    if kind == "model-element":
        return f"models/{more.get('groupingName') or 'model'}/{name}"
    if kind == "asset":
        return name
    extension = more.get("extension")
    missing = isinstance(extension, str) and extension and not PurePosixPath(name).suffix
    return f"{kind}/{name}{f'.{extension}' if missing else ''}"
