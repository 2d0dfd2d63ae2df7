"""MLflow's repository of local folders, which recognizes the artifact folders of mltrack's stores by their paths.

Runs of a store have plain paths as artifact URIs, so that scripts can list them and write to them. What MLflow itself
logs to such a path goes through the store's own repository anyway: complete or not at all, and recorded at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlflow.store.artifact import artifact_repository_registry as repositories
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository as MlflowLocalRepository

from mltrack.errors import UsageError
from mltrack.mlflow_plugin.artifacts.repository import StoreArtifacts
from mltrack.mlflow_plugin.uris import artifact_place, local_uri

__all__ = ["LocalArtifactRepository", "register_local_repository"]


class LocalArtifactRepository(MlflowLocalRepository):
    """A local folder; for one in a store, the store's repository instead."""

    def __new__(cls, artifact_uri: str, *args: Any, **kwargs: Any) -> Any:
        """Choose the repository."""
        uri = local_uri(artifact_uri)
        try:
            place = artifact_place(uri)
        except UsageError:
            return super().__new__(cls)
        if not (Path(place.root) / "store.json").is_file():
            return super().__new__(cls)
        return StoreArtifacts(uri, *args, **kwargs)


def register_local_repository() -> None:
    """Have MLflow use it in this process."""
    registry = repositories._artifact_repository_registry
    for scheme in ("", "file"):
        if registry.get_registered_artifact_repositories().get(scheme) is MlflowLocalRepository:
            registry.register(scheme, LocalArtifactRepository)
