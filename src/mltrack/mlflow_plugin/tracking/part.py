"""What all parts of the tracking store share: the store it stands on, and the runs it has open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mltrack.errors import MltrackError
from mltrack.mlflow_plugin import writers
from mltrack.mlflow_plugin.errors import as_mlflow
from mltrack.mlflow_plugin.tracking.run_cache import RunCache
from mltrack.mlflow_plugin.uris import open_store

if TYPE_CHECKING:
    from mltrack.mlflow_plugin.writers import Writers
    from mltrack.reading import Store

__all__ = ["Part"]


class Part:
    """One part of the tracking store; the parts are mixed into one class."""

    _store: Store
    _writers: Writers
    _runs: RunCache

    def _open(self, store_uri: str) -> None:
        try:
            self._store = open_store(store_uri)
        except MltrackError as error:
            raise as_mlflow(error) from error
        self._writers = writers.of(self._store)
        self._runs = RunCache(self._store.layout)

    def _log_model_metrics(self, run_id: str, experiment_id: str, metrics: list[Any]) -> None:
        """Log those metrics that name a logged model to it, too; the part for logged models does it."""
        raise NotImplementedError
