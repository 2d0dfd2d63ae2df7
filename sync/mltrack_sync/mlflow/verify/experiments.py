"""Experiments without runs, and the tags of all, compared with those on the remote; with a run its experiment is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack_sync.errors import RemoteRefusedError
from mltrack_sync.ledger.experiments import EXPERIMENT_TAG_KIND
from mltrack_sync.mlflow.plan.kinds import EXPERIMENT
from mltrack_sync.mlflow.plan.origin import ORIGIN_TAGS
from mltrack_sync.mlflow.plan.pending_experiments import removed_tags
from mltrack_sync.mlflow.verify.findings import NOTHING, Findings

if TYPE_CHECKING:
    from collections.abc import Collection

    from mltrack.store import Store
    from mltrack_sync.mlflow.api.client import MlflowClient, RemoteExperiment
    from mltrack_sync.mlflow.verify.remote_ids import RemoteIds

__all__ = ["ExperimentsVerify"]


class ExperimentsVerify:
    """Compares experiments, one at a time."""

    def __init__(self, store: Store, client: MlflowClient, ids: RemoteIds, waiting: Collection[str]) -> None:
        """``waiting`` are the ids of those that wait to be pushed."""
        self._experiments = store.workspace.experiments()
        self._removed = store.workspace.removed_tags()
        self._client = client
        self._ids = ids
        self._waiting = waiting

    def compare(self, experiment_id: str) -> Findings:
        """Whether the remote has it, with its tags.

        Raises:
            RemoteError: see mltrack_sync.errors.
        """
        local = self._experiments[experiment_id]
        findings = Findings(subject=f"experiment {local.name}", kind=EXPERIMENT, key=experiment_id)
        findings.waits = experiment_id in self._waiting
        found = self._found(experiment_id, local.name)
        if found is None or found.deleted:
            findings.differs("experiment", "present", NOTHING if found is None else "deleted")
            return findings
        removed = removed_tags(self._removed.get(experiment_id, ()), found.tags)
        keys = (local.tags.keys() - ORIGIN_TAGS) | set(removed)
        findings.texts("tag", local.tags, found.tags, keys, kind=EXPERIMENT_TAG_KIND, prefix=f"{experiment_id}/")
        return findings

    def _found(self, experiment_id: str, name: str) -> RemoteExperiment | None:
        for place in self._ids.experiment_ids(experiment_id, name):
            try:
                return self._client.experiment_by_id(place)
            except RemoteRefusedError as error:
                if not error.is_missing:
                    raise
        return None
