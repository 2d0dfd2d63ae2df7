"""Small sources that the real trackers wrote, and how to unpack them.

Each archive was written by ``write_with_mlflow.py`` with the version of MLflow in its name, in a folder ``/tmp/golden``
that does not exist where tests run; ``tests/importers/mlflow/test_written_by_mlflow.py`` writes them again where these
versions can be installed. Databases were compacted with ``VACUUM``. MLflow 0.9 has Python 3.7, 1.x 3.8, 2.x 3.10, and
3.x 3.12 below it; 2.22 needs opentelemetry-sdk before 1.35 to end its traces.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

__all__ = ["FOLDER", "VERSIONS", "archive", "unpack"]

FOLDER = Path(__file__).parent
VERSIONS = sorted(path.name.removesuffix(".tar.xz") for path in FOLDER.glob("*.tar.xz"))
"""The sources by name: ``mlflow-3.12.0-mlruns``, ``mlflow-3.17.2-sqlite``."""


def archive(name: str) -> Path:
    """The archive of a source."""
    return FOLDER / f"{name}.tar.xz"


def unpack(name: str, folder: Path) -> Path:
    """Unpack a source into a folder; returns its path."""
    with tarfile.open(archive(name)) as packed:
        packed.extractall(folder, filter="data")
    return folder / ("mlruns" if name.endswith("-mlruns") else "mlflow.db")
