"""What a remote lacks of the registry: models and prompts, their versions, tags, aliases, stages and descriptions."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from mltrack.environment import PROMPT_TAG, VERSION_TAG
from mltrack_sync.ledger.registry import ModelEntry
from mltrack_sync.mlflow.plan.kinds import ALIAS, MODEL, MODEL_TAG, MODEL_VERSION, MODEL_VERSION_TAG

if TYPE_CHECKING:
    from mltrack.entities import ModelVersion, RegisteredModel
    from mltrack.store import Store
    from mltrack_sync.ledger.registry import VersionEntry
    from mltrack_sync.ledger.view import LedgerView
    from mltrack_sync.selection import Selection

__all__ = [
    "ModelChanges",
    "PendingModel",
    "VersionChanges",
    "find_pending_registry",
    "has_mark",
    "is_prompt",
    "model_changes",
    "origin_mark",
    "rejected_of_registry",
    "version_changes",
    "version_mark",
    "without_mark",
]

Value = TypeVar("Value")

KindsAndKeys = Collection[tuple[str, str]]
"""Kind and key of what was rejected."""


@dataclass(frozen=True, slots=True)
class PendingModel:
    """A registered model that is missing or different on the remote, with the versions that are.

    Of the ``versions``, those that are ``new`` are to be created on the remote.
    """

    model: RegisteredModel
    is_new: bool
    versions: tuple[ModelVersion, ...]
    new: tuple[ModelVersion, ...]


@dataclass(frozen=True, slots=True)
class ModelChanges:
    """What is to be set of a model: a tag or alias of None is to be removed, a description of None stays as it is."""

    description: str | None
    tags: Mapping[str, str | None]
    aliases: Mapping[str, int | None]

    def __bool__(self) -> bool:
        return self.description is not None or bool(self.tags or self.aliases)


@dataclass(frozen=True, slots=True)
class VersionChanges:
    """What is to be set of a version: a tag of None is to be removed, a description or stage of None stays."""

    description: str | None
    tags: Mapping[str, str | None]
    stage: str | None

    def __bool__(self) -> bool:
        return self.description is not None or self.stage is not None or bool(self.tags)


def find_pending_registry(
    store: Store,
    state: LedgerView,
    selection: Selection,
    chosen: Mapping[str, object],
    *,
    retry: bool = False,
) -> list[PendingModel]:
    """What of the registry the ledger does not have.

    Args:
        store: The store.
        state: The ledger.
        selection: What is selected: unless everything is, only versions of selected runs count.
        chosen: The selected runs.
        retry: Whether to retry what was rejected.
    """
    rejected = set() if retry else rejected_of_registry(state)
    found: list[PendingModel] = []
    versions = store.registry.versions()
    for model in store.registry.models():
        mine = [v for v in versions if v.name == model.name and (selection.everything or v.run_id in chosen)]
        if (MODEL, model.name) in rejected or not (mine or selection.everything):
            continue
        entry = state.models.get(model.name) or ModelEntry()
        pending = tuple(version for version in mine if _is_pending(version, entry, rejected))
        coming = {version.version for version in pending}
        if pending or not entry.made or model_changes(model, entry, rejected, coming=coming):
            new = tuple(version for version in pending if entry.version(version) is None)
            found.append(PendingModel(model, not entry.made, pending, new))
    return found


def rejected_of_registry(state: LedgerView) -> set[tuple[str, str]]:
    """Kind and key of what was rejected of the registry."""
    return {(item.kind, item.key) for item in state.rejected.values() if not item.run_id}


def model_changes(
    model: RegisteredModel, entry: ModelEntry, rejected: KindsAndKeys, *, coming: Collection[int] = ()
) -> ModelChanges:
    """What differs on the remote of a model.

    Args:
        model: The model as it should be.
        entry: What the remote has of it.
        rejected: What is not sent.
        coming: Versions about to be sent; an alias of any other that the remote does not have must wait.
    """

    def will_exist(number: int | None) -> bool:
        known = entry.versions.get(number) if number is not None else None
        return number is None or number in coming or (known is not None and known.ready)

    aliases = {
        alias: number
        for alias, number in _changes(entry.aliases, model.aliases)
        if will_exist(number) and (ALIAS, f"{model.name}@{alias}") not in rejected
    }
    description = model.description if model.description != entry.description else None
    return ModelChanges(description, _tags(entry.tags, model.tags, MODEL_TAG, model.name, rejected), aliases)


def version_changes(version: ModelVersion, known: VersionEntry, rejected: KindsAndKeys) -> VersionChanges:
    """What differs on the remote of a version that it has."""
    of = f"{version.name}/{version.version}"
    return VersionChanges(
        version.description if version.description != known.description else None,
        _tags(known.tags, without_mark(version.tags), MODEL_VERSION_TAG, of, rejected),
        version.stage if version.stage != known.stage else None,
    )


def version_mark(store_id: str, version: ModelVersion) -> str:
    """What a push marks a version with on a remote, to find it again; one that was pulled keeps what it came with."""
    own = f"{store_id}/{version.name}/{version.version}/{version.creation_time}"
    return version.tags.get(VERSION_TAG, own)


def origin_mark(space: str, name: str, number: int, created: int) -> str:
    """The mark of a version that has none on its server: the server, and the version there."""
    return f"{space}/{name}/{number}/{created}"


def has_mark(mark: str, number: int, created: int, tags: Mapping[str, str]) -> bool:
    """Whether a version of a remote is the one with this mark; ``created`` is when the remote made it, in ms.

    One that carries no mark of its own is the one that ours was pulled from, if number and time are the same.
    """
    if VERSION_TAG in tags:
        return tags[VERSION_TAG] == mark
    return created > 0 and mark.endswith(f"/{number}/{created}")


def without_mark(tags: Mapping[str, str]) -> dict[str, str]:
    """A version's tags without its mark, which is set only when it is created."""
    return {key: value for key, value in tags.items() if key != VERSION_TAG}


def is_prompt(model: RegisteredModel) -> bool:
    """Whether it is a prompt, as MLflow marks them."""
    return model.tags.get(PROMPT_TAG, "").lower() == "true"


def _is_pending(version: ModelVersion, entry: ModelEntry, rejected: KindsAndKeys) -> bool:
    if (MODEL_VERSION, f"{version.name}/{version.version}") in rejected:
        return False
    known = entry.version(version)
    return known is None or not known.ready or bool(version_changes(version, known, rejected))


def _tags(
    known: Mapping[str, str], wanted: Mapping[str, str], kind: str, of: str, rejected: KindsAndKeys
) -> dict[str, str | None]:
    return {key: value for key, value in _changes(known, wanted) if (kind, f"{of}/{key}") not in rejected}


def _changes(known: Mapping[str, Value], wanted: Mapping[str, Value]) -> Iterator[tuple[str, Value | None]]:
    """What to set, and what to remove (None)."""
    for key, value in wanted.items():
        if known.get(key) != value:
            yield key, value
    for key in known:
        if key not in wanted:
            yield key, None
