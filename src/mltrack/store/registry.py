"""The registry: registered models with versions, stages, aliases and tags as MLflow has them, kept in the store."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mltrack.entities import MODEL_STAGES, ModelVersion, RegisteredModel
from mltrack.errors import AlreadyExistsError, NotFoundError, UsageError
from mltrack.fs import LOCAL, FileSystem, relative_name, safe_join
from mltrack.store.shared_log import SharedLog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mltrack.errors import CorruptionError
    from mltrack.store.layout import Layout, RunFolder

__all__ = ["Registry"]

_ALIAS = re.compile(r"[A-Za-z0-9_.-]{1,255}")
_RESERVED_ALIAS = re.compile(r"(?i)latest|v\d+")
NAME_CHARACTERS_MAX = 256


class Registry:
    """Registered models by name. Reading takes no lock; a change takes the workspace's for a few milliseconds."""

    def __init__(self, layout: Layout, *, clock: Callable[[], int], fs: FileSystem = LOCAL) -> None:
        """``clock`` gives ns since the epoch."""
        self._log = SharedLog(layout, "models.jsonl", clock=clock, fs=fs)

    # --- looking ---

    def models(self) -> list[RegisteredModel]:
        """All registered models, by name."""
        return sorted(self._state().models.values(), key=lambda model: model.name)

    def get_model(self, name: str) -> RegisteredModel:
        """The registered model of that name.

        Raises:
            NotFoundError: there is none.
        """
        return self._state().model(name)

    def versions(self, name: str | None = None) -> list[ModelVersion]:
        """The versions of a model, or of all, by name and number.

        Raises:
            NotFoundError: there is no such model.
        """
        state = self._state()
        if name is not None:
            state.model(name)
        found = (v for v in state.versions.values() if name in (None, v.name))
        return sorted(found, key=lambda version: (version.name, version.version))

    def get_version(self, name: str, version: int | str) -> ModelVersion:
        """One version.

        Raises:
            NotFoundError: there is no such model or version.
        """
        return self._state().version(name, _number(version))

    def by_alias(self, name: str, alias: str) -> ModelVersion:
        """The version an alias stands for.

        Raises:
            NotFoundError: there is no such model or alias.
        """
        state = self._state()
        model = state.model(name)
        if alias not in model.aliases:
            raise NotFoundError(
                f"model {name!r} has no alias {alias!r}", hint="its aliases: " + (", ".join(model.aliases) or "none")
            )
        return state.version(name, model.aliases[alias])

    def latest_versions(self, name: str, stages: Sequence[str] | None = None) -> list[ModelVersion]:
        """The highest version of each stage asked for, of all stages when none is.

        Raises:
            NotFoundError: there is no such model.
            UsageError: a stage is unknown.
        """
        wanted = [_stage(stage) for stage in stages] if stages else list(MODEL_STAGES)
        versions = self.versions(name)
        return [max(found, key=lambda v: v.version) for s in wanted if (found := [v for v in versions if v.stage == s])]

    @property
    def damage(self) -> list[CorruptionError]:
        """What was damaged when last looked at."""
        return self._log.damage

    # --- models ---

    def create_model(self, name: str, description: str = "", tags: Mapping[str, str] | None = None) -> RegisteredModel:
        """Register a model.

        Raises:
            UsageError: the name is no model name, or taken.
        """
        _check_name(name)
        with self._log.changing():
            if name in self._state().models:
                raise AlreadyExistsError(
                    f"model {name!r} exists already", hint="choose another name, or add a version to it"
                )
            self._log.append({"type": "create", "name": name, "description": description, "tags": dict(tags or {})})
        return self.get_model(name)

    def rename_model(self, name: str, new_name: str) -> RegisteredModel:
        """Give a model another name; its versions and aliases go with it.

        Raises:
            NotFoundError, UsageError: there is no such model; the new name is none, or taken.
        """
        _check_name(new_name)
        with self._log.changing():
            state = self._state()
            state.model(name)
            if new_name in state.models:
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
        """Set a model's tag, or take it away (None).

        Raises:
            NotFoundError: there is no such model.
        """
        return self._change_model(name, {"type": "tag", "name": name, "key": key, "value": value})

    def set_alias(self, name: str, alias: str, version: int | str) -> None:
        """Let an alias stand for a version; it moves when it stood for another.

        Raises:
            NotFoundError: there is no such model or version.
            UsageError: the alias is none, or reserved (``latest``, ``v1``).
        """
        if not _ALIAS.fullmatch(alias) or _RESERVED_ALIAS.fullmatch(alias):
            raise UsageError(f"{alias!r} is no alias", hint="use letters, digits, '_', '-', '.'; not 'latest' or 'v1'")
        number = _number(version)
        with self._log.changing():
            self._state().version(name, number)
            self._log.append({"type": "alias", "name": name, "alias": alias, "version": number})

    def delete_alias(self, name: str, alias: str) -> None:
        """Take an alias away; one that is not there is no error.

        Raises:
            NotFoundError: there is no such model.
        """
        self._change_model(name, {"type": "alias", "name": name, "alias": alias, "version": None})

    def delete_model(self, name: str) -> None:
        """Remove a model and all its versions from the registry. The runs' files are not touched.

        Raises:
            NotFoundError: there is no such model.
        """
        with self._log.changing():
            self._state().model(name)
            self._log.append({"type": "delete", "name": name})

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
        create_model: bool = False,
    ) -> ModelVersion:
        """Add the next version to a model. Numbers are never given out twice.

        ``source`` says where its files are: ``runs:/<run_id>/<path>`` for an artifact of a run. ``create_model`` makes
        the model where there is none.

        Raises:
            NotFoundError: there is no such model.
            UsageError: the name is no model name.
        """
        _check_name(name)
        with self._log.changing():
            state = self._state()
            lines: list[dict[str, Any]] = []
            if name not in state.models and create_model:
                lines.append({"type": "create", "name": name, "description": "", "tags": {}})
            else:
                state.model(name)
            number = state.last_number.get(name, 0) + 1
            lines.append(
                {
                    "type": "create_version",
                    "name": name,
                    "version": number,
                    "source": source,
                    "run_id": run_id,
                    "description": description,
                    "tags": dict(tags or {}),
                    "model_id": model_id,
                }
            )
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
        """Add what a run stored under ``path`` (all its artifacts when None) as a version, to a new model if need be.

        Raises:
            NotFoundError: the run has no such artifact.
            InvalidPathError, UsageError: the path would leave the run; the name is no model name.
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
        """Set a version's tag, or take it away (None).

        Raises:
            NotFoundError: there is no such version.
        """
        return self._change_version(name, version, {"type": "version_tag", "key": key, "value": value})

    def set_stage(self, name: str, version: int | str, stage: str, *, archive_existing: bool = False) -> ModelVersion:
        """Move a version to a stage; ``archive_existing`` moves those that are there to Archived.

        Raises:
            NotFoundError: there is no such version.
            UsageError: the stage is unknown, or one that nothing is archived from.
        """
        stage = _stage(stage)
        if archive_existing and stage not in ("Staging", "Production"):
            raise UsageError(f"versions in {stage} are not archived", hint="leave archive_existing out")
        line = {"type": "stage", "stage": stage, "archive_existing": archive_existing}
        return self._change_version(name, version, line)

    def delete_version(self, name: str, version: int | str) -> None:
        """Remove a version; its number is not given out again.

        Raises:
            NotFoundError: there is no such version.
        """
        number = _number(version)
        with self._log.changing():
            self._state().version(name, number)
            self._log.append({"type": "delete_version", "name": name, "version": number})

    def _state(self) -> _State:
        state = _State()
        self._log.replay(state.apply)
        return state

    def _change_model(self, name: str, line: dict[str, Any]) -> RegisteredModel:
        with self._log.changing():
            self._state().model(name)
            self._log.append(line)
        return self.get_model(name)

    def _change_version(self, name: str, version: int | str, line: dict[str, Any]) -> ModelVersion:
        number = _number(version)
        with self._log.changing():
            self._state().version(name, number)
            self._log.append({"name": name, "version": number, **line})
        return self.get_version(name, number)


class _State:
    """What the lines add up to."""

    def __init__(self) -> None:
        self.models: dict[str, RegisteredModel] = {}
        self.versions: dict[tuple[str, int], ModelVersion] = {}
        self.last_number: dict[str, int] = {}

    def model(self, name: str) -> RegisteredModel:
        if name not in self.models:
            raise NotFoundError(f"no registered model {name!r}", hint="known: " + (", ".join(self.models) or "none"))
        return self.models[name]

    def version(self, name: str, number: int) -> ModelVersion:
        self.model(name)
        if (name, number) not in self.versions:
            known = ", ".join(str(n) for m, n in self.versions if m == name)
            raise NotFoundError(f"model {name!r} has no version {number}", hint="its versions: " + (known or "none"))
        return self.versions[name, number]

    def apply(self, line: dict[str, Any]) -> None:
        at, name = int(line["time"]) // 1_000_000, str(line["name"])
        if line["type"] == "create":
            self.models[name] = RegisteredModel(name, at, at, line["description"], _kept(line["tags"]), {})
            self.last_number.setdefault(name, 0)
        elif name not in self.models:
            raise ValueError(name)
        elif "version" in line and line["type"] != "alias":
            self._apply_to_version(line, at, name, int(line["version"]))
        else:
            self._apply_to_model(line, at, name)

    def _apply_to_model(self, line: dict[str, Any], at: int, name: str) -> None:
        model = self.models[name]
        match line["type"]:
            case "rename":
                self._rename(name, str(line["new_name"]), at)
                return
            case "delete":
                del self.models[name], self.last_number[name]
                self.versions = {key: version for key, version in self.versions.items() if key[0] != name}
                return
            case "update":
                model = replace(model, description=str(line["description"]))
            case "tag":
                model = replace(model, tags=_kept({**model.tags, line["key"]: line["value"]}))
            case "alias":
                model = replace(model, aliases=_kept({**model.aliases, line["alias"]: line["version"]}))
                self._place_aliases(model)
        self.models[name] = replace(model, last_update_time=at)

    def _apply_to_version(self, line: dict[str, Any], at: int, name: str, number: int) -> None:
        key = (name, number)
        if line["type"] == "create_version":
            self.last_number[name] = max(self.last_number[name], number)
            self.versions[key] = ModelVersion(
                name=name,
                version=number,
                source=str(line["source"]),
                run_id=line["run_id"],
                creation_time=at,
                last_update_time=at,
                description=str(line["description"]),
                tags=_kept(line["tags"]),
                model_id=line.get("model_id"),
            )
            return
        version = self.versions[key]
        match line["type"]:
            case "delete_version":
                del self.versions[key]
                left = {alias: n for alias, n in self.models[name].aliases.items() if n != number}
                self.models[name] = replace(self.models[name], aliases=left)
                return
            case "update_version":
                version = replace(version, description=str(line["description"]))
            case "version_tag":
                version = replace(version, tags=_kept({**version.tags, line["key"]: line["value"]}))
            case "stage":
                if line.get("archive_existing"):
                    self._archive(name, str(line["stage"]), at)
                version = replace(version, stage=str(line["stage"]))
        self.versions[key] = replace(version, last_update_time=at)

    def _archive(self, name: str, stage: str, at: int) -> None:
        for key, other in self.versions.items():
            if key[0] == name and other.stage == stage:
                self.versions[key] = replace(other, stage="Archived", last_update_time=at)

    def _rename(self, name: str, new_name: str, at: int) -> None:
        self.models[new_name] = replace(self.models.pop(name), name=new_name, last_update_time=at)
        self.last_number[new_name] = self.last_number.pop(name)
        self.versions = {
            (new_name if key[0] == name else key[0], key[1]): replace(version, name=new_name)
            if key[0] == name
            else version
            for key, version in self.versions.items()
        }

    def _place_aliases(self, model: RegisteredModel) -> None:
        for key, version in self.versions.items():
            if key[0] == model.name:
                mine = tuple(sorted(alias for alias, number in model.aliases.items() if number == key[1]))
                self.versions[key] = replace(version, aliases=mine)


def _kept(entries: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entries.items() if value is not None}


def _number(version: int | str) -> int:
    try:
        return int(version)
    except (TypeError, ValueError):
        raise UsageError(f"{version!r} is no version number", hint="give an integer") from None


def _stage(stage: str) -> str:
    for known in MODEL_STAGES:
        if stage.lower() == known.lower():
            return known
    raise UsageError(f"{stage!r} is no stage", hint="one of " + ", ".join(MODEL_STAGES))


def _check_name(name: str) -> None:
    bad = not isinstance(name, str) or not name.strip() or len(name) > NAME_CHARACTERS_MAX
    if bad or any(sign in name for sign in "/:"):
        raise UsageError(
            f"{name!r} is no model name", hint=f"up to {NAME_CHARACTERS_MAX} characters, without '/' and ':'"
        )
