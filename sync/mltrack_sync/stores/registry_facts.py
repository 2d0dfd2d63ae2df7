"""A registry's log as facts that can be merged: of each model and version what was set, and when."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mltrack_sync.stores.registers import Registers

if TYPE_CHECKING:
    from collections.abc import Iterable

    Line = dict[str, Any]

__all__ = [
    "ALIAS",
    "DESCRIPTION",
    "NAME",
    "STAGE",
    "TAG",
    "ModelFacts",
    "RegistryFacts",
    "VersionFacts",
    "read_registry",
]

NAME, DESCRIPTION, STAGE, TAG, ALIAS = "name", "description", "stage", "tag:", "alias:"

ModelIdentity = tuple[int, str]
"""When a model was made, in ns, and under which name: it stays the same when the model is renamed."""

VersionIdentity = tuple[Any, ...]
"""What a version was made from, and when: it stays the same whichever number the version has in a store."""


@dataclass(slots=True)
class VersionFacts:
    """One version, deleted ones too. ``line`` is the one that made it."""

    line: Line
    deleted: int = -1
    registers: Registers = field(default_factory=Registers)

    @property
    def identity(self) -> VersionIdentity:
        """What it was made from, and when."""
        named = ("time", "source", "run_id", "model_id", "run_link", "location")
        return tuple(self.line.get(name) for name in named)


@dataclass(slots=True)
class ModelFacts:
    """One registered model. Its aliases are registers too."""

    identity: ModelIdentity
    registers: Registers = field(default_factory=Registers)
    versions: dict[int, VersionFacts] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its name now."""
        return str(self.registers.get(NAME).value)

    @property
    def latest(self) -> int:
        """When anything of it was last set."""
        return max([self.registers.latest, *(version.registers.latest for version in self.versions.values())])


@dataclass(slots=True)
class RegistryFacts:
    """All models by their names now, and when those that are gone were deleted."""

    models: dict[str, ModelFacts] = field(default_factory=dict)
    deleted: dict[ModelIdentity, int] = field(default_factory=dict)

    def find(self, other: ModelFacts) -> ModelFacts | None:
        """The model that is the same as one of another store: made as that one, else of its name."""
        same = (model for model in self.models.values() if model.identity == other.identity)
        return next(same, None) or self.models.get(other.name)

    def apply(self, line: Line) -> None:
        """Take one line; one that names what does not exist is skipped."""
        at, name = int(line["time"]), str(line["name"])
        if line["type"] == "create":
            model = self.models[name] = ModelFacts((at, name))
            model.registers.set(NAME, at, name)
            model.registers.set(DESCRIPTION, at, line["description"])
            for key, value in dict(line["tags"]).items():
                model.registers.set(f"{TAG}{key}", at, value)
            return
        held = self.models.get(name)
        if held is None:
            return
        if "version" in line and line["type"] != "alias":
            _apply_to_version(held, line, at)
        elif line["type"] == "delete":
            del self.models[name]
            self.deleted[held.identity] = at
        elif line["type"] == "rename":
            self.models[str(line["new_name"])] = self.models.pop(name)
            held.registers.set(NAME, at, line["new_name"])
        else:
            _apply_to_model(held, line, at)


def _apply_to_model(model: ModelFacts, line: Line, at: int) -> None:
    match line["type"]:
        case "update":
            model.registers.set(DESCRIPTION, at, line["description"])
        case "tag":
            model.registers.set(f"{TAG}{line['key']}", at, line["value"])
        case "alias":
            model.registers.set(f"{ALIAS}{line['alias']}", at, line["version"])


def _apply_to_version(model: ModelFacts, line: Line, at: int) -> None:
    number = int(line["version"])
    if line["type"] == "create_version":
        made = model.versions[number] = VersionFacts(line)
        made.registers.set(DESCRIPTION, at, line["description"])
        made.registers.set(STAGE, at, "None")
        for key, value in dict(line["tags"]).items():
            made.registers.set(f"{TAG}{key}", at, value)
        return
    version = model.versions.get(number)
    if version is None:
        return
    match line["type"]:
        case "update_version":
            version.registers.set(DESCRIPTION, at, line["description"])
        case "version_tag":
            version.registers.set(f"{TAG}{line['key']}", at, line["value"])
        case "stage":
            for other in model.versions.values():
                if line.get("archive_existing") and other.registers.get(STAGE).value == line["stage"]:
                    other.registers.set(STAGE, at, "Archived")
            version.registers.set(STAGE, at, line["stage"])
        case "delete_version":
            version.deleted = at
            for key, register in list(model.registers.held.items()):
                if key.startswith(ALIAS) and register.value == number:
                    model.registers.set(key, at, None)


def read_registry(lines: Iterable[Line]) -> RegistryFacts:
    """The facts of a registry's lines, in order."""
    found = RegistryFacts()
    for line in lines:
        found.apply(line)
    return found
