"""Which experiment of the store a server's experiment is: found by its id or its name, or made with its tags."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from mltrack.entities import DEFAULT_EXPERIMENT_ID, DEFAULT_EXPERIMENT_NAME, DELETED
from mltrack.environment import EXPERIMENT_TAG, ORIGIN_EXPERIMENT_TAG, ORIGIN_TAG
from mltrack.errors import AlreadyExistsError
from mltrack_sync.ledger.experiments import ExperimentEntry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mltrack.entities import Experiment
    from mltrack_sync.mlflow.api.client import RemoteExperiment
    from mltrack_sync.mlflow.pull.session import PullSession

__all__ = ["Experiments"]

NS_PER_MS = 1_000_000
TIME_MS_MAX = 1 << 43


class Experiments:
    """The server's experiments and what they are here; each is made at most once. Safe to use from many threads."""

    def __init__(self, session: PullSession, known: Iterable[RemoteExperiment] = ()) -> None:
        self._session = session
        self._remote = {one.experiment_id: one for one in known}
        self._local: dict[str, Experiment] = {}
        self._lock = threading.Lock()

    def local(self, remote_id: str) -> Experiment:
        """The experiment here, made if needed, with the tags that it has on the server and not here.

        Raises:
            RemoteRefusedError: the server does not have it.
            UsageError: it has no name that an experiment can have.
        """
        with self._lock:
            if remote_id not in self._local:
                self._local[remote_id] = self._settle(self._remote_one(remote_id))
            return self._local[remote_id]

    def is_known(self, remote: RemoteExperiment) -> bool:
        """Whether it is here, or was looked for: something in it was pulled, now or before."""
        with self._lock:
            if remote.experiment_id in self._local:
                return True
        entries = list(self._session.ledger.state.experiments.values())
        return any(entry.remote == remote.experiment_id for entry in entries)

    def _remote_one(self, remote_id: str) -> RemoteExperiment:
        found = self._remote.get(remote_id)
        if found is None:
            found = self._remote[remote_id] = self._session.client.experiment_by_id(remote_id)
        return found

    def _settle(self, remote: RemoteExperiment) -> Experiment:
        ledger, workspace = self._session.ledger, self._session.store.workspace
        tags = {key: value for key, value in remote.tags.items() if key != EXPERIMENT_TAG}
        local = self._find(remote)
        if local is None:
            local = self._make(remote, tags)
            self._session.count(experiments=1)
        for key in tags.keys() - local.tags.keys():
            local = workspace.set_tag(local.experiment_id, key, tags[key])
        known = ledger.state.experiments.get(local.experiment_id)
        if known is None or known.remote != remote.experiment_id:
            entry = ExperimentEntry(remote.experiment_id, dict(remote.tags), remote.created)
            ledger.experiment(local.experiment_id, entry)
        return local

    def _find(self, remote: RemoteExperiment) -> Experiment | None:
        workspace = self._session.store.workspace
        if remote.name == DEFAULT_EXPERIMENT_NAME and remote.experiment_id == DEFAULT_EXPERIMENT_ID:
            return workspace.get(DEFAULT_EXPERIMENT_ID)
        for local_id, entry in list(self._session.ledger.state.experiments.items()):
            same_one = entry.remote == remote.experiment_id and entry.created in (0, remote.created)
            if same_one and local_id in workspace.experiments():
                return workspace.get(local_id)
        own = workspace.experiments().get(remote.tags.get(EXPERIMENT_TAG, ""))
        return own or workspace.by_name(remote.name)

    def _make(self, remote: RemoteExperiment, tags: dict[str, str]) -> Experiment:
        session = self._session
        created = remote.created * NS_PER_MS if 0 < remote.created < TIME_MS_MAX else 0
        experiment_id = session.origin.experiment_id(remote.name, remote.tags)
        workspace = session.store.workspace
        if EXPERIMENT_TAG not in remote.tags:
            tags = {ORIGIN_TAG: session.origin.url, ORIGIN_EXPERIMENT_TAG: remote.experiment_id, **tags}
        try:
            made = workspace.create(remote.name, tags, experiment_id=experiment_id, created=created)
        except AlreadyExistsError:
            if workspace.by_name(remote.name) is not None:  # another process was faster
                return workspace.get_or_create(remote.name)
            made = workspace.create(remote.name, tags, created=created)  # another one has that id
        return workspace.set_stage(made.experiment_id, DELETED) if remote.deleted else made
