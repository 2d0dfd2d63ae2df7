"""The ids of logged models on the remote: found by their tag, or created once."""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from mltrack.entities import DELETED
from mltrack.environment import MODEL_ID_TAG, ORIGIN_MODEL_TAG
from mltrack.errors import NotFoundError
from mltrack_sync.errors import RemoteRefusedError
from mltrack_sync.mlflow.api.capabilities import LOGGED_MODELS
from mltrack_sync.mlflow.api.models import LoggedModelsClient
from mltrack_sync.mlflow.plan.id_mapping import map_tags
from mltrack_sync.mlflow.plan.pending_models import MODEL_VERSIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mltrack.entities import LoggedModel
    from mltrack_sync.ledger.models import LoggedEntry
    from mltrack_sync.mlflow.api.models import RemoteModel
    from mltrack_sync.mlflow.push.session import Session

__all__ = ["LoggedIdentities", "map_tags_of"]

FIRST_BYTES_MAX = 100_000
"""How many bytes of params and tags are sent when a model is created; the rest follows."""


def map_tags_of(session: Session, tags: Mapping[str, str]) -> dict[str, str]:
    """A logged model's tags, mapped to those of the remote."""
    found = map_tags(session.ledger.state, tags)
    found.pop(MODEL_VERSIONS, None)
    return found


class RunIds(Protocol):
    """The source of runs' and experiments' remote ids; see Identities."""

    def experiment_by_id(self, experiment_id: str) -> str:
        """The id of an experiment on the remote."""

    def remote_run(self, run_id: str) -> str:
        """The id of a run on the remote."""


class LoggedIdentities:
    """Gives logged models their remote ids, each determined once however many workers need it."""

    def __init__(self, session: Session, identities: RunIds) -> None:
        self._session = session
        self._identities = identities
        self._client = LoggedModelsClient(session.client.transport)
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)

    def find(self, model_id: str) -> LoggedEntry | None:
        """The ledger's entry; None when the remote does not have it."""
        entry = self._session.ledger.state.logged.get(model_id)
        return entry if entry is not None and entry.remote_id else None

    def model(self, model_id: str) -> LoggedEntry | None:
        """Ensure that the remote and the ledger have the model; None if it is deleted here, or not of this store.

        Raises:
            UnsupportedFeatureError: the remote has no logged models.
            RemoteRefusedError: the remote does not take this model.
        """
        known = self.find(model_id)
        if known is not None:
            return known
        try:
            model = self._session.store.logged_models.get(model_id)
        except NotFoundError:
            return None
        if model.lifecycle_stage == DELETED:
            return None
        with self._session.features.needing(LOGGED_MODELS):
            experiment_id = self._identities.experiment_by_id(model.experiment_id)
            run_id = self._identities.remote_run(model.source_run_id) if model.source_run_id else None
            with self._lock:
                lock = self._locks[model_id]
            with lock:
                return self.find(model_id) or self._made(model, experiment_id, run_id)

    def _made(self, model: LoggedModel, experiment_id: str, run_id: str | None) -> LoggedEntry:
        session = self._session

        def once(again: bool) -> RemoteModel:
            session.check()
            origin = session.origin.own_id(model.tags, ORIGIN_MODEL_TAG)
            found = self._client.find(experiment_id, model.model_id) or self._client.of_origin(origin)
            if found:  # created by a request whose answer was lost
                return min(found, key=lambda each: each.model_id)
            return self._create(model, experiment_id, run_id)

        remote = session.policy.settle(once)
        session.ledger.logged_model_created(model.model_id, remote.model_id, experiment_id, remote.uri)
        entry = session.ledger.state.logged[model.model_id]
        known = replace(entry, params=dict(remote.params), tags=dict(remote.tags))
        session.ledger.logged_model_changed(model.model_id, known)
        return entry

    def _create(self, model: LoggedModel, experiment_id: str, run_id: str | None) -> RemoteModel:
        params, tags = self._first(model)
        try:
            return self._client.create(experiment_id, model, run_id, params=params, tags=tags)
        except RemoteRefusedError as error:
            if error.status == 404 or len(params) + len(tags) == 1:
                raise
            bare = {MODEL_ID_TAG: model.model_id}  # the remote may refuse one of them: then each is sent by itself
            return self._client.create(experiment_id, model, run_id, params={}, tags=bare)

    def _first(self, model: LoggedModel) -> tuple[dict[str, str], dict[str, str]]:
        """The params and tags that are sent when the model is created."""
        limits = self._session.limits()
        size = 0
        params: dict[str, str] = {}
        tags = {MODEL_ID_TAG: model.model_id}
        for wanted, first, most in (
            ({**map_tags_of(self._session, model.tags), **tags}, tags, limits.batch_tags_max),
            (dict(model.params), params, limits.batch_params_max),
        ):
            for key, value in wanted.items():
                size += 6 * (len(key) + len(value))
                if len(first) < most and size < FIRST_BYTES_MAX:
                    first[key] = value
        return params, tags
