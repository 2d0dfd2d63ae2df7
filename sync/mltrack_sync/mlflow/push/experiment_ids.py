"""The ids of experiments on the remote: found or created once, and the same in later sync cycles."""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import TYPE_CHECKING

from mltrack.entities import ACTIVE, DEFAULT_EXPERIMENT_ID
from mltrack.environment import EXPERIMENT_TAG, ORIGIN_EXPERIMENT_TAG
from mltrack_sync.errors import NotMlflowError, RemoteAuthError, RemoteRefusedError
from mltrack_sync.ledger.experiments import EXPERIMENT_TAG_KIND, ExperimentEntry
from mltrack_sync.mlflow.plan.batches import Refusal
from mltrack_sync.mlflow.plan.origin import ORIGIN_TAGS
from mltrack_sync.mlflow.plan.pending_experiments import removed_tags

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mltrack_sync.mlflow.api.client import RemoteExperiment
    from mltrack_sync.mlflow.push.session import Session

__all__ = ["ExperimentIdentities"]

ALREADY_EXISTS = "RESOURCE_ALREADY_EXISTS"


class ExperimentIdentities:
    """Gives experiments their remote ids, each determined once in a sync cycle. Safe to use from many threads."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._experiments = session.store.workspace.experiments()
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._seen: set[str] = set()
        self._refused: dict[str, RemoteRefusedError] = {}  # asked for once in this cycle, however many runs it has

    def remote_id(self, experiment_id: str, name: str = "") -> str:
        """The remote id of an experiment, which is created if missing; ``name``: for one that the store does not know.

        Raises:
            RemoteRefusedError: it is deleted on the remote, or can't be created; or its name is unknown.
        """
        if experiment_id not in self._experiments:  # perhaps created since the cycle began
            self._experiments = self._session.store.workspace.experiments()
        local = self._experiments.get(experiment_id)
        name = local.name if local is not None else name
        if not name:
            words = f"its experiment {experiment_id} does not exist any more"
            raise RemoteRefusedError(words, status=404, code="RESOURCE_DOES_NOT_EXIST", words=words)
        tags = dict(local.tags) if local is not None else {}
        with self._lock:
            lock = self._locks[experiment_id]
        with lock:
            refused = self._refused.get(experiment_id)
            if refused is not None:
                raise refused
            try:
                remote_id = self._found(experiment_id, name, tags)
            except RemoteRefusedError as error:
                self._refused[experiment_id] = error
                raise
            except RemoteAuthError as error:
                if not error.forbidden:
                    raise
                words = f"experiment {name!r} may not be written to: {error}"
                refused = RemoteRefusedError(words, status=403, code="PERMISSION_DENIED", words=words, hint=error.hint)
                self._refused[experiment_id] = refused
                raise refused from error
            self._seen.add(experiment_id)
            return remote_id

    def _found(self, experiment_id: str, name: str, tags: dict[str, str]) -> str:
        known = self._known(experiment_id)
        remote = known or self._session.policy.settle(lambda again: self._find_or_make(experiment_id, name, tags))
        if self._session.origin.own_id(tags, ORIGIN_EXPERIMENT_TAG) == remote.remote:
            tags = {key: value for key, value in tags.items() if key not in ORIGIN_TAGS}
        elif known is None and experiment_id != DEFAULT_EXPERIMENT_ID and EXPERIMENT_TAG not in remote.tags:
            tags = {**tags, EXPERIMENT_TAG: experiment_id}
        changed = {key: value for key, value in tags.items() if remote.tags.get(key) != value}
        removed = self._session.store.workspace.removed_tags().get(experiment_id, frozenset())
        changes = changed | dict.fromkeys(removed_tags(removed, remote.tags))
        sent = self._change_tags(experiment_id, remote.remote, changes)
        if known is None or sent:
            now = {**remote.tags, **sent}
            kept = {key: value for key, value in now.items() if value is not None}
            self._session.ledger.experiment(experiment_id, remote._replace(tags=kept))
        return remote.remote

    def _change_tags(self, experiment_id: str, remote: str, tags: dict[str, str | None]) -> dict[str, str | None]:
        """Set or remove them (None); those that the remote refuses are rejected one by one. Returns what was done."""
        session, sent = self._session, dict[str, str | None]()
        for key, value in tags.items():
            item = Refusal(EXPERIMENT_TAG_KIND, f"{experiment_id}/{key}", "")
            reason = None if value is None else session.limits().refuse_experiment_tag(key, value)
            if reason is None and not session.is_to_be_tried(item):
                continue
            try:
                if reason is None:
                    self._change_tag(remote, key, value)
            except RemoteRefusedError as error:
                reason = error.words
            if reason is None:
                sent[key] = value
                session.got_through(item)
            else:
                session.reject(item._replace(reason=reason))
        return sent

    def _change_tag(self, remote: str, key: str, value: str | None) -> None:
        client = self._session.client
        if value is not None:
            client.set_experiment_tag(remote, key, value)
            return
        try:
            client.delete_experiment_tag(remote, key)
        except NotMlflowError as error:
            if not error.unknown_call:
                raise
            words = "tags of experiments can't be removed there"
            raise RemoteRefusedError(words, status=404, code="ENDPOINT_NOT_FOUND", words=words) from error

    def _known(self, experiment_id: str) -> ExperimentEntry | None:
        """The ledger's entry, if it is still valid: that is checked once in a sync cycle."""
        known = self._session.ledger.state.experiments.get(experiment_id)
        if known is None or experiment_id in self._seen:
            return known
        try:
            found = self._session.client.experiment_by_id(known.remote)
        except RemoteRefusedError as error:
            if not error.is_missing:
                raise
            return None
        if known.created and found.created not in (0, known.created):
            return None  # another experiment got its id
        _check_usable(found)
        return known

    def _find_or_make(self, experiment_id: str, name: str, tags: dict[str, str]) -> ExperimentEntry:
        client = self._session.client
        reason = self._session.limits().refuse_experiment(name)
        if reason is not None:
            raise RemoteRefusedError(reason, status=400, code="INVALID_PARAMETER_VALUE", words=reason)
        found = self._of_origin(experiment_id, tags)
        if found is None and experiment_id != DEFAULT_EXPERIMENT_ID:
            limits = self._session.limits()
            tags = {key: value for key, value in tags.items() if limits.refuse_experiment_tag(key, value) is None}
            tags[EXPERIMENT_TAG] = experiment_id
            found = client.experiment_by_tag(EXPERIMENT_TAG, experiment_id)
        found = found or client.experiment_by_name(name)
        if found is None:
            try:
                found = client.experiment_by_id(self._create(name, tags))
            except RemoteRefusedError as error:
                found = client.experiment_by_name(name) if error.code == ALREADY_EXISTS else None
                if found is None:
                    raise
        _check_usable(found)
        same_name = found.name if found.name == name else ""
        return ExperimentEntry(found.experiment_id, found.tags, found.created, same_name, ACTIVE)

    def _of_origin(self, experiment_id: str, tags: Mapping[str, str]) -> RemoteExperiment | None:
        """The experiment that it was pulled from, if it came from this remote; ids are used again, times are not."""
        remote_id = self._session.origin.own_id(tags, ORIGIN_EXPERIMENT_TAG)
        local = self._experiments.get(experiment_id)
        if not remote_id or local is None:
            return None
        try:
            found = self._session.client.experiment_by_id(remote_id)
        except RemoteRefusedError as error:
            if not error.is_missing:
                raise
            return None
        return found if found.created in (0, local.creation_time) else None

    def _create(self, name: str, tags: dict[str, str]) -> str:
        client = self._session.client
        try:
            return client.create_experiment(name, tags)
        except RemoteRefusedError as error:
            if error.code == ALREADY_EXISTS or not tags:
                raise
            try:  # the remote may refuse one of the tags: then each is sent by itself
                return client.create_experiment(name, {})
            except RemoteRefusedError:
                raise error from None


def _check_usable(found: RemoteExperiment) -> None:
    if found.deleted:
        words = (
            f"experiment {found.name!r} is deleted on the remote: restore it there, or rename it here, and sync again"
        )
        hint = "restore it on the remote, or rename it here"
        raise RemoteRefusedError(words, status=400, code="INVALID_STATE", words=words, hint=hint)
