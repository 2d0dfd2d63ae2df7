"""Which files of a source are SwanLab's logs of records."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["IDENT", "head_of", "log_paths"]

SUFFIX = ".swanlab"
IDENT = b":SWL"
"""What such a log begins with; ``runs.swanlab``, the database of the dashboard, does not."""
HEAD_BYTES = 7
DEPTH_MAX = 5


def head_of(path: Path) -> bytes:
    """The first bytes of a file, the last of which is the version of its format; empty if it can't be read."""
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""


def log_paths(path: Path) -> Iterator[Path]:
    """The logs of a source, in order: itself, or those in a folder and below."""
    if path.is_file():
        if path.suffix == SUFFIX and head_of(path).startswith(IDENT):
            yield path
        return
    for here, folders, files in os.walk(path):
        names = sorted(file for file in files if file.endswith(SUFFIX) and Path(here, file).is_file())
        found = [place for name in names if head_of(place := Path(here, name)).startswith(IDENT)]
        yield from found
        folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
        if found or len(Path(here).relative_to(path).parts) >= DEPTH_MAX:
            folders.clear()
