"""Which folders are DVCLive's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["METRICS", "live_folders"]

METRICS = "plots/metrics"
DEPTH_MAX = 5


def live_folders(path: Path) -> Iterator[Path]:
    """DVCLive's folders, in order."""
    if not path.is_dir():
        return
    for here, folders, _ in os.walk(path):
        place = Path(here)
        if any((place / METRICS).rglob("*.tsv")):
            folders.clear()
            yield place
        folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
        if len(place.relative_to(path).parts) >= DEPTH_MAX:
            folders.clear()
