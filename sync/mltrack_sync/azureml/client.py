"""MLflow's REST calls as an Azure ML workspace takes them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mltrack.environment import RUN_ID_TAG
from mltrack_sync.azureml.scope import SCHEME
from mltrack_sync.mlflow.api.client import MlflowClient, RemoteExperiment, RemoteRun

if TYPE_CHECKING:
    from mltrack_sync.http.transport import Transport
    from mltrack_sync.mlflow.api.own_place import OwnPlace

__all__ = ["AzureClient"]

PAGE_ROWS = 200
RUNS_KEPT = 64
"""The files of so many runs are kept at most."""


class AzureClient(MlflowClient):
    """What differs: names with "/" are not found by name, and filters can do less."""

    run_filter = "tags." + RUN_ID_TAG + " = '{}'"
    searches_all_versions = False
    lists_sizes = False

    def __init__(self, transport: Transport) -> None:
        super().__init__(transport)
        self._lock = threading.Lock()
        self._listed: dict[str, tuple[str, ...]] = {}

    def list_artifacts(self, remote_id: str, folder: str) -> dict[str, int]:
        """Files and folders in one folder of a run: -1 for a folder, 0 for a file, as run history knows no sizes.

        Run history lists all files of a run at once. They are kept until the top folder is asked for again.
        """
        with self._lock:
            paths = self._listed.get(remote_id) if folder else None
        if paths is None:
            paths = self._paths(remote_id)
            with self._lock:
                if len(self._listed) >= RUNS_KEPT:
                    self._listed.clear()
                self._listed[remote_id] = paths
        start, found = f"{folder}/" if folder else "", dict[str, int]()
        for path in paths:
            if path.startswith(start) and path != start:
                name, slash, _ = path.removeprefix(start).partition("/")
                found[f"{start}{name}"] = -1 if slash else 0
        return found

    def _paths(self, remote_id: str) -> tuple[str, ...]:
        from mltrack_sync.azureml.artifacts import RunHistory

        uri = self.get_run(remote_id).artifact_uri
        if urlsplit(uri).scheme != SCHEME:
            return tuple(path for path, size in super().list_artifacts(remote_id, "").items() if size >= 0)
        return RunHistory(self.transport, uri).paths()

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
