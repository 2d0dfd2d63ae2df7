"""The functions named by the entry points, which MLflow calls with a URI. This module imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack.mlflow_plugin import exit_hook

if TYPE_CHECKING:
    from mltrack.mlflow_plugin.artifacts.enclosing_folder import EnclosingFolderArtifacts
    from mltrack.mlflow_plugin.artifacts.repository import StoreArtifacts
    from mltrack.mlflow_plugin.projects import ProjectBackend
    from mltrack.mlflow_plugin.registry.store import RegistryStore
    from mltrack.mlflow_plugin.tracking import TrackingStore

__all__ = ["artifact_repository", "exit_hook", "registry_store", "tracking_store"]

_folders: dict[str, str] = {}  # the folder of a relative URI at its first use: programs change their working folder


def tracking_store(store_uri: str, artifact_uri: str | None = None) -> TrackingStore:
    """The tracking store for a URI such as ``mltrack:`` or ``mltrack:///path/.mltrack``; created if it does not exist.

    ``artifact_uri`` is an MLflow server's default; runs keep their artifacts in the store instead.
    """
    from mlflow.tracking._model_registry.utils import _get_store_registry

    from mltrack.mlflow_plugin.tracking import TrackingStore

    _get_store_registry()  # MLflow fills it at its first use, which is not safe for threads
    store = TrackingStore(store_uri)
    _folders[store_uri] = store.absolute_uri
    return store


def registry_store(store_uri: str, tracking_uri: str | None = None) -> RegistryStore:
    """The model registry in the same store, even after the working folder was changed."""
    from mltrack.mlflow_plugin.registry.store import RegistryStore

    return RegistryStore(_folders.get(store_uri, store_uri), _folders.get(tracking_uri or "", tracking_uri))


def artifact_repository(
    artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None
) -> StoreArtifacts | EnclosingFolderArtifacts:
    """The artifacts of a run or of a logged model, by its artifact URI; or those below a folder."""
    from mltrack.mlflow_plugin.artifacts.enclosing_folder import EnclosingFolderArtifacts
    from mltrack.mlflow_plugin.artifacts.repository import StoreArtifacts
    from mltrack.mlflow_plugin.uris import is_enclosing

    if is_enclosing(artifact_uri):
        return EnclosingFolderArtifacts(artifact_uri, tracking_uri, registry_uri)
    return StoreArtifacts(artifact_uri, tracking_uri, registry_uri)


def project_backend() -> ProjectBackend:
    """The backend that runs MLflow projects on this machine and records them as ``mltrack run`` does."""
    from mltrack.mlflow_plugin.projects import ProjectBackend

    return ProjectBackend()
