"""Pushing registered models: each version once, under the number the remote gives it; then aliases, stages and tags.

A version carries the tag ``mltrack.model_version``, which is searched for before one is created: so an answer that was
lost creates no second version. It waits until the remote has its run, logged model or other version, and its files.
Prompts are registered models that others refer to; they wait for nothing and are sent before all else. What is deleted
or renamed here stays on the remote as it is: a renamed model arrives as another one.
"""

from __future__ import annotations

import posixpath
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from mltrack.environment import PROMPT_TAG, VERSION_TAG
from mltrack.errors import NotFoundError
from mltrack_sync.errors import RemoteRefusedError, RemoteUnavailableError
from mltrack_sync.ledger.registry import ModelEntry, VersionEntry
from mltrack_sync.mlflow.api.registry import PENDING, READY, RegistryClient, RemoteVersion
from mltrack_sync.mlflow.plan.batches import Refusal
from mltrack_sync.mlflow.plan.fallback import where_in_run
from mltrack_sync.mlflow.plan.kinds import ALIAS, MODEL, MODEL_TAG, MODEL_VERSION, MODEL_VERSION_TAG
from mltrack_sync.mlflow.plan.pending_registry import (
    has_mark,
    model_changes,
    rejected_of_registry,
    version_changes,
    version_mark,
    without_mark,
)
from mltrack_sync.mlflow.plan.version_sources import MODEL_SOURCE, RUN_SOURCE, Sources, model_of, run_of, version_of
from mltrack_sync.mlflow.workers import FailureStreak, JobRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mltrack.entities import ModelVersion, RegisteredModel
    from mltrack_sync.mlflow.plan.pending_registry import PendingModel
    from mltrack_sync.mlflow.push.run_ids import Identities
    from mltrack_sync.mlflow.push.session import Session

__all__ = ["RegistryPush"]

NO_STAGE = "None"
PROMPT_TAGS = "mlflow.prompt."
"""Tags that make a version one of a prompt: they are sent with it or not at all."""

POLLS_MAX = 60
POLL_FIRST_S = 0.1
POLL_MAX_S = 2.0


class Place(NamedTuple):
    """Where a version's files are on the remote, and the run and logged model that it belongs to."""

    source: str
    run_id: str | None
    model_id: str | None = None


class RegistryPush:
    """Brings registered models up to date on the remote, after the runs and logged models."""

    def __init__(self, session: Session, identities: Identities) -> None:
        self._session = session
        self._logged = identities.logged
        self._waiting: list[tuple[ModelVersion, str]] = []
        self._listed: tuple[str, list[RemoteVersion]] | None = None
        self._ledger = session.ledger
        self._client = RegistryClient(session.client.transport)
        self._limits = session.limits()
        streak = FailureStreak()
        self._runners = {
            kind: JobRunner(session, kind, reject_not_mlflow=True, failures=streak)
            for kind in (MODEL, MODEL_VERSION, ALIAS)
        }

    def push(self, pending: list[PendingModel]) -> None:
        """Push all of them.

        Raises:
            RemoteError, LedgerError, PushStopped: see mltrack_sync.errors.
        """
        for one in pending:
            self._session.check()
            with_model = self._run(MODEL, one.model.name, partial(self._push_model, one.model))
            if not with_model:
                continue
            for version in one.versions:
                self._session.check()
                key = f"{version.name}/{version.version}"
                self._run(MODEL_VERSION, key, partial(self._push_version, version))
            self._push_aliases(one.model)
        self._push_waiting({one.model.name: one.model for one in pending})

    def _push_waiting(self, models: Mapping[str, RegisteredModel]) -> None:
        """Try again what waited for a version that may exist by now; what still waits is a problem."""
        for version in [version for version, _ in self._waiting if version.source.startswith(MODEL_SOURCE)]:
            self._session.check()
            self._waiting = [(other, why) for other, why in self._waiting if other is not version]
            key = f"{version.name}/{version.version}"
            if self._run(MODEL_VERSION, key, partial(self._push_version, version)):
                self._push_aliases(models[version.name])
        for version, why in self._waiting:
            self._session.problem(f"model {version.name!r} version {version.version} waits: {why}")

    def _run(self, kind: str, key: str, work: Callable[[], bool]) -> bool:
        """Do it and clear a former rejection; returns whether it succeeded, and did not fail or wait."""

        def work_once() -> bool:
            done = work()
            self._session.got_through(Refusal(kind, key, ""))
            return done

        return self._runners[kind].run(key, work_once) or False

    # --- models ---

    def _push_model(self, model: RegisteredModel) -> bool:
        name, entry = model.name, self._entry(model.name)
        refusal = self._limits.refuse_model(name)
        if refusal is not None:
            raise RemoteRefusedError(refusal, status=400, code="INVALID_PARAMETER_VALUE", words=refusal)
        now = entry
        if not entry.made:
            description, tags, made = self._session.policy.settle(lambda again: self._create_model(model))
            self._session.count(models=int(made))
            now = ModelEntry(True, description, tags, entry.aliases, entry.versions)
        changes = model_changes(model, now, self._rejected())
        if changes.description is not None:
            self._client.describe_model(name, changes.description)
        tags = self._put_tags(MODEL_TAG, name, now.tags, changes.tags, partial(self._client.tag_model, name))
        if not entry.made or (model.description, tags) != (entry.description, entry.tags):
            self._ledger.model(name, model.description, tags, entry.aliases)
        return True

    def _entry(self, name: str) -> ModelEntry:
        return self._ledger.state.models.get(name) or ModelEntry()

    def _rejected(self) -> set[tuple[str, str]]:
        """Kind and key of what was rejected and is not sent in this cycle."""
        return set() if self._session.retry_rejected else rejected_of_registry(self._ledger.state)

    def _create_model(self, model: RegisteredModel) -> tuple[str, dict[str, str], bool]:
        """Description and tags that it was created with, and whether it was created."""
        name, description, tags = model.name, model.description, dict(model.tags)
        try:
            made = self._client.create_model(name, description, tags)
        except RemoteRefusedError as error:
            is_needed = {key: value for key, value in tags.items() if key == PROMPT_TAG}
            try:  # the remote may refuse a tag: then each is sent by itself
                made = self._client.create_model(name, "", is_needed)
            except RemoteRefusedError:
                raise error from None
            description, tags = "", is_needed
        return (description, tags, True) if made else ("", {}, False)

    def _put_tags(
        self,
        kind: str,
        of: str,
        known: Mapping[str, str],
        changes: Mapping[str, str | None],
        send: Callable[[str, str | None], None],
    ) -> dict[str, str]:
        """Set and remove tags; each that is refused is noted by itself. Returns those that the remote has then.

        Args:
            kind: The kind of such a tag in the ledger.
            of: What the tags are of, in the ledger's keys.
            known: The tags that the remote has.
            changes: What to set, and what to remove (None).
            send: Sends one of these.
        """
        now = dict(known)
        for key, value in changes.items():
            item = Refusal(kind, f"{of}/{key}", "")
            try:
                send(key, value)
            except RemoteRefusedError as error:
                self._session.reject(item._replace(reason=error.words))
                continue
            self._session.got_through(item)
            if value is None:
                now.pop(key, None)
            else:
                now[key] = value
        return now

    def _push_aliases(self, model: RegisteredModel) -> None:
        """Set and remove aliases; an alias of a version that waits must wait, too."""
        entry = self._ledger.state.models[model.name]
        for alias, local in model_changes(model, entry, self._rejected()).aliases.items():
            number = entry.versions[local].remote if local is not None else None
            key = f"{model.name}@{alias}"
            if self._run(ALIAS, key, partial(self._set_alias, model.name, alias, number)):
                known = self._ledger.state.models[model.name]
                now = {**known.aliases, alias: local}
                kept = {one: at for one, at in now.items() if at is not None}
                self._ledger.model(model.name, known.description, known.tags, kept)

    def _set_alias(self, name: str, alias: str, number: str | None) -> bool:
        self._client.set_alias(name, alias, number)
        return True

    # --- versions ---

    def _push_version(self, version: ModelVersion) -> bool:
        known = self._ledger.state.models[version.name].version(version)
        if known is None:
            state, unsupported = self._ledger.state, self._session.features.unsupported
            why = Sources(self._session.store, state, unsupported).why_it_waits(version)
            if why:
                self._waiting.append((version, why))
                return False
            known = self._make(version, self._place(version))
        if not known.ready:
            self._wait_until_ready(version, known)
        name, number = version.name, known.remote
        changes = version_changes(version, known, self._rejected())
        if changes.description is not None:
            self._client.describe_version(name, number, changes.description)
        of, tag = f"{name}/{version.version}", partial(self._client.tag_version, name, number)
        tags = self._put_tags(MODEL_VERSION_TAG, of, known.tags, changes.tags, tag)
        if changes.stage is not None:
            self._client.set_stage(name, number, changes.stage)
        now = replace(version, tags=tags)
        if not known.ready or not known.has(now):
            self._ledger.model_version(VersionEntry.of(now, number, ready=True), version.name, version.version)
        return True

    def _place(self, version: ModelVersion) -> Place:
        """Where it is on the remote, which has all that it needs."""
        runs, source = self._ledger.state.runs, version.source
        remote_run = runs[version.run_id].remote_id if version.run_id else None
        if source.startswith(f"{MODEL_SOURCE}m-"):
            return self._place_of_model(version, remote_run)
        if source.startswith(MODEL_SOURCE):  # a copy: the server determines its run and model itself
            name, number = version_of(source)
            return Place(f"{MODEL_SOURCE}{name}/{self._entry(name).versions[int(number)].remote}", None)
        if not source.startswith(RUN_SOURCE):
            return Place(source, remote_run)
        run_id, path = run_of(source)
        entry = runs[run_id]
        return Place(_join(entry.artifact_uri, path), remote_run or entry.remote_id)

    def _place_of_model(self, version: ModelVersion, remote_run: str | None) -> Place:
        """The same for a version made from a logged model, whose files may be among those of its run."""
        model_id, path = model_of(version.source)
        entry = self._logged.find(model_id)
        if entry is None:
            place = where_in_run(self._session.store, self._ledger.state, model_id)
            if isinstance(place, str):
                raise NotFoundError(place)
            uri, run_id = place
            return Place(_join(uri, path), remote_run or run_id)
        if version.as_address or path:
            return Place(_join(entry.uri, path), remote_run, entry.remote_id)
        return Place(f"{MODEL_SOURCE}{entry.remote_id}", remote_run, entry.remote_id)

    def _make(self, version: ModelVersion, place: Place) -> VersionEntry:
        mark = version_mark(self._session.store.store_id, version)

        def once(again: bool) -> tuple[RemoteVersion, bool]:
            self._session.check()
            versions = self._remote_versions(version)
            found = [v for v in versions if has_mark(mark, int(v.number), v.created, v.tags)]
            if found:
                return min(found, key=lambda v: int(v.number)), False
            self._listed = None  # what the remote has is not known before this answer
            made = self._create_version(version, place, mark)
            self._listed = (version.name, versions)
            return made, True

        remote, made = self._session.policy.settle(once)
        stage = NO_STAGE if made else ""  # one that was found may be in any stage
        tags = without_mark(remote.tags)
        description = version.description if made else "\0"
        entry = VersionEntry(
            version.creation_time, remote.number, False, description, tags, stage, status=remote.status
        )
        self._ledger.model_version(entry, version.name, version.version)
        self._session.count(model_versions=int(made))
        return entry

    def _remote_versions(self, version: ModelVersion) -> list[RemoteVersion]:
        """The versions that the remote has of its model, and had before this push made some; listed once a model."""
        if self._listed is None or self._listed[0] != version.name:
            is_prompt = version.tags.get(PROMPT_TAG) == "true"
            self._listed = (version.name, list(self._client.versions(version.name, prompts=is_prompt)))
        return self._listed[1]

    def _create_version(self, version: ModelVersion, place: Place, mark: str) -> RemoteVersion:
        def create(tags: dict[str, str]) -> RemoteVersion:
            made = self._client.create_version(
                version.name,
                place.source,
                run_id=place.run_id,
                model_id=place.model_id,
                description=version.description,
                tags={**tags, VERSION_TAG: mark},
            )
            return replace(made, tags=tags)

        tags = dict(version.tags)
        try:
            return create(tags)
        except RemoteRefusedError as error:
            needed = {key: value for key, value in tags.items() if key.startswith(PROMPT_TAGS)}
            if needed == tags:
                raise
            try:  # the remote may refuse a tag: then each is sent by itself
                return create(needed)
            except RemoteRefusedError:
                raise error from None

    def _wait_until_ready(self, version: ModelVersion, known: VersionEntry) -> None:
        """Poll until the server has taken over its files.

        Raises:
            RemoteRefusedError, RemoteUnavailableError: that failed, or takes too long.
        """
        if known.status == READY:
            return
        pause = POLL_FIRST_S
        for _ in range(POLLS_MAX):
            now = self._client.get_version(version.name, known.remote)
            if now.status != PENDING:
                break
            self._session.policy.sleep(pause)
            pause = min(POLL_MAX_S, pause * 2)
        if now.status == PENDING:
            words = f"remote version {known.remote} is still pending"
            raise RemoteUnavailableError(words, in_doubt=True)
        if now.status != READY:
            words = f"remote version {known.remote} is {now.status}{': ' + now.message if now.message else ''}"
            raise RemoteRefusedError(words, status=400, code=now.status, words=words)


def _join(uri: str, path: str) -> str:
    return posixpath.join(uri, path) if path else uri
