"""Sessions that ClearML 2.1.12 wrote in ``/tmp/golden`` by ``write_with_clearml.py``, and how to unpack them."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

__all__ = ["WRITER", "event", "folder_of", "unpack"]

FOLDER = Path(__file__).parent
WRITER = FOLDER / "write_with_clearml.py"


def unpack(folder: Path) -> Path:
    """Unpack them into a folder; returns ``sessions``: the task ``first`` as a ZIP file, ``second`` as a folder."""
    with tarfile.open(FOLDER / "clearml-2.1.12.tar.xz") as packed:
        packed.extractall(folder, filter="data")
    return folder / "sessions"


def folder_of(source: Path) -> Path:
    """The session that is a folder."""
    return next(path for path in source.iterdir() if path.is_dir())


def event(task: str, **fields: Any) -> str:
    """A line with one event."""
    known = {"timestamp": 1_700_000_000_000, "type": "training_stats_scalar", "task": task, "iter": 0}
    return json.dumps([{**known, "metric": "loss", "variant": "train", **fields}]) + "\n"
