"""What the entry points name: builders that MLflow calls with a URI. This module imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack.mlflow_plugin import leaving

if TYPE_CHECKING:
    from mltrack.mlflow_plugin.artifacts import StoreArtifacts
    from mltrack.mlflow_plugin.projects import ProjectBackend
    from mltrack.mlflow_plugin.registry import RegistryStore
    from mltrack.mlflow_plugin.tracking import TrackingStore

__all__ = ["artifact_repository", "leaving", "registry_store", "tracking_store"]


def tracking_store(store_uri: str, artifact_uri: str | None = None) -> TrackingStore:
    """The tracking store for a URI such as ``mltrack:`` or ``mltrack:///path/.mltrack``; made where there is none.

    ``artifact_uri`` is what an MLflow server would use by default; runs keep their artifacts in the store instead.
    """
    from mltrack.mlflow_plugin.tracking import TrackingStore

    return TrackingStore(store_uri)


def registry_store(store_uri: str, tracking_uri: str | None = None) -> RegistryStore:
    """The model registry in the same store."""
    from mltrack.mlflow_plugin.registry import RegistryStore

    return RegistryStore(store_uri, tracking_uri)


def artifact_repository(
    artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None
) -> StoreArtifacts:
    """The artifacts of a run or of a logged model, by the URI that the tracking store gives for them."""
    from mltrack.mlflow_plugin.artifacts import StoreArtifacts

    return StoreArtifacts(artifact_uri, tracking_uri, registry_uri)


def project_backend() -> ProjectBackend:
    """Runs MLflow projects on this machine, recorded in full."""
    from mltrack.mlflow_plugin.projects import ProjectBackend

    return ProjectBackend()
