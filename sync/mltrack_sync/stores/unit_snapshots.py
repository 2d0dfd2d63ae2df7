"""Snapshots and tokens of units that are not runs: the workspace, logged models, traces, sources, MLflow's files."""

from __future__ import annotations

import os
import stat
import zlib
from typing import TYPE_CHECKING

from mltrack.disk.artifact_files import files_below
from mltrack.disk.filesystem import NotRegularError, open_regular
from mltrack_sync.stores.artifact_facts import ArtifactFacts
from mltrack_sync.stores.file_marks import line_end, mark_of
from mltrack_sync.stores.transfer import FileKind, FileState, TransferError
from mltrack_sync.stores.unit_files import file_kind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["unit_files", "unit_token"]


def unit_token(folder: Path) -> str:
    """A token of such a unit, from the names, sizes and times of its files; "" where there are none."""
    seen: list[str] = []
    for path, name in sorted(files_below(folder), key=lambda item: item[1]) if folder.is_dir() else ():
        if _kind(folder, name) is not None:
            found = os.lstat(path)
            seen.append(f"{name} {found.st_size} {found.st_mtime_ns} {found.st_ino}")
    text = "\n".join(seen).encode("utf-8", "surrogateescape")
    return f"{len(seen)}:{zlib.crc32(text):08x}{zlib.adler32(text):08x}" if seen else ""


def _kind(folder: Path, name: str) -> FileKind | None:
    try:
        return file_kind(_unit_of(folder), name)
    except TransferError:
        return None


def _unit_of(folder: Path) -> str:
    """The name of a unit with that folder."""
    return folder.name if folder.name in ("workspace", "sources") else f"{folder.parent.name}/{folder.name}"


def unit_files(folder: Path, *, artifact_bytes_max: int | None = None) -> tuple[tuple[FileState, ...], bool]:
    """The files of such a unit in the order in which they are to be written, and whether any was left out as too large.

    Args:
        folder: The unit's folder.
        artifact_bytes_max: Larger files that programs logged are left out.

    Raises:
        OSError: a file can't be read.
    """
    area = _unit_of(folder).partition("/")[0]
    if area == "traces":  # facts are measured first and written last: each names a line of spans
        facts = list(_logs(folder, "facts"))
        return (*_logs(folder, "spans"), *facts), False
    if area == "models":
        log = list(_facts(folder, "model.jsonl"))
        files = list(_model_files(folder))
    elif area == "workspace":
        return tuple(state for name in ("experiments.jsonl", "models.jsonl") for state in _facts(folder, name)), False
    else:
        log = []
        files = list(_plain_files(folder))
    if artifact_bytes_max is None or area == "sources":
        return (*files, *log), False
    kept = [state for state in files if state.size <= artifact_bytes_max > 0]
    return (*kept, *log), len(kept) < len(files)


def _logs(folder: Path, name: str) -> Iterator[FileState]:
    for file in sorted(os.listdir(folder / name)) if (folder / name).is_dir() else ():
        if _kind(folder, f"{name}/{file}") is FileKind.LOG:
            yield from _measured(folder, f"{name}/{file}", FileKind.LOG)


def _facts(folder: Path, name: str) -> Iterator[FileState]:
    yield from _measured(folder, name, FileKind.FACTS)


def _measured(folder: Path, name: str, kind: FileKind) -> Iterator[FileState]:
    try:
        fd = open_regular(folder / name, follow=False)
    except (FileNotFoundError, NotRegularError):
        return
    try:
        size = line_end(fd)
        if size:
            yield FileState(name, kind, size, mark=mark_of(fd, size))
    finally:
        os.close(fd)


def _model_files(folder: Path) -> Iterator[FileState]:
    facts = ArtifactFacts().read_model(folder / "model.jsonl")
    for path, fact in sorted(facts.by_path.items()):
        if not fact.deleted and _size_of(folder / path) >= 0:
            yield FileState(path, FileKind.WHOLE, fact.size, sha256=fact.sha256, at=fact.at)


def _plain_files(folder: Path) -> Iterator[FileState]:
    for path, name in files_below(folder) if folder.is_dir() else ():
        size = _size_of(path)
        if size >= 0 and _kind(folder, name) is FileKind.WHOLE:
            yield FileState(name, FileKind.WHOLE, size)


def _size_of(path: Path) -> int:
    try:
        found = os.lstat(path)
    except OSError:
        return -1
    return found.st_size if stat.S_ISREG(found.st_mode) else -1
