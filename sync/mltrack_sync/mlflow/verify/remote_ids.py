"""Ids and names that things of the store have on a remote, by its ledger."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from mltrack_sync.ledger.ledger import RunEntry
from mltrack_sync.mlflow.plan.id_mapping import map_tags
from mltrack_sync.mlflow.plan.origin import Origin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mltrack_sync.ledger.view import LedgerView
    from mltrack_sync.mlflow.api.client import MlflowClient

__all__ = ["RemoteIds"]


class RemoteIds:
    """Maps local ids; what has no remote id in the ledger keeps its own. Safe to use from many threads."""

    def __init__(self, client: MlflowClient, state: LedgerView) -> None:
        self._client = client
        self.state = state
        self.origin = Origin(client.url)
        self._names: dict[str, str] = {}  # of experiments on the remote, by id
        self._ids: dict[str, str | None] = {}  # the reverse
        self._lock = threading.Lock()

    def experiment_ids(self, local_id: str, name: str, entry: RunEntry | None = None) -> list[str]:
        """The ids of remote experiments that may hold something of this one."""
        known = self.state.experiments.get(local_id)
        ids = [entry.experiment_id if entry else "", known[0] if known is not None else "", self._id_of(name) or ""]
        return list(dict.fromkeys(place for place in ids if place))

    def experiment_name(self, experiment_id: str) -> str:
        """The name of a remote experiment, by its remote id.

        Raises:
            RemoteError: see mltrack_sync.errors.
        """
        with self._lock:
            if experiment_id not in self._names:
                self._names[experiment_id] = self._client.experiment_by_id(experiment_id).name
            return self._names[experiment_id]

    def run(self, run_id: str) -> str:
        """The remote id of a run."""
        entry = self.state.runs.get(run_id)
        return entry.remote_id if entry is not None and entry.remote_id else run_id

    def current(self, remote: str) -> str:
        """A text of the remote, with the ids of runs that were made again there replaced by the present ones.

        What the remote links to a run for good, such as the source of a logged model, keeps the former id.
        """
        for entry in self.state.runs.values():
            for former in entry.replaced:
                if former in remote:
                    remote = remote.replace(former, entry.remote_id)
        return remote

    def logged_model(self, model_id: str) -> str:
        """The remote id of a logged model."""
        entry = self.state.logged.get(model_id)
        return entry.remote_id if entry is not None and entry.remote_id else model_id

    def map_tags(self, tags: Mapping[str, str]) -> dict[str, str]:
        """Tags, mapped to those of the remote."""
        return map_tags(self.state, tags)

    def _id_of(self, name: str) -> str | None:
        with self._lock:
            if name not in self._ids:
                found = self._client.experiment_by_name(name) if name else None
                self._ids[name] = found.experiment_id if found is not None else None
            return self._ids[name]
