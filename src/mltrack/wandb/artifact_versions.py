"""Versions of artifacts in a store: files of the run that logged them, and a tag of it for each name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mltrack.errors import NotFoundError
from mltrack.store import Store
from mltrack.wandb.artifact_type import Version
from mltrack.wandb.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["TAG_PREFIX", "find_version", "find_versions", "version_fields"]

TAG_PREFIX = "wandb.artifact."
"""Of the tag that has all versions that a run logged of an artifact, in JSON: ``wandb.artifact.TYPE/NAME``."""


def version_fields(version: Version) -> dict[str, Any]:
    """What the tag says of a version."""
    return {
        "version": version.number,
        "aliases": list(version.aliases),
        "digest": version.digest,
        "folder": version.folder,
        "description": version.description,
        "metadata": version.metadata,
    }


def find_versions(store: Path, project: str, name: str) -> list[Version]:
    """All versions of a name in a project, by number.

    Raises:
        StoreError: the store can't be read.
    """
    query = (
        "select t.run_id, t.key, t.value from tags t join runs r using (run_id)"
        " where r.experiment_name = ? and t.key like ? and ends_with(t.key, ?)"
    )
    opened = Store.open(store)
    rows = opened.sql(query, [project, f"{TAG_PREFIX}%", f"/{name}"]).to_pylist()
    found = [one for row in rows for one in _versions_of(opened, project, row)]
    return sorted(found, key=lambda version: version.number)


def _versions_of(store: Store, project: str, row: dict[str, Any]) -> Iterable[Version]:
    kind, _, name = row["key"].removeprefix(TAG_PREFIX).partition("/")
    stored = store.run(row["run_id"])
    paths = [artifact.path for artifact in stored.artifacts]
    for said in json.loads(row["value"]):
        below = f"{said['folder']}/"
        yield Version(
            row["run_id"],
            project,
            kind,
            name,
            said["version"],
            tuple(said["aliases"]),
            said["digest"],
            said["folder"],
            said.get("description"),
            said.get("metadata") or {},
            {path.removeprefix(below): stored.artifact_path(path) for path in paths if path.startswith(below)},
        )


def find_version(store: Path, project: str, text: str, kind: str | None) -> Version:
    """The version that ``[[entity/]project/]name[:alias]`` names; without an alias the latest.

    Args:
        store: the store's folder.
        project: where the text names none.
        text: which.
        kind: the type it must have, if any.

    Raises:
        NotFoundError: there is none.
        UsageError: it is of another type.
    """
    path, _, alias = text.partition(":")
    *above, name = path.split("/")
    project = above[-1] if above else project
    versions = find_versions(store, project, name)
    if not versions:
        raise NotFoundError(f"no artifact {name!r} in project {project!r}", hint="run.log_artifact logs one")
    if alias in ("", "latest"):
        chosen = versions[-1:]
    else:
        chosen = [one for one in versions if alias in (f"v{one.number}", *one.aliases)][-1:]
    if not chosen:
        raise NotFoundError(f"artifact {name!r} has no version {alias!r}", hint=f"the latest is v{versions[-1].number}")
    if kind is not None and chosen[0].type != kind:
        raise UsageError(f"artifact {name!r} is of type {chosen[0].type!r}", hint=f"not {kind!r}")
    return chosen[0]
