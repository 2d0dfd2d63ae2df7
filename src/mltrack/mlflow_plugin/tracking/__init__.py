"""MLflow's tracking store on an mltrack store, put together from one part for each kind of entity."""

from __future__ import annotations

from mlflow.store.tracking.abstract_store import AbstractStore

from mltrack.mlflow_plugin.tracking.assessments import Assessments
from mltrack.mlflow_plugin.tracking.entries import RunEntries
from mltrack.mlflow_plugin.tracking.experiments import Experiments
from mltrack.mlflow_plugin.tracking.left_out import LeftOut
from mltrack.mlflow_plugin.tracking.logged_models import LoggedModels
from mltrack.mlflow_plugin.tracking.metrics import MetricHistories
from mltrack.mlflow_plugin.tracking.runs import Runs
from mltrack.mlflow_plugin.tracking.trace_metrics import TraceMetrics
from mltrack.mlflow_plugin.tracking.trace_search import TraceSearch
from mltrack.mlflow_plugin.tracking.traces import Traces

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
    LeftOut,
    AbstractStore,
):
    """Everything MLflow tracks, in one store."""

    def __init__(self, store_uri: str) -> None:
        """Open the store, or make it."""
        self._open(store_uri)
        AbstractStore.__init__(self)
