"""MLflow's REST calls as an Azure ML workspace takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mltrack.environment import RUN_ID_TAG
from mltrack_sync.azureml.scope import SCHEME
from mltrack_sync.mlflow.api.client import MlflowClient, RemoteExperiment, RemoteRun

if TYPE_CHECKING:
    from mltrack_sync.mlflow.api.own_place import OwnPlace

__all__ = ["AzureClient"]

PAGE_ROWS = 200


class AzureClient(MlflowClient):
    """What differs: names with "/" are not found by name, and filters can do less."""

    run_filter = "tags." + RUN_ID_TAG + " = '{}'"

    def own_place(self, uri: str) -> OwnPlace | None:
        """Run history's blob store, for what the workspace keeps itself."""
        if urlsplit(uri).scheme != SCHEME:
            return None
        from mltrack_sync.azureml.artifacts import AzurePlace

        return AzurePlace(self.transport, uri)

    def experiment_by_name(self, name: str) -> RemoteExperiment | None:
        """The experiment of that name, deleted or not; where "/" is in it, all are looked through."""
        found = super().experiment_by_name(name)
        if found is None and "/" in name:
            return next((one for one in self.experiments(PAGE_ROWS) if one.name == name), None)
        return found

    def experiment_by_tag(self, key: str, value: str) -> RemoteExperiment | None:
        """None: Azure has no such search; nor can experiments be renamed."""
        return None

    def find_runs(self, experiment_id: str, run_id: str) -> list[RemoteRun]:
        """The runs, deleted ones too, that carry our run's tag."""
        return [run for run in super().find_runs(experiment_id, run_id) if run.tags.get(RUN_ID_TAG, run_id) == run_id]
