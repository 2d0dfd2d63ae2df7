"""MLflow's tracking store on an mltrack store, put together from one part for each kind of entity."""

from __future__ import annotations

from mlflow.store.tracking.abstract_store import AbstractStore

from mltrack.mlflow_plugin.tracking.assessments import Assessments
from mltrack.mlflow_plugin.tracking.database import InTables
from mltrack.mlflow_plugin.tracking.experiments import Experiments
from mltrack.mlflow_plugin.tracking.logged_models import LoggedModels
from mltrack.mlflow_plugin.tracking.metrics import MetricHistories
from mltrack.mlflow_plugin.tracking.run_data import RunEntries
from mltrack.mlflow_plugin.tracking.runs import Runs
from mltrack.mlflow_plugin.tracking.trace_metrics import TraceMetrics
from mltrack.mlflow_plugin.tracking.trace_search import TraceSearch
from mltrack.mlflow_plugin.tracking.traces import Traces
from mltrack.mlflow_plugin.tracking.unsupported import LeftOut
from mltrack.mlflow_plugin.uris import store_uri

__all__ = ["TrackingStore"]


class TrackingStore(
    Experiments,
    Runs,
    RunEntries,
    MetricHistories,
    LoggedModels,
    Traces,
    TraceSearch,
    TraceMetrics,
    Assessments,
    InTables,
    LeftOut,
    AbstractStore,
):
    """Everything MLflow tracks, in one store."""

    def __init__(self, uri: str) -> None:
        """Open the store, or make it."""
        self._open(uri)
        AbstractStore.__init__(self)

    @property
    def absolute_uri(self) -> str:
        """The URI of the store, good in any working folder."""
        return store_uri(self._store.layout.root.absolute())
