"""What is left to do at a target when a run's pieces are written: journals that a segment replaced, deleted files."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from mltrack.disk.artifact_files import run_lock
from mltrack.disk.codec import HEADER_SIZE, BadLine, decode_header
from mltrack.disk.filesystem import LOCAL, FileSystem, open_regular
from mltrack.disk.liveness import own_lock
from mltrack.disk.segment import segment_name
from mltrack_sync.stores.artifact_facts import ArtifactFacts
from mltrack_sync.stores.file_marks import committed_end
from mltrack_sync.stores.point_ranges import has_points
from mltrack_sync.stores.transfer import FileKind, FileState, TransferError
from mltrack_sync.stores.unit_files import file_kind

if TYPE_CHECKING:
    from mltrack.disk.layout import RunFolder
    from mltrack.disk.segment import SegmentName

__all__ = ["remove_deleted_artifacts", "remove_replaced_journals"]

LOCK_TIMEOUT_S = 5.0


def remove_replaced_journals(folder: RunFolder, *, fs: FileSystem = LOCAL) -> None:
    """Delete the journals of writers that don't record here, whose points are all in segments that are on the disk.

    Raises:
        OSError: one can't be removed.
    """
    segments = [found for text in _names(folder.segments) if (found := segment_name(text)) is not None]
    writers = {segment.writer for segment in segments}
    removed = False
    for name in _names(folder.points):
        writer = name.partition(".")[0]
        if writer not in writers or not _is_replaced(folder, name, segments):
            continue
        with own_lock(folder.events / f"{writer}.jsonl") as held:
            if held:
                fs.unlink(folder.points / name)
                removed = True
    if removed:
        fs.sync_folder(folder.points)


def _is_replaced(folder: RunFolder, name: str, segments: list[SegmentName]) -> bool:
    try:
        file_kind(f"runs/{folder.run_id}", f"points/{name}")
        fd = open_regular(folder.points / name, follow=False)
    except (OSError, TransferError):
        return False
    try:
        header = decode_header(os.pread(fd, HEADER_SIZE, 0))
        if header is None:
            return False
        end = committed_end(fd, live=False)
    except BadLine:
        return False
    finally:
        os.close(fd)
    state = FileState(f"points/{name}", FileKind.POINTS, end, first_seq=header.first_seq)
    return has_points(segments, state)


def remove_deleted_artifacts(folder: RunFolder, *, fs: FileSystem = LOCAL) -> None:
    """Remove the files of artifacts whose last event says that they were deleted.

    Raises:
        OSError: one can't be removed.
    """
    facts = ArtifactFacts()
    for name in _names(folder.events):
        if name.endswith(".jsonl"):
            facts.read(folder.events / name)
    deleted = [path for path, fact in facts.by_path.items() if fact.deleted and os.path.lexists(folder.path / path)]
    if deleted:
        with run_lock(folder.artifacts, "artifacts", timeout_s=LOCK_TIMEOUT_S):
            for path in deleted:
                with contextlib.suppress(IsADirectoryError):
                    fs.unlink(folder.path / path)


def _names(folder: os.PathLike[str]) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
