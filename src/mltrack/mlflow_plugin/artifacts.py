"""MLflow's artifact repository over the artifacts of a run, or of a logged model, in a store."""

from __future__ import annotations

from mlflow.store.artifact.artifact_repo import ArtifactRepository

from mltrack.mlflow_plugin.uris import artifact_place

__all__ = ["StoreArtifacts"]


class StoreArtifacts(ArtifactRepository):  # type: ignore[misc]
    """The files below one artifact URI."""

    def __init__(self, artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None) -> None:
        super().__init__(artifact_uri, tracking_uri, registry_uri)
        self._place = artifact_place(artifact_uri)
