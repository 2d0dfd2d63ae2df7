"""Which folders of a source are runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MARK", "RunFolder", "run_folders"]

MARK = ".tfevents."
"""What is in the name of every event file."""
DEPTH_MAX = 10


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A folder of a run: its event files by name, which begin with the time."""

    path: Path
    events: tuple[Path, ...]


def run_folders(path: Path) -> Iterator[RunFolder]:
    """The runs of a source, in order, each before those in it."""
    if path.is_file():
        if MARK in path.name:
            yield RunFolder(path.parent, (path,))
        return
    for here, folders, files in os.walk(path):
        folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
        if len(Path(here).relative_to(path).parts) >= DEPTH_MAX:
            folders.clear()
        events = [Path(here, file) for file in sorted(files) if MARK in file and Path(here, file).is_file()]
        if events:
            yield RunFolder(Path(here), tuple(events))
