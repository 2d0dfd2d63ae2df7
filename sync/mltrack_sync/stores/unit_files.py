"""Which files a unit may have, by the names that the format gives them, and where they are in a store.

Names come from the other side: what is not one of these is refused before anything is read or written.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mltrack.disk.artifact_files import is_temporary
from mltrack.disk.codec import HEADER_SIZE, POINTS_BYTES_MAX, RECORD_SIZE
from mltrack.disk.elsewhere import MARKER_BYTES_MAX
from mltrack.disk.filesystem import relative_name
from mltrack.disk.segment import segment_name
from mltrack.errors import InvalidPathError
from mltrack.text.printable import printable
from mltrack_sync.stores.transfer import FileKind, FileState, TransferError, UnitSnapshot

if TYPE_CHECKING:
    from pathlib import Path

    from mltrack.disk.layout import Layout

__all__ = ["check_snapshot", "file_kind", "is_points_name", "is_writer", "unit_folder"]

FILES_MAX = 5_000_000
"""More files than a unit is taken with."""

SIZE_MAX = 1 << 48
FACTS_BYTES_MAX = 256 << 20
"""A log of facts is merged in memory."""

_WRITER = re.compile(r"[0-9a-f]{16}")
_MARKER_NAME = re.compile(r"[0-9a-f]{16}\.elsewhere")
_LOG_NAME = re.compile(r"[0-9a-f]{16}\.jsonl")
_POINTS_NAME = re.compile(r"[0-9a-f]{16}\.[0-9]{1,12}\.points")
_SOURCE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\.zip|[0-9a-f]{64}\.json")
_EXPERIMENT = re.compile(r"[0-9]{1,32}")
_SHA256 = re.compile(r"([0-9a-f]{64})?")
_MARK = re.compile(r"([0-9a-f]{8})?")


def is_writer(text: str) -> bool:
    """Whether a text has the shape of a writer's name."""
    return _WRITER.fullmatch(text) is not None


def is_points_name(text: str) -> bool:
    """Whether a text has the shape of the name of a points file."""
    return _POINTS_NAME.fullmatch(text) is not None


def unit_folder(layout: Layout, unit: str) -> Path:
    """The folder of a unit in a store, which may not exist.

    Raises:
        TransferError: it is not the name of a unit.
    """
    area, _, name = unit.partition("/")
    try:
        if area == "runs":
            return layout.run_path(name)
        if area == "models":
            return layout.model(name).path
        if area == "traces":
            return layout.trace_folder(name).path
    except InvalidPathError as error:
        raise TransferError(f"{printable(unit)!r} is not a unit: {error}") from None
    if area == "artifacts" and _EXPERIMENT.fullmatch(name):
        return layout.root / "artifacts" / name
    if unit == "sources":
        return layout.root / "sources"
    if unit == "workspace":
        return layout.workspace
    raise TransferError(f"{printable(unit)!r} is not a unit", hint="upgrade mltrack on both sides")


def file_kind(unit: str, path: str) -> FileKind:
    """How a file of a unit is copied.

    Raises:
        TransferError: the unit has no such files, or the path leads out of it.
    """
    try:
        clean = relative_name(path) == path
    except InvalidPathError:
        clean = False
    kind = _kind(unit.partition("/")[0], path) if clean else None
    if kind is None:
        raise TransferError(f"{printable(path)!r} is not the name of a file of {unit}")
    return kind


def _kind(area: str, path: str) -> FileKind | None:
    folder, _, name = path.partition("/")
    if area == "artifacts":
        return FileKind.WHOLE if _is_artifact(path) else None
    if area == "sources":
        return FileKind.WHOLE if _SOURCE_NAME.fullmatch(path) else None
    if area == "workspace":
        return FileKind.FACTS if path in ("experiments.jsonl", "models.jsonl") else None
    if area == "traces":
        return FileKind.LOG if folder in ("facts", "spans") and _LOG_NAME.fullmatch(name) else None
    if area in ("runs", "models") and folder == "artifacts" and name:
        return FileKind.WHOLE if _is_artifact(name) else None
    if area == "models":
        return FileKind.FACTS if path == "model.jsonl" else None
    if folder in ("events", "series"):
        return FileKind.LOG if _LOG_NAME.fullmatch(name) else None
    if folder == "points":
        return FileKind.POINTS if _POINTS_NAME.fullmatch(name) else None
    if folder == "live":
        return FileKind.WHOLE if _MARKER_NAME.fullmatch(name) else None
    return FileKind.WHOLE if folder == "segments" and segment_name(name) is not None else None


def _is_artifact(path: str) -> bool:
    return not any(is_temporary(part) for part in path.split("/"))


def check_snapshot(snapshot: UnitSnapshot) -> None:
    """Check a snapshot that comes from outside: names, kinds and sizes.

    Raises:
        TransferError: something of it can't be.
    """
    if len(snapshot.files) > FILES_MAX:
        raise TransferError(f"{snapshot.unit} has {len(snapshot.files):,} files, more than {FILES_MAX:,}")
    sizes: dict[str, int] = {}
    for state in snapshot.files:
        if file_kind(snapshot.unit, state.path) is not state.kind:
            raise TransferError(f"{state.path} of {snapshot.unit} is not copied as {state.kind}")
        if not 0 <= state.size < SIZE_MAX or not _size_fits(state):
            raise TransferError(f"{state.path} of {snapshot.unit} can't have {state.size:,} bytes")
        if not _SHA256.fullmatch(state.sha256) or not _MARK.fullmatch(state.mark):
            raise TransferError(f"{state.path} of {snapshot.unit} has a malformed checksum")
        if not 0 <= state.first_seq < SIZE_MAX:
            raise TransferError(f"{state.path} of {snapshot.unit} can't begin with point {state.first_seq:,}")
        if state.size <= sizes.get(state.path, -1) or (state.path in sizes and state.kind is not FileKind.LOG):
            raise TransferError(f"{state.path} is twice in {snapshot.unit}")
        sizes[state.path] = state.size
    if not all(map(is_writer, snapshot.live)):
        raise TransferError(f"a live writer of {snapshot.unit} has a malformed name")


def _size_fits(state: FileState) -> bool:
    if state.kind is FileKind.FACTS:
        return state.size <= FACTS_BYTES_MAX
    if state.path.startswith("live/"):
        return state.size <= MARKER_BYTES_MAX
    if state.kind is not FileKind.POINTS:
        return True
    return HEADER_SIZE <= state.size <= POINTS_BYTES_MAX and (state.size - HEADER_SIZE) % RECORD_SIZE == 0
