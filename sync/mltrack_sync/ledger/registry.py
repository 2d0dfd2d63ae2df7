"""What a remote has of registered models, as the ledger keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mltrack.entities import ModelVersion

__all__ = ["ModelEntry", "VersionEntry", "model_line", "version_line"]


@dataclass(frozen=True, slots=True)
class VersionEntry:
    """One version: when it was created locally (ms), its number on the remote, whether it is ready, and its data.

    A model that is deleted and made again reuses its numbers; the time distinguishes such versions.
    """

    made: int
    remote: str
    ready: bool = False
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    stage: str = "None"
    status: str = ""

    @classmethod
    def of(cls, version: ModelVersion, remote: str, *, ready: bool) -> VersionEntry:
        """The entry of a version that the remote has in full, under that number."""
        return cls(version.creation_time, remote, ready, version.description, dict(version.tags), version.stage)

    def has(self, version: ModelVersion) -> bool:
        """Whether the remote has it as it is now."""
        sent = (self.description, self.tags, self.stage)
        return sent == (version.description, dict(version.tags), version.stage)


@dataclass(slots=True)
class ModelEntry:
    """One registered model; ``aliases`` and ``versions`` are by local numbers."""

    made: bool = False
    description: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, int] = field(default_factory=dict)
    versions: dict[int, VersionEntry] = field(default_factory=dict)

    def version(self, version: ModelVersion) -> VersionEntry | None:
        """The entry of this version; None when the remote does not have it."""
        known = self.versions.get(version.version)
        return known if known is not None and known.made == version.creation_time else None

    def apply(self, line: Mapping[str, Any]) -> None:
        """Take in a line of the ledger."""
        if line["type"] == "model":
            self.made = True
            self.description, self.tags = str(line["description"]), dict(line["tags"])
            self.aliases = {alias: int(number) for alias, number in line["aliases"].items()}
        else:
            self.versions[int(line["version"])] = VersionEntry(
                int(line["made"]), line["remote"], line["ready"], line["description"], dict(line["tags"]), line["stage"]
            )

    def lines(self, name: str) -> list[dict[str, Any]]:
        """The fewest lines that say the same."""
        found = [model_line(name, self.description, self.tags, self.aliases)] if self.made else []
        return found + [version_line(name, number, entry) for number, entry in self.versions.items()]


def model_line(name: str, description: str, tags: Mapping[str, str], aliases: Mapping[str, int]) -> dict[str, Any]:
    """The line that says what the remote has of a model."""
    return {
        "type": "model",
        "model": name,
        "description": description,
        "tags": dict(tags),
        "aliases": dict(aliases),
    }


def version_line(name: str, number: int, entry: VersionEntry) -> dict[str, Any]:
    """The line that says what the remote has of a version."""
    return {
        "type": "model_version",
        "model": name,
        "version": number,
        "made": entry.made,
        "remote": entry.remote,
        "ready": entry.ready,
        "description": entry.description,
        "tags": dict(entry.tags),
        "stage": entry.stage,
    }
