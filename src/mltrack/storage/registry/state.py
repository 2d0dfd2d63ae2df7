"""The state that the lines of the registry's log give: models by name, and the versions of each by number."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mltrack.entities import ModelVersion, RegisteredModel
from mltrack.errors import NotFoundError
from mltrack.text.nearest import meant

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["RegistryState"]

HINTS_MAX = 10
"""How many names the hint of an error shows."""


class RegistryState:
    """All models and versions. As in MLflow, tags and aliases don't change ``last_update_time``."""

    def __init__(self) -> None:
        self.models: dict[str, RegisteredModel] = {}
        self.versions: dict[str, dict[int, ModelVersion]] = {}  # each model's by number, ascending
        self.last_number: dict[str, int] = {}
        self.deleted_numbers: dict[str, set[int]] = {}

    def clear(self) -> None:
        """Forget everything."""
        self.models.clear()
        self.versions.clear()
        self.last_number.clear()
        self.deleted_numbers.clear()

    def model(self, name: str) -> RegisteredModel:
        """One model.

        Raises:
            NotFoundError: it does not exist.
        """
        if name not in self.models:
            raise NotFoundError(f"no registered model {name!r}", hint=meant(name, self.models))
        return self.models[name]

    def version(self, name: str, number: int) -> ModelVersion:
        """One version.

        Raises:
            NotFoundError: there is no such model or version.
        """
        self.model(name)
        if number not in self.versions[name]:
            known = _some(str(n) for n in self.versions[name])
            raise NotFoundError(f"model {name!r} has no version {number}", hint=f"its versions: {known}")
        return self.versions[name][number]

    def free_number(self, name: str, wanted: int) -> int:
        """The number for a version that has ``wanted`` elsewhere: that, unless it is or was another version's here."""
        is_free = wanted not in self.versions.get(name, {}) and wanted not in self.deleted_numbers.get(name, set())
        return wanted if is_free and wanted > 0 else self.last_number.get(name, 0) + 1

    def apply(self, line: dict[str, Any]) -> None:
        """Apply one line.

        Raises:
            KeyError, TypeError, ValueError: a field is missing, or what it names; nothing was changed.
        """
        at, name, kind = int(line["time"]) // 1_000_000, str(line["name"]), line["type"]
        if kind == "create":
            self.models[name] = RegisteredModel(name, at, at, line["description"], _kept(line["tags"]), {})
            self.versions.setdefault(name, {})
            self.last_number.setdefault(name, 0)
        elif name not in self.models:
            raise ValueError(name)
        elif kind == "alias":
            self._apply_alias(self.models[name], str(line["alias"]), line["version"])
        elif kind == "create_version":
            self._add_version(line, at, name, int(line["version"]))
        elif "version" in line:
            self._apply_to_version(line, at, self.versions[name][int(line["version"])])
        else:
            self._apply_to_model(line, at, self.models[name])

    def _apply_to_model(self, line: dict[str, Any], at: int, model: RegisteredModel) -> None:
        match line["type"]:
            case "rename":
                self._rename(model.name, str(line["new_name"]), at)
            case "delete":
                del self.models[model.name], self.versions[model.name], self.last_number[model.name]
                self.deleted_numbers.pop(model.name, None)
            case "update":
                self.models[model.name] = replace(model, description=str(line["description"]), last_update_time=at)
            case "tag":
                self.models[model.name] = replace(model, tags=_kept({**model.tags, line["key"]: line["value"]}))

    def _apply_alias(self, model: RegisteredModel, alias: str, number: int | None) -> None:
        held = model.aliases.get(alias)
        model = replace(model, aliases=_kept({**model.aliases, alias: number}))
        self.models[model.name] = model
        for touched in {held, number} - {None}:
            version = self.versions[model.name].get(int(touched or 0))
            if version is not None:
                mine = tuple(sorted(a for a, n in model.aliases.items() if n == version.version))
                self.versions[model.name][version.version] = replace(version, aliases=mine)

    def _add_version(self, line: dict[str, Any], at: int, name: str, number: int) -> None:
        self.versions[name][number] = ModelVersion(
            name=name,
            version=number,
            source=str(line["source"]),
            run_id=line["run_id"],
            creation_time=at,
            last_update_time=at,
            description=str(line["description"]),
            tags=_kept(line["tags"]),
            model_id=line.get("model_id"),
            run_link=line.get("run_link"),
            location=line.get("location"),
            as_address=bool(line.get("as_address", False)),
        )
        if number < self.last_number[name]:  # one that came from elsewhere, under the number that it had there
            self.versions[name] = dict(sorted(self.versions[name].items()))
        self.last_number[name] = max(self.last_number[name], number)
        self._touch(name, at)

    def _apply_to_version(self, line: dict[str, Any], at: int, version: ModelVersion) -> None:
        versions, number = self.versions[version.name], version.version
        match line["type"]:
            case "delete_version":
                del versions[number]
                self.deleted_numbers.setdefault(version.name, set()).add(number)
                model = self.models[version.name]
                left = {alias: n for alias, n in model.aliases.items() if n != number}
                self.models[model.name] = replace(model, aliases=left, last_update_time=at)
            case "update_version":
                versions[number] = replace(version, description=str(line["description"]), last_update_time=at)
            case "version_tag":
                versions[number] = replace(version, tags=_kept({**version.tags, line["key"]: line["value"]}))
            case "stage":
                if line.get("archive_existing"):
                    self._archive(version.name, str(line["stage"]), at)
                versions[number] = replace(version, stage=str(line["stage"]), last_update_time=at)
                self._touch(version.name, at)

    def _touch(self, name: str, at: int) -> None:
        self.models[name] = replace(self.models[name], last_update_time=at)

    def _archive(self, name: str, stage: str, at: int) -> None:
        for number, other in self.versions[name].items():
            if other.stage == stage:
                self.versions[name][number] = replace(other, stage="Archived", last_update_time=at)

    def _rename(self, name: str, new_name: str, at: int) -> None:
        self.models[new_name] = replace(self.models.pop(name), name=new_name, last_update_time=at)
        self.last_number[new_name] = self.last_number.pop(name)
        self.deleted_numbers[new_name] = self.deleted_numbers.pop(name, set())
        self.versions[new_name] = {
            number: replace(version, name=new_name, last_update_time=at)
            for number, version in self.versions.pop(name).items()
        }


def _kept(entries: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entries.items() if value is not None}


def _some(names: Iterable[str]) -> str:
    known = list(names)
    return ", ".join([*known[:HINTS_MAX], *(["..."] if len(known) > HINTS_MAX else [])]) or "none"
