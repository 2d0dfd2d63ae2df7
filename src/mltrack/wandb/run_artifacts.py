"""Artifacts that a run logs and uses."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from time import time_ns
from typing import IO, TYPE_CHECKING, Any, Protocol

from mltrack.disk.layout import Layout
from mltrack.storage.registry.registry import Registry
from mltrack.wandb.artifact_type import Artifact, Version
from mltrack.wandb.artifact_versions import TAG_PREFIX, find_version, find_versions, version_fields
from mltrack.wandb.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mltrack.entities import ModelVersion

__all__ = ["USED_TAG", "ArtifactRun", "RunArtifacts", "artifact_of"]

USED_TAG = "wandb.used_artifacts"
"""The tag that lists the versions that a run used."""


class ArtifactRun(Protocol):
    """The part of a run that artifacts are stored through."""

    @property
    def run_id(self) -> str:
        """Its id."""

    def log_stream(self, stream: IO[bytes], artifact_file: str) -> None:
        """Store a file."""

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set tags."""


class RunArtifacts:
    """Logs and uses artifacts for one run; without a store (a disabled run) there are none to use."""

    def __init__(self, run: ArtifactRun, project: str, store: Path | None) -> None:
        self._run = run
        self._project = project
        self._store = store
        self._logged: dict[tuple[str, str], list[Version]] = {}
        self._used: list[str] = []

    def log(self, artifact: Artifact, aliases: Sequence[str] | None) -> Artifact:
        """Store the artifact: its files below ``artifacts/TYPE/NAME``, a later version of this run below ``NAME@2``.

        Content that the latest version has makes no new version, but its aliases are added.

        Raises:
            StoreError: the store can't be read.
        """
        if not artifact.is_draft():
            return artifact
        kind, name, digest = artifact.type, artifact.base_name, artifact.digest
        key = (kind, name)
        own = self._logged.setdefault(key, [])
        known = find_versions(self._store, self._project, name) if self._store is not None else own
        number = known[-1].number + 1 if known else 0
        if own and own[-1].digest == digest:
            new = [one for one in aliases or () if one not in own[-1].aliases]
            own[-1] = self._version(artifact, own[-1].number, own[-1].folder, (*own[-1].aliases, *new), digest)
        else:
            if known and known[-1].digest == digest:
                number = known[-1].number
            folder = f"artifacts/{kind}/{name}" + (f"@{len(own) + 1}" if own else "")
            for path, content in artifact.content().items():
                self._store_file(content, f"{folder}/{path}")
            own.append(self._version(artifact, number, folder, tuple(aliases or ()), digest))
        self._run.set_tags({f"{TAG_PREFIX}{kind}/{name}": json.dumps([version_fields(one) for one in own])})
        artifact.set_version(own[-1])
        return artifact

    def _version(self, artifact: Artifact, number: int, folder: str, aliases: tuple[str, ...], digest: str) -> Version:
        return Version(
            self._run.run_id,
            self._project,
            artifact.type,
            artifact.base_name,
            number,
            aliases,
            digest,
            folder,
            artifact.description,
            artifact.metadata,
            {},
        )

    def _store_file(self, content: Path | bytes, name: str) -> None:
        if isinstance(content, bytes):
            self._run.log_stream(io.BytesIO(content), name)
            return
        with content.open("rb") as file:
            self._run.log_stream(file, name)

    def use(self, which: str | Artifact, kind: str | None) -> Artifact:
        """A stored artifact, noted as one that the run used.

        Raises:
            NotFoundError: there is none of that name.
            UsageError: it is of another type, or a new one that has no files of another run.
        """
        if isinstance(which, Artifact):
            found = self.log(which, None) if which.is_draft() else which
        elif self._store is None:
            raise UsageError("a disabled run has no artifacts to use", hint='wandb.init(mode="offline")')
        else:
            found = Artifact.stored(find_version(self._store, self._project, which, kind))
        name = found.qualified_name
        if name not in self._used:
            self._used.append(name)
            self._run.set_tags({USED_TAG: json.dumps(self._used)})
        return found

    def link(self, artifact: Artifact, target: str, aliases: Sequence[str]) -> ModelVersion | None:
        """Make an artifact the next version of a registered model: the last part of ``target`` names it.

        Raises:
            UsageError: the name is not a model's.
            NotFoundError: its files are not in the store.
            StoreError: the store can't be written.
        """
        found = self.log(artifact, None)
        if self._store is None:
            return None
        version, name = found.stored_version(), target.rpartition("/")[2]
        layout = Layout.open(self._store)
        registry = Registry(layout, clock=time_ns)
        made = registry.create_version_of_run(name, layout.run(version.run_id), version.folder)
        for alias in aliases:
            registry.set_alias(name, alias, made.version)
        return made


def artifact_of(artifact_or_path: Any, name: str | None, kind: str | None, default_name: str) -> Artifact:
    """An artifact as it is, or one of a file or a folder.

    Args:
        artifact_or_path: which.
        name: of the new one.
        kind: its type.
        default_name: its name without one.

    Raises:
        UsageError: there is no such file.
    """
    if isinstance(artifact_or_path, Artifact):
        return artifact_or_path
    path = Path(artifact_or_path)
    made = Artifact(name or f"{default_name}-{path.name}", kind or "unspecified")
    if path.is_dir():
        made.add_dir(path)
    else:
        made.add_file(path)
    return made
