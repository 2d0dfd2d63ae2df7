"""The artifact repository of a folder that contains artifact folders: a whole store, or the folder of one run.

MLflow needs it in two cases: its server serves a whole store (``--artifacts-destination``), and for the artifact URI of
a run itself it removes the last name and reads that below the rest.
"""

from __future__ import annotations

import os
from typing import NamedTuple
from urllib.parse import quote

from mlflow.entities import FileInfo
from mlflow.store.artifact.artifact_repo import ArtifactRepository

from mltrack.disk.filesystem import relative_name
from mltrack.errors import UsageError
from mltrack.mlflow_plugin.artifacts.repository import StoreArtifacts
from mltrack.mlflow_plugin.errors import raises_mlflow
from mltrack.mlflow_plugin.uris import artifact_place

__all__ = ["EnclosingFolderArtifacts"]


class Inside(NamedTuple):
    """What a path means: the artifacts at ``before``, and ``path`` in them."""

    artifacts: StoreArtifacts
    before: str
    path: str


@raises_mlflow
class EnclosingFolderArtifacts(ArtifactRepository):
    """Artifacts by paths such as ``runs/<run_id>/artifacts/model``; nothing else in the folder is accessible."""

    # --- reading ---

    def list_artifacts(self, path: str | None = None) -> list[FileInfo]:
        """Files and folders directly below ``path``, as ``StoreArtifacts`` lists them."""
        inside = self._inside(path)
        found = inside.artifacts.list_artifacts(inside.path)
        return [FileInfo(f"{inside.before}/{info.path}", info.is_dir, info.file_size) for info in found]

    def _is_directory(self, artifact_path: str | None) -> bool:
        inside = self._inside(artifact_path)
        return inside.artifacts._is_directory(inside.path)

    def download_artifacts(self, artifact_path: str | None, dst_path: str | None = None) -> str:
        """Copy a file or folder to ``dst_path`` if given. Returns the path of the copy, or of the original."""
        if dst_path:
            return str(ArtifactRepository.download_artifacts(self, artifact_path, dst_path))
        inside = self._inside(artifact_path)
        return inside.artifacts.download_artifacts(inside.path)

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        inside = self._inside(remote_file_path)
        inside.artifacts._download_file(inside.path, local_path)

    # --- changing ---

    def log_artifact(self, local_file: str, artifact_path: str | None = None) -> None:
        """Copy a file into the folder ``artifact_path``, as ``StoreArtifacts`` does."""
        inside = self._inside(artifact_path)
        inside.artifacts.log_artifact(local_file, inside.path or None)

    def log_artifacts(self, local_dir: str, artifact_path: str | None = None) -> None:
        """Copy all files below a folder into the folder ``artifact_path``, as ``StoreArtifacts`` does."""
        inside = self._inside(artifact_path)
        inside.artifacts.log_artifacts(local_dir, inside.path or None)

    def delete_artifacts(self, artifact_path: str | None = None) -> None:
        """Remove a file, or a folder with its content; it need not exist."""
        inside = self._inside(artifact_path)
        inside.artifacts.delete_artifacts(inside.path)

    def _inside(self, path: str | None) -> Inside:
        """What a path means.

        Raises:
            UsageError, InvalidPathError: it is not in an artifact folder.
        """
        if not path:
            raise UsageError(f"{self.artifact_uri} contains more than artifacts", hint="name a run's or a model's")
        path = relative_name(os.path.normpath(path))
        root = self.artifact_uri.rstrip("/")
        inner = artifact_place(f"{root}/{quote(path)}").path
        before = path[: len(path) - len(inner)].rstrip("/")
        return Inside(StoreArtifacts(f"{root}/{quote(before)}", self.tracking_uri, self.registry_uri), before, inner)
