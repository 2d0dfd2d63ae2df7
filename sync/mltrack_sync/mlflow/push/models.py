"""Pushing one logged model: it is created, then its params, tags, files, metrics, and at last its status.

A metric is sent with the run that logged it; the server keeps it once, however often it is sent, so what is in doubt
is sent again.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from mltrack.entities import DELETED
from mltrack.errors import NotFoundError
from mltrack_sync.errors import RemoteRefusedError
from mltrack_sync.ledger.models import LoggedEntry
from mltrack_sync.mlflow.api.capabilities import LOGGED_MODELS
from mltrack_sync.mlflow.api.models import LoggedModelsClient
from mltrack_sync.mlflow.plan.batches import Refusal, metric_value
from mltrack_sync.mlflow.plan.kinds import (
    LOGGED_MODEL,
    LOGGED_MODEL_FILE,
    LOGGED_MODEL_FILE_IN_RUN,
    LOGGED_MODEL_METRIC,
    LOGGED_MODEL_PARAM,
    LOGGED_MODEL_TAG,
)
from mltrack_sync.mlflow.plan.mlmodel import map_mlmodel
from mltrack_sync.mlflow.plan.pending_models import find_pending_logged_model
from mltrack_sync.mlflow.push.model_files import LoggedFiles, Target
from mltrack_sync.mlflow.push.model_ids import map_tags_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from mltrack.entities import LoggedModel, ModelMetric
    from mltrack_sync.mlflow.push.run_ids import Identities
    from mltrack_sync.mlflow.push.session import Session
    from mltrack_sync.report import Rejected

__all__ = ["LoggedModelPush"]

METRICS_AT_ONCE = 5000
"""How many metrics, of any runs, are sorted by run at a time."""


class LoggedModelPush:
    """Brings one logged model up to date on the remote. Used once, by one worker."""

    def __init__(self, session: Session, identities: Identities, model_id: str) -> None:
        self._session = session
        self._identities = identities
        self._client = LoggedModelsClient(session.client.transport)
        self._ledger = session.ledger
        self._model_id = model_id
        self._whole = True

    def push(self) -> None:
        """Push all that is pending.

        Raises:
            UnsupportedFeatureError: the remote has no logged models.
            RemoteRefusedError: the remote does not take this model.
            RemoteError, LedgerError, PushStopped: see mltrack_sync.errors.
        """
        size = self._session.store.logged_models.folder(self._model_id).log.stat().st_size
        model = self._session.store.logged_models.get(self._model_id)
        if model.lifecycle_stage == DELETED:
            self._delete()
        else:
            self._push(model)
        self._session.count(logged_models=1)
        if self._whole:
            known = self._ledger.state.logged.get(self._model_id) or LoggedEntry()
            self._note(replace(known, settled=size))
            for refused in self._outdated():
                self._ledger.cleared(refused)

    def _outdated(self) -> list[Rejected]:
        """Rejections of the model, or of its files in its run: they no longer count once the remote has the model."""
        rejected = self._ledger.rejections()
        mine, within = (LOGGED_MODEL, self._model_id), f"{self._model_id}/"
        return [
            item
            for item in rejected
            if (item.kind, item.key) == mine or (item.kind == LOGGED_MODEL_FILE_IN_RUN and item.key.startswith(within))
        ]

    def _delete(self) -> None:
        entry = self._identities.logged.find(self._model_id)
        if entry is not None and entry.stage != DELETED:
            with self._session.features.needing(LOGGED_MODELS):
                self._client.delete(entry.remote_id)
            self._note(replace(entry, stage=DELETED))

    def _push(self, model: LoggedModel) -> None:
        entry = self._identities.logged.model(model.model_id)
        if entry is None:
            return
        if entry.stage == DELETED:
            words = f"model {entry.remote_id} was deleted on the remote, and MLflow has no call that restores one"
            raise RemoteRefusedError(words, status=400, code="INVALID_STATE", words=words)
        retry = self._session.retry_rejected
        map_tags = partial(map_tags_of, self._session)
        pending = find_pending_logged_model(model, entry, self._ledger.state, retry=retry, map_tags=map_tags)
        files = LoggedFiles(self._session, model, self._target(model, entry), pending.files)
        self._push_params(pending.params)
        self._push_tags(pending.tags)
        for words in files.end():
            self._whole = False
            self._session.problem(f"{LOGGED_MODEL} {self._model_id}: {words}")
        self._push_metrics(pending.metrics)
        if self._whole and pending.status:
            self._client.set_status(entry.remote_id, pending.status)
            self._note(replace(entry, status=pending.status))

    def _target(self, model: LoggedModel, entry: LoggedEntry) -> Target:
        def mlmodel(content: bytes) -> bytes:
            named = map_mlmodel(content, model, uri=entry.uri, state=self._ledger.state)
            return named.replace(model.model_id.encode(), entry.remote_id.encode())

        note_sent = partial(self._ledger.logged_model_file_sent, model.model_id)
        return Target(model.model_id, entry.remote_id, entry.uri, LOGGED_MODEL_FILE, note_sent, mlmodel, of_model=True)

    @property
    def _entry(self) -> LoggedEntry:
        return self._ledger.state.logged[self._model_id]

    def _note(self, entry: LoggedEntry) -> None:
        if entry != self._ledger.state.logged.get(self._model_id):
            self._ledger.logged_model_changed(self._model_id, entry)

    def _put(
        self, kind: str, texts: Mapping[str, str], send: Callable[[Mapping[str, str]], None], most: int
    ) -> set[str]:
        """Send params or tags, ``most`` at a time; returns those that the remote has now. What is refused is noted."""
        todo = list(texts)
        sent: set[str] = set()
        while todo:
            self._session.check()
            batch, todo = todo[:most], todo[most:]
            try:
                send({key: texts[key] for key in batch})
            except RemoteRefusedError as error:
                if len(batch) > 1:  # then each by itself
                    most, todo = 1, batch + todo
                else:
                    name = f"{self._model_id}/{batch[0]}"
                    self._ledger.rejected(self._session.rejection("", Refusal(kind, name, error.words)))
                continue
            sent |= set(batch)
            for key in batch:
                known = self._ledger.rejection("", kind, f"{self._model_id}/{key}")
                if known is not None:
                    self._ledger.cleared(known)
        return sent

    # --- params and tags ---

    def _push_params(self, new: Mapping[str, str]) -> None:
        if new:
            sent = self._put(LOGGED_MODEL_PARAM, new, self._send_params, self._session.limits().batch_params_max)
            self._note(replace(self._entry, params={**self._entry.params, **{key: new[key] for key in sent}}))

    def _send_params(self, params: Mapping[str, str]) -> None:
        """Send them. One that exists already would be refused, so after a lost answer the model is read first."""
        remote_id, todo = self._entry.remote_id, dict(params)

        def once(again: bool) -> None:
            self._session.check()
            if again:
                self._remove_known(todo)
            if todo:
                self._client.log_params(remote_id, todo)

        try:
            self._session.policy.settle(once)
        except RemoteRefusedError:
            left = len(todo)
            self._remove_known(todo)
            if len(todo) == left:
                raise
            once(False)

    def _remove_known(self, params: dict[str, str]) -> None:
        for key in self._client.get(self._entry.remote_id).params:
            params.pop(key, None)

    def _push_tags(self, changes: Mapping[str, str | None]) -> None:
        now = dict(self._entry.tags)
        for key in [key for key, value in changes.items() if value is None]:
            self._client.delete_tag(self._entry.remote_id, key)
            del now[key]
        new = {key: value for key, value in changes.items() if value is not None}
        sent = self._put(LOGGED_MODEL_TAG, new, self._send_tags, self._session.limits().batch_tags_max)
        self._note(replace(self._entry, tags={**now, **{key: new[key] for key in sent}}))

    def _send_tags(self, tags: Mapping[str, str]) -> None:
        self._client.set_tags(self._entry.remote_id, tags)

    # --- metrics ---

    def _push_metrics(self, metrics: Iterable[ModelMetric]) -> None:
        if self._session.retry_rejected:  # these include those refused, which are counted once more
            for item in self._ledger.rejections():
                if item.kind == LOGGED_MODEL_METRIC and item.key.startswith(f"{self._model_id}/"):
                    self._ledger.cleared(item)
        new = iter(metrics)
        while chunk := list(islice(new, METRICS_AT_ONCE)):
            by_run: dict[str, list[ModelMetric]] = defaultdict(list)
            for metric in chunk:
                by_run[metric.run_id].append(metric)
            for run_id, mine in by_run.items():
                self._send_metrics(run_id, mine)
            self._note(replace(self._entry, metrics=max(chunk[-1].seq + 1, self._entry.metrics)))

    def _send_metrics(self, run_id: str, metrics: Sequence[ModelMetric]) -> None:
        remote_run = self._remote_run(run_id)
        if not remote_run:
            return
        limits = self._session.limits()
        good = [each for each in metrics if each.time >= 0 and limits.refuse_key(each.key) is None]
        for at in range(0, len(good), limits.batch_metrics_max):  # the others were refused, and noted, with their run
            self._send_batch(remote_run, good[at : at + limits.batch_metrics_max])

    def _remote_run(self, run_id: str) -> str:
        """The run that logged them; "" where the remote does not have it or it is deleted: then metrics are refused."""
        entry = self._ledger.state.runs.get(run_id)
        if entry is not None and entry.remote_id:
            return entry.remote_id if entry.stage != DELETED else ""
        try:
            deleted = self._session.store.run(run_id).info.lifecycle_stage == DELETED
        except NotFoundError:
            return ""
        return self._identities.remote_run(run_id) if not deleted else ""

    def _send_batch(self, remote_run: str, metrics: Sequence[ModelMetric]) -> None:
        body = self._body(remote_run, metrics)
        self._session.check()
        try:
            self._session.client.log_batch(body, repeatable=True)
        except RemoteRefusedError as error:
            if len(metrics) > 1:
                half = len(metrics) // 2
                self._send_batch(remote_run, metrics[:half])
                self._send_batch(remote_run, metrics[half:])
                return
            refusal = Refusal(LOGGED_MODEL_METRIC, f"{self._model_id}/{metrics[0].key}", error.words, 1)
            self._ledger.rejected(self._session.rejection("", refusal))
        else:
            self._session.count(body=len(body))

    def _body(self, remote_run: str, metrics: Sequence[ModelMetric]) -> bytes:
        rows = []
        for metric in metrics:
            row = {"key": metric.key, "value": metric_value(metric.value), "timestamp": metric.time}
            row |= {"step": metric.step, "model_id": self._entry.remote_id}
            given = {"dataset_name": metric.dataset_name, "dataset_digest": metric.dataset_digest}
            rows.append(row | {key: value for key, value in given.items() if value is not None})
        return json.dumps({"run_id": remote_run, "metrics": rows}, separators=(",", ":")).encode("ascii")
