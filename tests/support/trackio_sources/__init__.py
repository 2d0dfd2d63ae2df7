"""Small folders that trackio wrote, and how to unpack them.

``write_with_trackio.py`` wrote each archive in a folder ``/tmp/golden``, with the version of trackio in its name and
Python 3.12. ``trackio`` is trackio's folder; that of the newest version has an inbox, too. Names that end in
``-parquet`` are what trackio keeps on the Hub, in ``-static`` one project as it exports it for a static page.
``read.json`` has what trackio's own functions read. 0.2.9 lost the first run itself.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

__all__ = ["NEWEST", "VERSIONS", "WRITER", "fragment", "read_by_trackio", "unpack"]

FOLDER = Path(__file__).parent
WRITER = FOLDER / "write_with_trackio.py"
VERSIONS = sorted(path.name.removesuffix(".tar.xz") for path in FOLDER.glob("*.tar.xz"))
"""The sources by name: ``trackio-0.9.1``, ``trackio-0.43.0-parquet``."""
NEWEST = "trackio-0.43.0"


def unpack(folder: Path, name: str = NEWEST) -> Path:
    """Unpack a source into a folder; returns its path."""
    with tarfile.open(FOLDER / f"{name}.tar.xz") as packed:
        packed.extractall(folder, filter="data")
    return folder / ("static" if name.endswith("-static") else "trackio")


def read_by_trackio(folder: Path) -> dict[str, dict[str, list[tuple[int, str, str]]]]:
    """Step, time and value of each number, by project and run and by metric."""
    read: dict[str, Any] = json.loads((folder / "read.json").read_text())
    return read


def fragment(run: str, step: int | None, project: str = "spirals", log_id: str = "", **metrics: Any) -> str:
    """A line of a fragment."""
    record = {
        "v": 1,
        "kind": "metric",
        "project": project,
        "run": run,
        "run_id": None,
        "metrics": metrics,
        "step": step,
        "timestamp": "2024-01-01T00:00:00.000001+00:00",
        "config": None,
        "log_id": log_id or None,
    }
    return json.dumps(record) + "\n"
