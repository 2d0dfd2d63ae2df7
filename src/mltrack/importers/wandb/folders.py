"""Which files of a source are wandb's, and which of them belong to one run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["log_paths"]

SUFFIX = ".wandb"
DEPTH_MAX = 5


def log_paths(path: Path) -> Iterator[Path]:
    """The ``.wandb`` files of a source, in order: itself, or those in a folder and below."""
    if path.is_file():
        if path.suffix == SUFFIX:
            yield path
        return
    for here, folders, files in os.walk(path):
        found = sorted(file for file in files if file.endswith(SUFFIX) and file != SUFFIX)
        yield from (Path(here, file) for file in found if Path(here, file).is_file())
        folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
        if found or len(Path(here).relative_to(path).parts) >= DEPTH_MAX:
            folders.clear()
