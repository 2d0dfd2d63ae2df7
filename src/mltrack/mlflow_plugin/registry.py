"""MLflow's model registry on the store's own registry."""

from __future__ import annotations

from mlflow.store.model_registry.abstract_store import AbstractStore

from mltrack.mlflow_plugin.uris import open_store

__all__ = ["RegistryStore"]


class RegistryStore(AbstractStore):  # type: ignore[misc]
    """The registered models of one store."""

    def __init__(self, store_uri: str, tracking_uri: str | None = None) -> None:
        super().__init__(store_uri, tracking_uri)
        self._store = open_store(store_uri)
