"""Checking the file of an artifact against what was recorded of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from mltrack.disk.artifact_files import hash_file
from mltrack.disk.filesystem import safe_join
from mltrack.errors import InvalidPathError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mltrack.entities import Artifact
    from mltrack.storage.check.report import CheckReport

__all__ = ["MISSING", "artifact_fault", "files_of"]

MISSING = "is missing"
"""What is said of a file that is not there."""

HOLES_BYTES_MIN, HOLES_RATIO = 16 << 30, 1_000
"""A file of at least so many bytes, of which less than the given part is on the disk, is not read."""


def artifact_fault(root: Path, artifact: Artifact, report: CheckReport) -> str | None:
    """The fault of an artifact's file in the folder ``root``; None if it has none."""
    try:
        path = safe_join(root, artifact.path)
    except InvalidPathError as error:
        return str(error)
    try:
        stat = os.stat(path)
        size = stat.st_size
        if size > HOLES_BYTES_MIN and stat.st_blocks * 512 < size // HOLES_RATIO:  # reading it would take hours
            return f"has {size:,} bytes, almost none of them on the disk: it was not read"
        if path.is_file() and size != artifact.size:  # not read, whatever its size
            return f"has {size:,} bytes, but {artifact.size:,} were recorded"
        size, sha256 = hash_file(path)
    except FileNotFoundError:
        return None if artifact.remote else MISSING
    except OSError as error:
        return f"can't be read: {error.strerror}"
    report.read(path)
    if size != artifact.size:
        return f"has {size:,} bytes, but {artifact.size:,} were recorded"
    if sha256 != artifact.sha256:
        return f"has SHA-256 {sha256[:12]}..., but {artifact.sha256[:12]}... was recorded"
    return None


def files_of(folder: Path) -> Iterator[tuple[Path, str]]:
    """Every file below a folder, with its name relative to it."""
    for here, folders, files in os.walk(folder):
        folders.sort()
        for file in sorted(files):
            path = Path(here, file)
            yield path, path.relative_to(folder).as_posix()
