"""Registered models pushed: each version once, under the number the remote gives it; then aliases, stages and tags.

A version carries the tag ``mltrack.model_version``, which is looked for before one is made: so an answer that was lost
makes no second version. It waits until its run, logged model or other version, and the files it stands for are there.
Prompts are registered models that others name; they wait for nothing and go before all else. What is deleted or renamed
here stays there as it is: a renamed model arrives as another one.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from mltrack.errors import NotFoundError
from mltrack_sync.errors import NotMlflowError, RemoteRefusedError, RemoteUnavailableError
from mltrack_sync.ledger.registry import ModelEntry, VersionEntry
from mltrack_sync.mlflow.api.capabilities import LOGGED_MODELS
from mltrack_sync.mlflow.api.registry import PENDING, READY, VERSION_TAG, RegistryClient, RemoteVersion
from mltrack_sync.mlflow.plan.batches import Refusal
from mltrack_sync.mlflow.plan.fallback import where_in_run

if TYPE_CHECKING:
    from mltrack.entities import ModelVersion, RegisteredModel
    from mltrack.store import Store
    from mltrack_sync.ledger.ledger import LedgerState
    from mltrack_sync.mlflow.push.run_ids import Identities
    from mltrack_sync.mlflow.push.session import Session
    from mltrack_sync.selection import Selection

__all__ = ["MODEL", "MODEL_VERSION", "ModelTodo", "RegistryPush", "is_prompt", "registry_todo"]

MODEL = "model"
MODEL_VERSION = "model version"
NO_STAGE = "None"
ALIAS = "alias"
MODEL_TAG = "model tag"
VERSION_TAG_KIND = "model version tag"
PROMPT_TAGS = "mlflow.prompt."
"""Tags that make a version one of a prompt: they go with it or not at all."""

POLLS_MAX = 60
POLL_FIRST_S = 0.1
POLL_MAX_S = 2.0
RUN_SOURCE = "runs:/"
MODEL_SOURCE = "models:/"
IS_PROMPT = "mlflow.prompt.is_prompt"

Aside = set[tuple[str, str]]
"""Kind and key of what was refused."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ModelTodo:
    """A registered model that is not as it should be on the remote, with its versions that are not."""

    model: RegisteredModel
    versions: tuple[ModelVersion, ...]
    is_new: bool
    new_versions: int


def registry_todo(
    store: Store,
    state: LedgerState,
    selection: Selection,
    chosen: Mapping[str, object],
    *,
    retry: bool = False,
) -> list[ModelTodo]:
    """What the registry has that the ledger lacks. With a selection only versions of the selected runs count.

    ``retry`` asks for what was set aside, too.
    """
    aside = set() if retry else _aside(state)
    found: list[ModelTodo] = []
    versions = store.registry.versions()
    for model in store.registry.models():
        mine = [v for v in versions if v.name == model.name and (selection.everything or v.run_id in chosen)]
        if not mine and not selection.everything:
            continue
        entry = state.models.get(model.name) or ModelEntry()
        if (MODEL, model.name) in aside:
            continue
        todo = tuple(v for v in mine if not _is_there(v, entry, aside))
        if todo or not _model_is_there(model, entry, aside):
            new = sum(entry.version(version) is None for version in todo)
            found.append(ModelTodo(model, todo, not entry.made, new))
    return found


def _aside(state: LedgerState) -> set[tuple[str, str]]:
    """Kind and key of what was refused of the registry."""
    return {(item.kind, item.key) for item in state.rejected.values() if not item.run_id}


def _is_there(version: ModelVersion, entry: ModelEntry, aside: Aside) -> bool:
    if (MODEL_VERSION, f"{version.name}/{version.version}") in aside:
        return True
    known = entry.version(version)
    return known is not None and known.ready and known.has(_with_taken_tags(version, aside))


def _model_is_there(model: RegisteredModel, entry: ModelEntry, aside: Aside) -> bool:
    def counts(alias: str, number: int) -> bool:
        version = (MODEL_VERSION, f"{model.name}/{number}")
        return (ALIAS, f"{model.name}@{alias}") not in aside and version not in aside

    wanted = {alias: number for alias, number in model.aliases.items() if counts(alias, number)}
    there = {alias: number for alias, number in entry.aliases.items() if counts(alias, number)}
    tags = taken(model.tags, MODEL_TAG, model.name, aside)
    same = (entry.description, entry.tags) == (model.description, tags)
    return entry.made and same and there == wanted


def taken(tags: Mapping[str, str], kind: str, of: str, aside: Aside) -> dict[str, str]:
    """The tags that are not set aside."""
    return {key: value for key, value in tags.items() if (kind, f"{of}/{key}") not in aside}


def _with_taken_tags(version: ModelVersion, aside: Aside) -> ModelVersion:
    tags = taken(version.tags, VERSION_TAG_KIND, f"{version.name}/{version.version}", aside)
    return version if tags == dict(version.tags) else replace(version, tags=tags)


def is_prompt(model: RegisteredModel) -> bool:
    """Whether it is a prompt, in MLflow's manner."""
    return model.tags.get(IS_PROMPT, "").lower() == "true"


class Place(NamedTuple):
    """Where a version's files are over there, and the run and logged model that it is tied to."""

    source: str
    run_id: str | None
    model_id: str | None = None


class RegistryPush:
    """Brings registered models up to date on the remote, after the runs and logged models."""

    def __init__(self, session: Session, identities: Identities) -> None:
        self._session = session
        self._logged = identities.logged
        self._waiting: list[tuple[ModelVersion, str]] = []
        self._ledger = session.ledger
        self._client = RegistryClient(session.client.transport)
        self._limits = session.limits()

    def push(self, todo: list[ModelTodo]) -> None:
        """All of them.

        Raises:
            RemoteError, LedgerError, PushStopped: see mltrack_sync.errors.
        """
        for one in todo:
            self._session.check()
            with_model = self._guard(MODEL, one.model.name, partial(self._push_model, one.model))
            if not with_model:
                continue
            for version in one.versions:
                self._session.check()
                key = f"{version.name}/{version.version}"
                self._guard(MODEL_VERSION, key, partial(self._push_version, version))
            self._push_aliases(one.model)
        self._push_waiting({one.model.name: one.model for one in todo})

    def _push_waiting(self, models: Mapping[str, RegisteredModel]) -> None:
        """What waited for a version that may have come by now, once more; what still waits is told."""
        for version in [version for version, _ in self._waiting if version.source.startswith(MODEL_SOURCE)]:
            self._session.check()
            self._waiting = [(other, why) for other, why in self._waiting if other is not version]
            key = f"{version.name}/{version.version}"
            if self._guard(MODEL_VERSION, key, partial(self._push_version, version)):
                self._push_aliases(models[version.name])
        for version, why in self._waiting:
            self._session.problem(f"model {version.name!r} version {version.version} waits: {why}")

    def _guard(self, kind: str, key: str, work: Callable[[], bool]) -> bool:
        """Do it; what the remote refuses for good is set aside, what it can't do now is left for the next pass."""
        try:
            done = work()
        except (RemoteRefusedError, NotMlflowError) as error:
            words = error.words if isinstance(error, RemoteRefusedError) else str(error)
            self._ledger.rejected(self._session.rejection("", Refusal(kind, key, words)))
            return False
        except RemoteUnavailableError as error:
            if error.is_unreached:
                raise
            self._session.problem(f"{kind} {key}: {error}")
            return False
        known = self._ledger.state.rejected.get(("", kind, key))
        if known is not None:
            self._ledger.cleared(known)
        return done

    # --- models ---

    def _push_model(self, model: RegisteredModel) -> bool:
        name, entry = model.name, self._ledger.state.models.get(model.name) or ModelEntry()
        refusal = self._limits.refuse_model(name)
        if refusal is not None:
            raise RemoteRefusedError(refusal, status=400, code="INVALID_PARAMETER_VALUE", words=refusal)
        description, tags = entry.description, dict(entry.tags)
        if not entry.made:
            description, tags, made = self._session.policy.settle(lambda again: self._create_model(model))
            self._session.count(models=int(made))
        if description != model.description:
            self._client.describe_model(name, model.description)
        there = self._put_tags(MODEL_TAG, name, tags, model.tags, partial(self._client.tag_model, name))
        if not entry.made or (model.description, there) != (entry.description, dict(entry.tags)):
            self._ledger.model(name, model.description, there, entry.aliases)
        return True

    def _create_model(self, model: RegisteredModel) -> tuple[str, dict[str, str], bool]:
        """Description and tags that it was made with, and whether it was made."""
        name, description, tags = model.name, model.description, dict(model.tags)
        try:
            made = self._client.create_model(name, description, tags)
        except RemoteRefusedError as error:
            is_needed = {key: value for key, value in tags.items() if key == IS_PROMPT}
            try:  # a tag may be what it does not take: each goes by itself then
                made = self._client.create_model(name, "", is_needed)
            except RemoteRefusedError:
                raise error from None
            description, tags = "", is_needed
        return (description, tags, True) if made else ("", {}, False)

    def _put_tags(
        self,
        kind: str,
        of: str,
        there: Mapping[str, str],
        wanted: Mapping[str, str],
        send: Callable[[str, str | None], None],
    ) -> dict[str, str]:
        """Set and take away tags, each that is refused set aside alone; returns those that are there now."""
        now = dict(there)
        for key, value in _changes(there, wanted):
            item = Refusal(kind, f"{of}/{key}", "")
            if not self._session.is_to_be_tried(item):
                continue
            try:
                send(key, value)
            except RemoteRefusedError as error:
                self._session.set_aside(item._replace(reason=error.words))
                continue
            self._session.got_through(item)
            if value is None:
                now.pop(key, None)
            else:
                now[key] = value
        return now

    def _push_aliases(self, model: RegisteredModel) -> None:
        entry = self._ledger.state.models[model.name]
        for alias, local in _changes(entry.aliases, model.aliases):
            number = None
            if local is not None:
                known = entry.versions.get(local)
                if known is None or not known.ready:
                    continue  # its version waits
                number = known.remote
            key = f"{model.name}@{alias}"
            if self._guard(ALIAS, key, partial(self._set_alias, model.name, alias, number)):
                known_model = self._ledger.state.models[model.name]
                now = {**known_model.aliases, alias: local}
                kept = {one: at for one, at in now.items() if at is not None}
                self._ledger.model(model.name, known_model.description, known_model.tags, kept)

    def _set_alias(self, name: str, alias: str, number: str | None) -> bool:
        self._client.set_alias(name, alias, number)
        return True

    # --- versions ---

    def _push_version(self, version: ModelVersion) -> bool:
        known = self._ledger.state.models[version.name].version(version)
        if known is None:
            place = self._place(version)
            if place is None:
                return False
            known = self._make(version, place)
        if not known.ready:
            self._wait_until_ready(version, known)
        name, number = version.name, known.remote
        if known.description != version.description:
            self._client.describe_version(name, number, version.description)
        of, tag = f"{name}/{version.version}", partial(self._client.tag_version, name, number)
        tags = self._put_tags(VERSION_TAG_KIND, of, known.tags, version.tags, tag)
        if known.stage != version.stage:
            self._client.set_stage(name, number, version.stage)
        now = replace(version, tags=tags)
        if not known.ready or not known.has(now):
            self._ledger.model_version(VersionEntry.of(now, number, ready=True), version.name, version.version)
        return True

    def _place(self, version: ModelVersion) -> Place | None:
        """Where it is over there; None while that is not there."""
        remote_run = None
        if version.run_id:
            entry = self._ledger.state.runs.get(version.run_id)
            remote_run = entry.remote_id if entry is not None else ""
            if not remote_run:
                self._waits(version, f"its run {version.run_id} is not there yet")
                return None
        if version.source.startswith(f"{MODEL_SOURCE}m-"):
            return self._place_of_model(version, remote_run)
        if version.source.startswith(MODEL_SOURCE):
            return self._place_of_version(version)
        if not version.source.startswith(RUN_SOURCE):
            return Place(version.source, remote_run)
        run_id, _, path = version.source.removeprefix(RUN_SOURCE).partition("/")
        entry = self._ledger.state.runs.get(run_id)
        if entry is None or not entry.remote_id:
            self._waits(version, f"run {run_id}, where its files are, is not there yet")
            return None
        if not self._files_are_there(run_id, path):
            self._waits(version, f"files of run {run_id} are not there yet")
            return None
        source = posixpath.join(entry.artifact_uri, path) if path else entry.artifact_uri
        return Place(source, remote_run or entry.remote_id)

    def _place_of_model(self, version: ModelVersion, remote_run: str | None) -> Place | None:
        """The same, of a version made from a logged model."""
        model_id, _, path = version.source.removeprefix(MODEL_SOURCE).partition("/")
        entry = self._logged.find(model_id)
        if entry is None and LOGGED_MODELS in self._session.features.lacking:
            return self._place_in_run(version, model_id, path, remote_run)
        if entry is None:
            self._waits(version, f"logged model {model_id} is not there yet")
            return None
        try:
            artifacts = self._session.store.logged_models.artifacts(model_id)
        except NotFoundError:
            artifacts = []
        if any(entry.artifacts.get(artifact.path) != artifact.sha256 for artifact in artifacts):
            self._waits(version, f"files of logged model {model_id} are not there yet")
            return None
        if version.as_address or path:
            return Place(posixpath.join(entry.uri, path) if path else entry.uri, remote_run, entry.remote_id)
        return Place(f"{MODEL_SOURCE}{entry.remote_id}", remote_run, entry.remote_id)

    def _place_in_run(self, version: ModelVersion, model_id: str, path: str, remote_run: str | None) -> Place | None:
        """The same, where the remote has no logged models: its files lie among those of its run."""
        there = where_in_run(self._session.store, self._ledger.state, model_id)
        if isinstance(there, str):
            self._waits(version, there)
            return None
        uri, run_id = there
        return Place(posixpath.join(uri, path) if path else uri, remote_run or run_id)

    def _place_of_version(self, version: ModelVersion) -> Place | None:
        """The same, of a copy of another version: the server finds out itself what run and model that is tied to."""
        name, _, number = version.source.removeprefix(MODEL_SOURCE).rpartition("/")
        entry = self._ledger.state.models.get(name)
        known = entry.versions.get(int(number)) if entry is not None and number.isdecimal() else None
        if known is None or not known.ready:
            self._waits(version, f"the version it was made from, {name}/{number}, is not there yet")
            return None
        return Place(f"{MODEL_SOURCE}{name}/{known.remote}", None)

    def _waits(self, version: ModelVersion, why: str) -> None:
        self._waiting.append((version, why))

    def _files_are_there(self, run_id: str, path: str) -> bool:
        sent = self._ledger.run(run_id).artifacts
        try:
            artifacts = self._session.store.run(run_id).artifacts
        except NotFoundError:
            return True
        mine = [a for a in artifacts if not path or a.path == path or a.path.startswith(f"{path}/")]
        return all(sent.get(artifact.path) == artifact.sha256 for artifact in mine)

    def _make(self, version: ModelVersion, place: Place) -> VersionEntry:
        mark = f"{self._session.store.store_id}/{version.name}/{version.version}/{version.creation_time}"

        def once(again: bool) -> tuple[RemoteVersion, bool]:
            self._session.check()
            versions = self._client.versions(version.name, prompts=version.tags.get(IS_PROMPT) == "true")
            found = [v for v in versions if v.tags.get(VERSION_TAG) == mark]
            if found:
                return min(found, key=lambda v: int(v.number)), False
            return self._create_version(version, place, mark), True

        remote, made = self._session.policy.settle(once)
        stage = NO_STAGE if made else ""  # one that was found may be in any
        tags = {key: value for key, value in remote.tags.items() if key != VERSION_TAG}
        description = version.description if made else "\0"
        entry = VersionEntry(
            version.creation_time, remote.number, False, description, dict(tags), stage, status=remote.status
        )
        self._ledger.model_version(entry, version.name, version.version)
        self._session.count(model_versions=int(made))
        return entry

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
            try:  # a tag may be what it does not take: each goes by itself then
                return create(needed)
            except RemoteRefusedError:
                raise error from None

    def _wait_until_ready(self, version: ModelVersion, known: VersionEntry) -> None:
        """Poll until its files are taken over.

        Raises:
            RemoteRefusedError, RemoteUnavailableError: it failed; it takes too long.
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
            words = f"version {known.remote} there is still pending"
            raise RemoteUnavailableError(words, in_doubt=True)
        if now.status != READY:
            words = f"version {known.remote} there is {now.status}{': ' + now.message if now.message else ''}"
            raise RemoteRefusedError(words, status=400, code=now.status, words=words)


def _changes(known: Mapping[str, T], wanted: Mapping[str, T]) -> Iterator[tuple[str, T | None]]:
    """What to set, and what to take away (None)."""
    for key, value in wanted.items():
        if known.get(key) != value:
            yield key, value
    for key in known:
        if key not in wanted:
            yield key, None
