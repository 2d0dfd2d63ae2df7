"""What runs of the server are called here, also those that others name: parents, and runs in tags."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

from mltrack.environment import PARENT_TAG
from mltrack_sync.errors import NotMlflowError, RemoteRefusedError
from mltrack_sync.http.shapes import WRONG_SHAPE, mapping, pairs, shaped
from mltrack_sync.mlflow.api.capabilities import LOGGED_MODELS
from mltrack_sync.mlflow.plan.id_mapping import LINKED_PROMPTS, MODEL_HISTORY, local_number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mltrack_sync.mlflow.api.client import RemoteRun
    from mltrack_sync.mlflow.pull.session import PullSession

__all__ = ["RunIds"]


class RunIds:
    """Ids here of runs of the server, by theirs. Safe to use from many threads."""

    def __init__(self, session: PullSession) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._known: dict[str, str] = {}
        self._claimed: dict[str, str] = {}
        self._models = {
            entry.remote_id: model_id
            for model_id, entry in list(session.ledger.state.logged.items())
            if entry.remote_id
        }
        for run_id, entry in list(session.ledger.state.runs.items()):
            if entry.remote_id:
                self._known[entry.remote_id] = run_id
                self._claimed[run_id] = entry.remote_id

    def local(self, run: RemoteRun) -> str:
        """What a run of the server is called here."""
        found = self._session.origin.run_id(run.run_id, run.tags)
        with self._lock:
            return self._known.setdefault(run.run_id, found)

    def claim(self, run: RemoteRun) -> bool:
        """Whether this is the one run of the server that is that run here; a copy there may say the same."""
        run_id = self.local(run)
        with self._lock:
            return self._claimed.setdefault(run_id, run.run_id) == run.run_id

    def of(self, remote_id: str) -> str:
        """What a run is called here that something on the server names; by its id alone where it is gone there."""
        with self._lock:
            known = self._known.get(remote_id)
        if known is not None:
            return known
        try:
            return self.local(self._session.client.get_run(remote_id))
        except (RemoteRefusedError, NotMlflowError) as error:
            if not (isinstance(error, RemoteRefusedError) or error.unknown_call):
                raise
        found = self._session.origin.run_id(remote_id, {})
        with self._lock:
            return self._known.setdefault(remote_id, found)

    def model_of(self, remote_id: str, tags: Mapping[str, str] | None = None) -> str:
        """What a logged model of the server is called here; ``tags`` are its own, else the server is asked for them."""
        with self._lock:
            known = self._models.get(remote_id)
        if known is None:
            known = self._session.origin.model_id(remote_id, self._tags_of(remote_id) if tags is None else tags)
            with self._lock:
                known = self._models.setdefault(remote_id, known)
        return known

    def _tags_of(self, remote_id: str) -> dict[str, str]:
        """The tags of a logged model; none where it is gone."""
        with self._session.features.needing(LOGGED_MODELS):
            fields = self._session.read.logged_model(remote_id)
        with shaped(self._session.client.url, "logged-models", fields):
            return pairs(mapping((fields or {}).get("info")), "tags")

    def mapped_tags(self, run: RemoteRun) -> dict[str, str]:
        """The run's tags, with the runs that they name as they are called here."""
        tags = dict(run.tags)
        if tags.get(PARENT_TAG):
            tags[PARENT_TAG] = self.of(tags[PARENT_TAG])
        return self.mapped_texts(tags)

    def mapped_texts(self, texts: Mapping[str, str]) -> dict[str, str]:
        """Tags or metadata, with the models and the versions of prompts that lists in them name as they are here."""
        found = dict(texts)
        for key, renewed in ((MODEL_HISTORY, self._entry), (LINKED_PROMPTS, self._prompt)):
            if key in found:
                found[key] = _renewed(found[key], renewed)
        return found

    def _prompt(self, item: dict[str, Any]) -> dict[str, Any]:
        return {**item, "version": local_number(self._session.ledger.state, item["name"], str(item["version"]))}

    def _entry(self, item: dict[str, Any]) -> dict[str, Any]:
        found = {**item, "run_id": self.of(item["run_id"])} if item.get("run_id") else dict(item)
        with self._lock:
            model = self._models.get(str(item.get("model_uuid", "")))
        return found if model is None else {**found, "model_uuid": model}


def _renewed(text: str, renew: Callable[[dict[str, Any]], dict[str, Any]]) -> str:
    """A list, as JSON, of which each item is renewed; as it is where it is nothing that MLflow writes."""
    try:
        items = json.loads(text)
        changed: list[Any] = [renew(item) for item in items]
    except WRONG_SHAPE:
        return text
    return text if changed == items else json.dumps(changed)
