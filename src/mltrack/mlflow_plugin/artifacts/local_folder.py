"""MLflow's repositories of local folders and of a server's files, which recognize those of mltrack's stores.

Runs of a store have plain paths as artifact URIs, so that scripts can list them and write to them. What MLflow itself
logs to such a path goes through the store's own repository anyway: complete or not at all, and recorded at once. In a
server that serves the store's files they have the URIs of its clients, which the server itself can't ask for: what it
logs on its own, such as the demo's traces, goes to the store, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlflow.store.artifact import artifact_repository_registry as repositories
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository as MlflowLocalRepository
from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository

from mltrack.errors import UsageError
from mltrack.mlflow_plugin.artifacts.repository import StoreArtifacts
from mltrack.mlflow_plugin.uris import SERVED_SCHEME, artifact_place, local_uri

__all__ = ["LocalArtifactRepository", "ServedArtifactRepository", "register_local_repository"]


class LocalArtifactRepository(MlflowLocalRepository):
    """A local folder; for one in a store, the store's repository instead."""

    def __new__(cls, artifact_uri: str, *args: Any, **kwargs: Any) -> Any:
        """Choose the repository."""
        uri = _in_store(artifact_uri)
        return super().__new__(cls) if uri is None else StoreArtifacts(uri, *args, **kwargs)


class ServedArtifactRepository(MlflowArtifactsRepository):
    """The files of a server; in the server of a store, the store's repository instead."""

    def __new__(cls, artifact_uri: str, *args: Any, **kwargs: Any) -> Any:
        """Choose the repository."""
        uri = _in_store(artifact_uri)
        return super().__new__(cls) if uri is None else StoreArtifacts(uri, *args, **kwargs)


def _in_store(artifact_uri: str) -> str | None:
    """The store's own URI of an artifact folder of a store; None if it is another one."""
    uri = local_uri(artifact_uri)
    try:
        place = artifact_place(uri)
    except UsageError:
        return None
    return uri if (Path(place.root) / "store.json").is_file() else None


def register_local_repository() -> None:
    """Have MLflow use them in this process."""
    registry = repositories._artifact_repository_registry
    for scheme, theirs, ours in (
        ("", MlflowLocalRepository, LocalArtifactRepository),
        ("file", MlflowLocalRepository, LocalArtifactRepository),
        (SERVED_SCHEME, MlflowArtifactsRepository, ServedArtifactRepository),
    ):
        if registry.get_registered_artifact_repositories().get(scheme) is theirs:
            registry.register(scheme, ours)
