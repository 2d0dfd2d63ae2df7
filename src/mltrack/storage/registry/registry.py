"""The registry: registered models with versions, stages, aliases and tags as in MLflow, kept in the store."""

from __future__ import annotations

import contextlib
import re
import threading
from typing import TYPE_CHECKING, Any

from mltrack.disk.fields import VERSION
from mltrack.disk.filesystem import LOCAL, FileSystem, relative_name, safe_join
from mltrack.disk.line_types import REGISTRY
from mltrack.disk.shared_log import SharedLog
from mltrack.entities import MODEL_STAGES
from mltrack.errors import AlreadyExistsError, NotFoundError, UsageError
from mltrack.storage.registry.state import RegistryState
from mltrack.text.shown import shown
from mltrack.values.scalars import texts_by_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mltrack.disk.layout import Layout, RunFolder
    from mltrack.entities import ModelVersion, RegisteredModel
    from mltrack.errors import CorruptionError

__all__ = ["Registry"]

_ALIAS = re.compile(r"[A-Za-z0-9_.-]{1,255}")
_RESERVED_ALIAS = re.compile(r"(?i)latest|v\d+")
NAME_CHARACTERS_MAX = 256


class Registry:
    """Registered models by name. Reading takes no file lock; a change takes the workspace's for a few milliseconds.

    What was read is kept, and each call reads only what was added since. Threads may share one.
    """

    def __init__(self, layout: Layout, *, clock: Callable[[], int], fs: FileSystem = LOCAL) -> None:
        """``clock`` gives ns since the epoch."""
        self._log = SharedLog(layout.workspace / "models.jsonl", REGISTRY, clock=clock, fs=fs)
        self._known = RegistryState()
        self._lock = threading.RLock()  # over the state; held only while it is read

    # --- reading ---

    def models(self) -> list[RegisteredModel]:
        """All registered models, by name."""
        with self._reading() as state:
            return sorted(state.models.values(), key=lambda model: model.name)

    def get_model(self, name: str) -> RegisteredModel:
        """The registered model of that name.

        Raises:
            NotFoundError: there is none.
        """
        with self._reading() as state:
            return state.model(name)

    def versions(self, name: str | None = None) -> list[ModelVersion]:
        """The versions of a model, or of all, by name and number.

        Raises:
            NotFoundError: there is no such model.
        """
        with self._reading() as state:
            if name is not None:
                state.model(name)
            names = sorted(state.versions) if name is None else [name]
            return [version for each in names for version in state.versions[each].values()]

    def get_version(self, name: str, version: int | str) -> ModelVersion:
        """One version.

        Raises:
            NotFoundError: there is no such model or version.
        """
        with self._reading() as state:
            return state.version(name, _number(version))

    def by_alias(self, name: str, alias: str) -> ModelVersion:
        """The version that an alias points to.

        Raises:
            NotFoundError: there is no such model or alias.
        """
        with self._reading() as state:
            model = state.model(name)
            if alias not in model.aliases:
                hint = "its aliases: " + (", ".join(model.aliases) or "none")
                raise NotFoundError(f"model {name!r} has no alias {alias!r}", hint=hint)
            return state.version(name, model.aliases[alias])

    def latest_versions(self, name: str, stages: Sequence[str] | None = None) -> list[ModelVersion]:
        """The highest version of each of these stages, by default of all.

        Raises:
            NotFoundError: there is no such model.
            UsageError: a stage is unknown.
        """
        wanted = [_stage(stage) for stage in stages] if stages else list(MODEL_STAGES)
        versions = self.versions(name)
        return [max(found, key=lambda v: v.version) for s in wanted if (found := [v for v in versions if v.stage == s])]

    @property
    def damage(self) -> list[CorruptionError]:
        """The damage found by the last read."""
        return self._log.damage

    # --- models ---

    def create_model(self, name: str, description: str = "", tags: Mapping[str, str] | None = None) -> RegisteredModel:
        """Register a model.

        Raises:
            UsageError: the name is not a model name, or taken.
        """
        _check_name(name)
        with self._changing() as state:
            if name in state.models:
                raise AlreadyExistsError(
                    f"model {name!r} exists already", hint="choose another name, or add a version to it"
                )
            self._log.append(
                {"type": "create", "name": name, "description": description, "tags": texts_by_name("tags", tags)}
            )
        return self.get_model(name)

    def rename_model(self, name: str, new_name: str) -> RegisteredModel:
        """Rename a model; it keeps its versions and aliases.

        Raises:
            NotFoundError, UsageError: there is no such model; the new name is not a model name, or taken.
        """
        _check_name(new_name)
        with self._changing() as state:
            state.model(name)
            if new_name in state.models and new_name != name:
                raise AlreadyExistsError(f"model {new_name!r} exists already", hint="choose another name")
            self._log.append({"type": "rename", "name": name, "new_name": new_name})
        return self.get_model(new_name)

    def update_model(self, name: str, description: str) -> RegisteredModel:
        """Change a model's description.

        Raises:
            NotFoundError: there is no such model.
        """
        return self._change_model(name, {"type": "update", "name": name, "description": description})

    def set_model_tag(self, name: str, key: str, value: str | None) -> RegisteredModel:
        """Set a model's tag, or remove it (None).

        Raises:
            NotFoundError: there is no such model.
        """
        return self._change_model(name, {"type": "tag", "name": name, "key": key, "value": value})

    def set_alias(self, name: str, alias: str, version: int | str) -> None:
        """Point an alias to a version; it moves if it pointed to another.

        Raises:
            NotFoundError: there is no such model or version.
            UsageError: the alias is not valid, or reserved (``latest``, ``v1``).
        """
        if not isinstance(alias, str) or not _ALIAS.fullmatch(alias) or _RESERVED_ALIAS.fullmatch(alias):
            raise UsageError(
                f"{shown(alias)} is not an alias", hint="letters, digits, '_', '-', '.'; not 'latest' or 'v1'"
            )
        number = _number(version)
        with self._changing() as state:
            state.version(name, number)
            self._log.append({"type": "alias", "name": name, "alias": alias, "version": number})

    def delete_alias(self, name: str, alias: str) -> None:
        """Remove an alias; removing a missing one is not an error.

        Raises:
            NotFoundError: there is no such model.
        """
        self._change_model(name, {"type": "alias", "name": name, "alias": alias, "version": None})

    def delete_model(self, name: str) -> None:
        """Remove a model and all its versions from the registry. The runs' files are not touched.

        Raises:
            NotFoundError: there is no such model.
        """
        with self._changing() as state:
            state.model(name)
            self._log.append({"type": "delete", "name": name})

    def add_lines(self, make: Callable[[RegistryState], Sequence[dict[str, Any]]]) -> int:
        """Append what ``make`` gives for the state, which nobody changes meanwhile; returns how many lines.

        It is for what another registry says: a line may have its own ``time``, in ns.

        Raises:
            UsageError: readers would refuse a line; none was added.
            StoreError, BusyError: the store can't be changed.
        """
        with self._changing() as state:
            lines = make(state)
            for line in lines:
                _check_name(line["name"])
            if lines:
                self._log.append(*lines)
            return len(lines)

    # --- versions ---

    def create_version(
        self,
        name: str,
        source: str,
        *,
        run_id: str | None = None,
        description: str = "",
        tags: Mapping[str, str] | None = None,
        model_id: str | None = None,
        run_link: str | None = None,
        location: str | None = None,
        as_address: bool = False,
        create_model: bool = False,
    ) -> ModelVersion:
        """Add the next version to a model. Numbers are never used twice.

        Args:
            name: The model's name.
            source: Where its files are: ``runs:/<run_id>/<path>`` for an artifact of a run, ``models:/<model_id>`` for
                a logged model.
            run_id: The run that made it.
            description: Its description.
            tags: Its tags.
            model_id: The logged model it is made from.
            run_link: A URL of the run, as in MLflow.
            location: As in ModelVersion.
            as_address: As in ModelVersion.
            create_model: Make the model if it does not exist.

        Raises:
            NotFoundError: there is no such model.
            UsageError: the name is not a model name.
        """
        _check_name(name)
        with self._changing() as state:
            lines: list[dict[str, Any]] = []
            if name not in state.models and create_model:
                lines.append({"type": "create", "name": name, "description": "", "tags": {}})
            else:
                state.model(name)
            number = state.last_number.get(name, 0) + 1
            line = {
                "type": "create_version",
                "name": name,
                "version": number,
                "source": source,
                "run_id": run_id,
                "description": description,
                "tags": texts_by_name("tags", tags),
                "model_id": model_id,
            }
            rare = {"run_link": run_link, "location": location, "as_address": as_address}
            lines.append({**line, **{key: value for key, value in rare.items() if value}})
            self._log.append(*lines)
        return self.get_version(name, number)

    def create_version_of_run(
        self,
        name: str,
        folder: RunFolder,
        path: str | None,
        *,
        description: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> ModelVersion:
        """Add a run's artifacts as a version, to a new model if needed.

        Args:
            name: The model's name.
            folder: The run's folder.
            path: The artifacts' folder or file; None for all.
            description: The version's description.
            tags: The version's tags.

        Raises:
            NotFoundError: the run has no such artifact.
            InvalidPathError, UsageError: the path would leave the run; the name is not a model name.
        """
        target = folder.artifacts if path is None else safe_join(folder.artifacts, path)
        if not target.exists():
            raise NotFoundError(f"run {folder.run_id} has no artifact {path!r}", hint="log the model's files first")
        source = f"runs:/{folder.run_id}" + (f"/{relative_name(path)}" if path is not None else "")
        return self.create_version(
            name, source, run_id=folder.run_id, description=description, tags=tags, create_model=True
        )

    def update_version(self, name: str, version: int | str, description: str) -> ModelVersion:
        """Change a version's description.

        Raises:
            NotFoundError: there is no such version.
        """
        return self._change_version(name, version, {"type": "update_version", "description": description})

    def set_version_tag(self, name: str, version: int | str, key: str, value: str | None) -> ModelVersion:
        """Set a version's tag, or remove it (None).

        Args:
            name: The model's name.
            version: The version's number.
            key: The tag's name.
            value: Its value; None removes it.

        Raises:
            NotFoundError: there is no such version.
        """
        return self._change_version(name, version, {"type": "version_tag", "key": key, "value": value})

    def set_stage(self, name: str, version: int | str, stage: str, *, archive_existing: bool = False) -> ModelVersion:
        """Move a version to a stage.

        Args:
            name: The model's name.
            version: The version's number.
            stage: None, Staging, Production or Archived, as text.
            archive_existing: Move versions that are now in that stage to Archived.

        Raises:
            NotFoundError: there is no such version.
            UsageError: the stage is unknown, or its versions are never archived.
        """
        stage = _stage(stage)
        if archive_existing and stage not in ("Staging", "Production"):
            raise UsageError(f"versions in {stage} are not archived", hint="leave archive_existing out")
        line = {"type": "stage", "stage": stage, "archive_existing": archive_existing}
        return self._change_version(name, version, line)

    def delete_version(self, name: str, version: int | str) -> None:
        """Remove a version; its number is not used again.

        Raises:
            NotFoundError: there is no such version.
        """
        number = _number(version)
        with self._changing() as state:
            state.version(name, number)
            self._log.append({"type": "delete_version", "name": name, "version": number})

    @contextlib.contextmanager
    def _reading(self) -> Iterator[RegistryState]:
        """The state from what all processes have written so far, for the body; no other thread changes it."""
        with self._lock:
            self._log.follow(self._known.apply, self._known.clear)
            yield self._known

    @contextlib.contextmanager
    def _changing(self) -> Iterator[RegistryState]:
        """The same while no other process or thread changes anything."""
        with self._log.changing(), self._reading() as state:
            yield state

    def _change_model(self, name: str, line: dict[str, Any]) -> RegisteredModel:
        with self._changing() as state:
            state.model(name)
            self._log.append(line)
        return self.get_model(name)

    def _change_version(self, name: str, version: int | str, line: dict[str, Any]) -> ModelVersion:
        number = _number(version)
        with self._changing() as state:
            state.version(name, number)
            self._log.append({"name": name, "version": number, **line})
        return self.get_version(name, number)


def _number(version: int | str) -> int:
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        number = int(version)
        if VERSION.check(number):
            return number
    raise UsageError(f"{shown(version)} is not a version number", hint="give an integer from 1 on")


def _stage(stage: str) -> str:
    for known in MODEL_STAGES:
        if isinstance(stage, str) and stage.lower() == known.lower():
            return known
    raise UsageError(f"{shown(stage)} is not a stage", hint="one of " + ", ".join(MODEL_STAGES))


def _check_name(name: str) -> None:
    bad = not isinstance(name, str) or not name.strip() or len(name) > NAME_CHARACTERS_MAX
    if bad or any(sign in name for sign in "/:"):
        raise UsageError(
            f"{shown(name)} is not a model name", hint=f"up to {NAME_CHARACTERS_MAX} characters, without '/' and ':'"
        )
