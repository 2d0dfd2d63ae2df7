"""Logged models of the server brought into the store: params, tags, metrics, files, then their status."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from mltrack.entities import LOGGED_MODEL_STATUSES, ModelMetric
from mltrack.environment import MODEL_ID_TAG, ORIGIN_MODEL_TAG, ORIGIN_TAG
from mltrack.storage.models.state import identity
from mltrack_sync.http.shapes import identifier, integer, mapping, numbers, pairs, rows, shaped, text
from mltrack_sync.ledger.models import LoggedEntry
from mltrack_sync.ledger.pulled import FAILED
from mltrack_sync.mlflow.plan.batches import NS_PER_MS
from mltrack_sync.mlflow.plan.mlmodel import MLMODEL
from mltrack_sync.mlflow.plan.origin import remote_tags
from mltrack_sync.mlflow.pull.files import FilesPull, Place

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mltrack.disk.artifact_files import Stored
    from mltrack.entities import LoggedModel
    from mltrack_sync.http.shapes import Fields
    from mltrack_sync.ledger.pulled import PulledEntry
    from mltrack_sync.mlflow.pull.experiments import Experiments
    from mltrack_sync.mlflow.pull.run_ids import RunIds
    from mltrack_sync.mlflow.pull.session import PullSession

__all__ = ["LoggedModelPull", "model_fingerprint"]

READY = "READY"
TIME_MS_MAX = 1 << 43


def model_fingerprint(fields: Fields) -> str:
    """Changes with whatever the server says of a logged model where it lists them."""
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode("ascii")).hexdigest()[:32]


class LoggedModelPull:
    """Brings one logged model. Used once, by one thread."""

    def __init__(self, session: PullSession, ids: RunIds, experiments: Experiments, fields: Fields) -> None:
        """``fields`` are the model as the server lists it.

        Raises:
            NotMlflowError: they have another shape.
        """
        self._session = session
        self._ids = ids
        self._experiments = experiments
        self._fields = fields
        with shaped(session.client.url, "logged-models", fields):
            info, data = mapping(fields["info"]), mapping(fields.get("data"))
            self._remote_id = identifier(info["model_id"])
            self._info = info
            self._tags, self._params = pairs(info, "tags"), pairs(data, "params")
            self._metrics = [_metric(row) for row in rows(data, "metrics")]
            self._status = _status(info.get("status"))
            self._experiment, self._uri = identifier(info["experiment_id"]), text(info.get("artifact_uri"))
            self._source_run = text(info.get("source_run_id"))
        self.model_id = ids.model_of(self._remote_id, self._tags)

    def pull(self) -> None:
        """Bring what is new.

        Raises:
            UnsupportedFeatureError: the server has no logged models.
            RemoteError: see mltrack_sync.errors.
            StoreError, UsageError: it can't be stored.
        """
        session, models = self._session, self._session.store.logged_models
        known = session.ledger.state.logged.get(self.model_id) or LoggedEntry()
        if known.remote_id != self._remote_id:
            session.ledger.logged_model_created(self.model_id, self._remote_id, self._experiment, self._uri)
        position = models.get(self.model_id).position if models.has(self.model_id) else 0
        if not position:
            self._create()
        before = models.get(self.model_id)
        self._add(before, known)
        entry = session.ledger.pulled(self._remote_id)
        files = FilesPull(session, self._place())
        is_whole = entry.ended and entry.files is None and models.get(self.model_id).status == READY
        if not is_whole:
            files.pull({artifact.path: artifact.size for artifact in before.artifacts})
        model = models.get(self.model_id)
        if not files.failed and self._status != model.status and model.status in ("PENDING", known.status):
            models.set_status(self.model_id, self._status)
        self._settle(known, entry, files)
        session.count(logged_models=int(models.get(self.model_id).position > position))

    def _create(self) -> None:
        created = integer(self._info.get("creation_timestamp_ms") or 0)
        self._session.store.logged_models.create(
            self._experiments.local(self._experiment).experiment_id,
            text(self._info.get("name")) or None,
            model_type=text(self._info.get("model_type")) or None,
            source_run_id=self._ids.of(self._source_run) if self._source_run else None,
            tags=self._origin_tags(),
            model_id=self.model_id,
            created=created * NS_PER_MS if 0 < created < TIME_MS_MAX else 0,
        )

    def _origin_tags(self) -> dict[str, str]:
        """Where it came from, unless mltrack pushed it there."""
        if self._tags.get(MODEL_ID_TAG) == self.model_id:
            return {}
        return {ORIGIN_TAG: self._session.origin.url, ORIGIN_MODEL_TAG: self._remote_id}

    def _add(self, local: LoggedModel, known: LoggedEntry) -> None:
        """Params, tags and metrics that it does not have; tags changed on the server and not here."""
        models = self._session.store.logged_models
        params = {key: value for key, value in self._params.items() if key not in local.params}
        if params:
            models.log_params(self.model_id, params)
        tags: dict[str, str | None] = {}
        remote = {key: value for key, value in self._tags.items() if key != MODEL_ID_TAG}
        for key, value in remote.items():
            here = local.tags.get(key)
            if here != value and here == known.tags.get(key):  # as it was when last seen, or on neither side
                tags[key] = value
        for key in known.tags.keys() - remote.keys() - {MODEL_ID_TAG}:
            if local.tags.get(key) == known.tags[key]:
                tags[key] = None
        if tags:
            models.set_tags(self.model_id, tags)
        held = {identity(metric) for metric in local.metrics}
        metrics = [replace(metric, run_id=self._ids.of(metric.run_id)) for metric in self._metrics]
        new = [metric for metric in metrics if identity(metric) not in held]
        if new:
            models.log_metrics(self.model_id, new)

    def _place(self) -> Place:
        models, model_id = self._session.store.logged_models, self.model_id

        def note(stored: Stored) -> None:
            models.add_artifacts(model_id, [(stored.path, stored.size, stored.sha256)])

        return Place(
            f"logged model {self._remote_id}",
            self._uri,
            partial(self._session.read.logged_model_entries, self._remote_id),
            models.folder(model_id).artifacts,
            note,
            {MLMODEL: self._mlmodel},
        )

    def _mlmodel(self, content: bytes) -> bytes:
        """``MLmodel`` with ids as they are here, and the place of its files, which a push replaces again."""
        pairs_of_ids = [(self._uri, f"mltrack:./models/{self.model_id}/artifacts"), (self._remote_id, self.model_id)]
        if self._source_run:
            pairs_of_ids.append((self._source_run, self._ids.of(self._source_run)))
        for remote, here in pairs_of_ids:
            if remote:
                content = content.replace(remote.encode(), here.encode())
        return content

    def _settle(self, known: LoggedEntry, entry: PulledEntry, files: FilesPull) -> None:
        """Have the ledger say that it is here, and that nothing that came is to be sent back."""
        session, model = self._session, self._session.store.logged_models.get(self.model_id)
        size = session.store.logged_models.folder(self.model_id).log.stat().st_size
        sent = LoggedEntry(self._remote_id, self._experiment, self._uri, dict(self._params), dict(self._tags))
        sent.status, sent.stage = self._status, "active"
        is_same = self._has_nothing_more(model)
        sent.metrics, sent.settled = (model.position, size) if is_same else (known.metrics, known.settled)
        for artifact in model.artifacts:
            if artifact.path in files.brought and artifact.sha256 != known.artifacts.get(artifact.path):
                session.ledger.logged_model_file_sent(self.model_id, artifact.path, artifact.sha256)
        session.ledger.logged_model_changed(self.model_id, sent)
        entry.run_id, entry.fingerprint = self.model_id, model_fingerprint(self._fields)
        entry.ended = self._status == READY
        entry.files = FAILED if files.failed else files.bound
        session.ledger.run_pulled(self._remote_id, entry)

    def _has_nothing_more(self, model: LoggedModel) -> bool:
        """Whether the server has all that is here."""
        tags = {key: value for key, value in self._tags.items() if key != MODEL_ID_TAG}
        metrics = {(self._ids.of(metric.run_id), metric.key, metric.step, metric.time) for metric in self._metrics}
        return (
            remote_tags(model.tags, self._remote_id, ORIGIN_MODEL_TAG) == tags
            and model.params.keys() <= self._params.keys()
            and {identity(metric) for metric in model.metrics} <= metrics
            and model.status == self._status
        )


def _metric(row: Mapping[str, Any]) -> ModelMetric:
    return ModelMetric(
        text(row["key"]),
        float(numbers([row["value"]])[0]),
        integer(row.get("step") or 0),
        integer(row["timestamp"]),
        identifier(row.get("run_id")),
        text(row.get("dataset_name")) or None,
        text(row.get("dataset_digest")) or None,
    )


def _status(value: object) -> str:
    """MLflow's word, a name or a number, as mltrack's."""
    said = text(value)
    by_name = said.removeprefix("LOGGED_MODEL_").removeprefix("STATUS_").replace("UPLOAD_FAILED", "FAILED")
    names = {"1": "PENDING", "2": "READY", "3": "FAILED", "": "UNSPECIFIED"}
    found = names.get(said, by_name)
    return found if found in LOGGED_MODEL_STATUSES else "UNSPECIFIED"
