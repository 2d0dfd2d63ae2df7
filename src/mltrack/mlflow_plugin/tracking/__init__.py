"""MLflow's tracking store on an mltrack store: one class mixed from those for each kind of entity."""

from __future__ import annotations

from mlflow.store.tracking.abstract_store import AbstractStore

from mltrack.mlflow_plugin.tracking.assessments import Assessments
from mltrack.mlflow_plugin.tracking.database import DatabaseMethods
from mltrack.mlflow_plugin.tracking.experiments import Experiments
from mltrack.mlflow_plugin.tracking.logged_models import LoggedModels
from mltrack.mlflow_plugin.tracking.metrics import MetricHistories
from mltrack.mlflow_plugin.tracking.newer import with_newer_methods
from mltrack.mlflow_plugin.tracking.run_data import RunData
from mltrack.mlflow_plugin.tracking.runs import Runs
from mltrack.mlflow_plugin.tracking.trace_metrics import TraceMetrics
from mltrack.mlflow_plugin.tracking.trace_search import TraceSearch
from mltrack.mlflow_plugin.tracking.traces import Traces
from mltrack.mlflow_plugin.tracking.unsupported import Unsupported
from mltrack.mlflow_plugin.uris import store_uri

__all__ = ["TrackingStore"]


class TrackingStore(
    Experiments,
    Runs,
    RunData,
    MetricHistories,
    LoggedModels,
    Traces,
    TraceSearch,
    TraceMetrics,
    Assessments,
    DatabaseMethods,
    Unsupported,
    AbstractStore,
):
    """Everything MLflow tracks, in one store."""

    def __init__(self, uri: str) -> None:
        """Open the store, or create it."""
        self._open(uri)
        AbstractStore.__init__(self)

    @property
    def absolute_uri(self) -> str:
        """The URI of the store, valid in any working folder."""
        return store_uri(self._store.layout.root.absolute())


with_newer_methods(TrackingStore, AbstractStore)
