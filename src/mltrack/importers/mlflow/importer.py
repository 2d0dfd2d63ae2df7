"""MLflow's folder and database as sources. Nothing of MLflow's is imported."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from mltrack.importers.source import SourceError

if TYPE_CHECKING:
    from pathlib import Path

    from mltrack.importers.findings import Findings
    from mltrack.importers.source import Source

__all__ = ["DatabaseImporter", "MlrunsImporter"]

HEAD_BYTES = 4_096
SQLITE = b"SQLite format 3\0"


class MlrunsImporter:
    """The folder ``mlruns`` of MLflow's FileStore."""

    name = "mlruns"
    title = "MLflow's folder mlruns"

    def recognizes(self, path: Path) -> bool:
        """Whether it is one, or has one."""
        return _mlruns_of(path) is not None

    def open(self, path: Path, findings: Findings) -> Source:
        """Open it.

        Raises:
            SourceError: it is not one.
        """
        from mltrack.importers.mlflow.artifacts import SERVED_FOLDERS
        from mltrack.importers.mlflow.mlruns import MlrunsSource

        root = _mlruns_of(path)
        if root is None:
            raise SourceError("no folder in it has the meta.yaml of an experiment")
        findings.reads(root, [path, *(root.parent / name for name in SERVED_FOLDERS)])
        return MlrunsSource(root, findings)


def _mlruns_of(path: Path) -> Path | None:
    return next((place for place in (path, path / "mlruns") if _has_experiment(place)), None)


def _has_experiment(path: Path) -> bool:
    with contextlib.suppress(OSError):
        for parent in (path, path / ".trash"):
            for folder in sorted(parent.iterdir()) if parent.is_dir() else ():
                meta = folder / "meta.yaml"
                if meta.is_file():
                    with meta.open("rb") as file:
                        head = file.read(HEAD_BYTES)
                    if b"experiment_id:" in head and b"run_uuid:" not in head:
                        return True
    return False


class DatabaseImporter:
    """MLflow's SQLite database, such as ``mlflow.db``, or a folder that has one of this name."""

    name = "mlflow-db"
    title = "MLflow's SQLite database"

    def recognizes(self, path: Path) -> bool:
        """Whether it is one, or has one."""
        from mltrack.importers.database import Database

        path = _database_of(path)
        try:
            if not path.is_file():
                return False
            with path.open("rb") as file:
                if file.read(len(SQLITE)) != SQLITE:
                    return False
            with contextlib.closing(Database(path)) as database:
                return database.has("runs", "run_uuid") and database.has("experiments", "lifecycle_stage")
        except (OSError, SourceError):
            return False

    def open(self, path: Path, findings: Findings) -> Source:
        """Open it.

        Raises:
            SourceError: it is not one.
        """
        from mltrack.importers.mlflow.artifacts import SERVED_FOLDERS
        from mltrack.importers.mlflow.database_source import DatabaseSource

        database = _database_of(path)
        findings.reads(path, [database.parent / name for name in SERVED_FOLDERS])
        return DatabaseSource(database, findings)


def _database_of(path: Path) -> Path:
    return path / "mlflow.db" if path.is_dir() else path
