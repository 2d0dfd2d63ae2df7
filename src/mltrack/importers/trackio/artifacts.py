"""Files of artifacts that a run made, which trackio keeps under their digests."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from typing import IO, TYPE_CHECKING

from mltrack.importers.source import SourceError, SourceFile

if TYPE_CHECKING:
    from pathlib import Path

    from mltrack.importers.findings import Findings
    from mltrack.importers.trackio.database_file import DatabaseFile
    from mltrack.importers.trackio.projects import Project
    from mltrack.importers.trackio.rows import RunHead

__all__ = ["artifact_files"]

_DIGEST = re.compile(r"[0-9a-f]{64}")
_QUERY = """
    SELECT DISTINCT a.type, a.name, v.version, v.manifest
    FROM run_artifact_links l JOIN artifact_versions v ON v.id = l.artifact_version_id
    JOIN artifacts a ON a.id = v.artifact_id
    WHERE l.direction = 'output' AND (l.run_id = ? OR l.run_id IS NULL AND l.run_name = ?)
    ORDER BY v.id
"""


def artifact_files(file: DatabaseFile, project: Project, run: RunHead, findings: Findings) -> Iterator[SourceFile]:
    """The files of a run's artifacts, as ``artifacts/TYPE/NAME/VERSION/PATH``.

    Raises:
        SourceError: the database is damaged.
    """
    if not file.database.has("run_artifact_links") or not file.database.has("artifact_versions", "manifest"):
        return
    blobs = project.folder / "artifacts" / project.name / "blobs" / "sha256"
    for rows in file.database.rows(_QUERY, (run.run_id, run.name)):
        for kind, name, version, manifest in rows:
            yield from _entries(f"artifacts/{kind}/{name}/v{version}", manifest, blobs, findings)


def _entries(folder: str, manifest: str | bytes, blobs: Path, findings: Findings) -> Iterator[SourceFile]:
    try:
        entries = [(entry["path"], entry["digest"]) for entry in json.loads(manifest)]
    except (ValueError, KeyError, TypeError) as error:
        raise SourceError(f"{folder}: its list of files can't be read: {error}") from error
    for name, digest in entries:
        if not _DIGEST.fullmatch(str(digest)):
            continue  # a file elsewhere, which trackio only refers to
        path = blobs / digest[:2] / digest
        if path.is_file() and not findings.is_outside(path):
            yield SourceFile(f"{folder}/{name}", path.stat().st_size, partial(_opened, path))


def _opened(path: Path) -> IO[bytes]:
    return path.open("rb")
