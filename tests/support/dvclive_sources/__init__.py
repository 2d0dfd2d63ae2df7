"""A small folder that DVCLive 3.49.1 wrote in ``/tmp/golden`` by ``write_with_dvclive.py``, and how to unpack it."""

from __future__ import annotations

import tarfile
from pathlib import Path

__all__ = ["WRITER", "unpack"]

FOLDER = Path(__file__).parent
WRITER = FOLDER / "write_with_dvclive.py"


def unpack(folder: Path) -> Path:
    """Unpack the archive into a folder; returns the folder ``dvclive``."""
    with tarfile.open(FOLDER / "dvclive.tar.xz") as packed:
        packed.extractall(folder, filter="data")
    return folder / "dvclive"
