"""MLflow's artifact repository over the files of a run, a logged model or an experiment's traces in a store.

Files are copied in as everywhere in mltrack: streamed and hashed, complete under their name or not at all; then the run
or the model records that it has them. They are read in place.
"""

from __future__ import annotations

import os
import shutil
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow.entities import FileInfo
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST
from mlflow.store.artifact.artifact_repo import ArtifactRepository, verify_artifact_path

from mltrack.disk.artifact_files import Stored, check_place, files_below, is_temporary, store_stream
from mltrack.disk.filesystem import reading, relative_name, safe_join
from mltrack.disk.layout import Layout
from mltrack.errors import MltrackError, NotFoundError
from mltrack.mlflow_plugin import run_pool
from mltrack.mlflow_plugin.errors import as_mlflow, raises_mlflow
from mltrack.mlflow_plugin.uris import URI_CHARACTERS, artifact_place
from mltrack.storage.runs.unrecorded_files import LEFT_BEHIND, MODEL_FILE
from mltrack.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["StoreArtifacts"]

RECORDED_TOGETHER_MAX = 200
"""How many files of a folder the run records at a time."""


@raises_mlflow
class StoreArtifacts(ArtifactRepository):
    """The files below one artifact URI. A change survives ``kill -9`` once the call has returned."""

    def __init__(self, artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None) -> None:
        ArtifactRepository.__init__(self, artifact_uri, tracking_uri, registry_uri)
        try:
            self._place = artifact_place(artifact_uri)
            self._base = relative_name(self._place.path) if self._place.path else ""
        except MltrackError as error:
            raise as_mlflow(error) from error

    # --- reading ---

    def list_artifacts(self, path: str | None = None) -> list[FileInfo]:
        """Files, with their sizes in bytes, and folders directly below ``path``, by name; empty for a file."""
        folder = self._inside(path)
        if not folder.is_dir():
            return []
        found = []
        with os.scandir(folder) as entries:
            names = {entry.name: entry for entry in entries}
        for name, entry in names.items():
            if not _is_artifact(name, names):
                continue
            shown = os.path.normpath(os.path.join(path or "", name))
            is_folder = entry.is_dir()
            found.append(FileInfo(shown, is_folder, None if is_folder else entry.stat().st_size))
        return sorted(found, key=lambda info: info.path)

    def _is_directory(self, artifact_path: str | None) -> bool:
        return self._inside(artifact_path).is_dir()

    def get_local_path(self, artifact_path: str | None) -> str:
        """The path of a file or folder.

        Raises:
            MlflowException: there is no such artifact, or the path would leave the folder.
        """
        path = self._inside(artifact_path)
        if not path.exists():
            raise self._missing(artifact_path)
        return str(path)

    def download_artifacts(self, artifact_path: str | None, dst_path: str | None = None) -> str:
        """Copy a file or folder to ``dst_path`` if given. Returns the path of the copy, or of the original.

        A model in a store that can't be written to is always copied, as MLflow writes its name into the folder. So is
        anything in a store whose path has special characters of URIs, as MLflow's command line reads it as a URI.
        """
        if not dst_path and URI_CHARACTERS.isdisjoint(str(self._place.root)):
            path = self.get_local_path(artifact_path)
            if os.access(path, os.W_OK) or not Path(path, MODEL_FILE).exists():
                return path
        return str(ArtifactRepository.download_artifacts(self, artifact_path, dst_path))

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        shutil.copyfile(self.get_local_path(remote_file_path), local_path)

    # --- logging ---

    def log_artifact(self, local_file: str, artifact_path: str | None = None) -> None:
        """Copy a file into the folder ``artifact_path``; one of that name is replaced in one step.

        Raises:
            OSError: it can't be read, or not be stored completely; nothing was changed.
            MlflowException: the path would leave the folder; there is no such run or logged model.
        """
        verify_artifact_path(artifact_path)
        self._record([self._copy(local_file, self._name(artifact_path, os.path.basename(local_file)))])

    def log_artifacts(self, local_dir: str, artifact_path: str | None = None) -> None:
        """Copy all files below a folder into the folder ``artifact_path``. Links to folders are not followed.

        Raises:
            OSError, MlflowException: as log_artifact; the files before that one are logged.
        """
        verify_artifact_path(artifact_path)
        if not os.path.isdir(local_dir):
            raise NotADirectoryError(f"{local_dir} is not a folder")
        files = [(path, self._name(artifact_path, name)) for path, name in files_below(Path(local_dir), self._root)]
        for _, name in files:  # all of them before the first is copied
            check_place(self._root, name)
        while some := files[:RECORDED_TOGETHER_MAX]:
            del files[:RECORDED_TOGETHER_MAX]
            stored: list[Stored] = []
            try:
                for path, name in some:
                    stored.append(self._copy(path, name))
            finally:
                self._record(stored)

    def delete_artifacts(self, artifact_path: str | None = None) -> None:
        """Remove a file, a folder with its content, or everything; it need not exist."""
        target, name = self._inside(artifact_path), self._name(artifact_path)
        self._record_removed(path for path in self._known() if not name or path == name or path.startswith(f"{name}/"))
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)

    def _copy(self, path: str | os.PathLike[str], name: str) -> Stored:
        self._check_owner()
        with reading(path) as file:
            return store_stream(file, self._root, name)

    # --- the records of the run or model ---

    def _check_owner(self) -> None:
        place, layout = self._place, self._store.layout
        if place.run_id and not layout.run(place.run_id).events.is_dir():
            raise NotFoundError(f"no run {place.run_id} in {place.root}", hint="see: mltrack ls")
        if place.model_id and not layout.model(place.model_id).path.is_dir():
            raise NotFoundError(f"no logged model {place.model_id} in {place.root}")

    def _record(self, stored: Iterable[Stored]) -> None:
        files = [(one.path, one.size, one.sha256) for one in stored]
        if not files:
            return
        if self._place.run_id:
            events = [{"type": "artifact", "path": path, "size": size, "sha256": sha} for path, size, sha in files]
            run_pool.of(self._store).emit(self._place.run_id, *events, deleted_too=True)
        elif self._place.model_id:
            self._store.logged_models.add_artifacts(self._place.model_id, files)

    def _known(self) -> dict[str, str]:
        """The files that the run or the model has recorded, each with the remote that has it instead, or ""."""
        try:
            if self._place.run_id:
                artifacts = self._store.run(self._place.run_id).artifacts
            elif self._place.model_id:
                artifacts = self._store.logged_models.artifacts(self._place.model_id)
            else:
                artifacts = []
        except NotFoundError:
            artifacts = []
        return {artifact.path: artifact.remote for artifact in artifacts}

    def _record_removed(self, paths: Iterable[str]) -> None:
        """Record it before the files are removed: an artifact whose file is missing would be damage."""
        gone = list(paths)
        if not gone:
            return
        if self._place.run_id:
            events = [{"type": "artifact", "path": path, "deleted": True} for path in gone]
            run_pool.of(self._store).emit(self._place.run_id, *events, deleted_too=True)
        elif self._place.model_id:
            self._store.logged_models.remove_artifacts(self._place.model_id, gone)

    # --- places ---

    @cached_property
    def _store(self) -> Store:
        return Store(Layout.open(self._place.root))

    @property
    def _root(self) -> Path:
        """The artifact folder of the run, the model or the experiment."""
        place, layout = self._place, self._store.layout
        if place.run_id:
            return layout.run(place.run_id).artifacts
        if place.model_id:
            return layout.model(place.model_id).artifacts
        return layout.root / "artifacts" / place.experiment_id

    def _name(self, *parts: str | None) -> str:
        """The name in the artifact folder of a path below the URI; "" for the folder itself.

        Raises:
            InvalidPathError: it would leave the URI's folder.
        """
        below = [relative_name(part) for part in parts if part and part != "."]
        return "/".join(part for part in (self._base, *below) if part)

    def _inside(self, path: str | None) -> Path:
        name = self._name(os.path.normpath(path) if path else None)
        return safe_join(self._root, name) if name else self._root

    def _missing(self, path: str | None) -> MlflowException:
        remote = self._known().get(self._name(path))
        where = f"; it was removed from the store, the remote {remote!r} has it" if remote else ""
        return MlflowException(f"No such artifact: '{path or ''}'{where}", error_code=RESOURCE_DOES_NOT_EXIST)


def _is_artifact(name: str, siblings: Iterable[str]) -> bool:
    return not is_temporary(name) and not (name == LEFT_BEHIND and MODEL_FILE in siblings)
