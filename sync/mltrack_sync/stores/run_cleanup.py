"""What is left to do at a target when a run's pieces are written: replaced journals, deleted and missing artifacts."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from mltrack.disk.absent import ABSENT_FILE, AbsentFile, encode_absent, read_absent, write_absent
from mltrack.disk.artifact_files import hash_file, run_lock
from mltrack.disk.codec import HEADER_SIZE, BadLine, decode_header
from mltrack.disk.filesystem import LOCAL, FileSystem, open_regular
from mltrack.disk.liveness import own_lock
from mltrack.disk.segment import segment_name
from mltrack.disk.segment_reader import verify_segment
from mltrack.errors import CorruptionError
from mltrack_sync.stores.artifact_facts import ARTIFACT_TYPE, ARTIFACTS, ArtifactFacts
from mltrack_sync.stores.file_marks import committed_end
from mltrack_sync.stores.point_ranges import has_points, writer_of
from mltrack_sync.stores.transfer import FileKind, FileState, TransferError
from mltrack_sync.stores.unit_files import file_kind

if TYPE_CHECKING:
    from mltrack.disk.layout import RunFolder
    from mltrack.disk.segment import SegmentName
    from mltrack_sync.stores.artifact_facts import ArtifactFact
    from mltrack_sync.stores.transfer import CompleteRun, UnitSnapshot

__all__ = ["missing_artifacts", "remove_replaced_journals", "settle_artifacts"]

LOCK_TIMEOUT_S = 5.0


def remove_replaced_journals(folder: RunFolder, *, fs: FileSystem = LOCAL) -> None:
    """Delete the journals of writers that don't record here, whose points are all in segments that are on the disk.

    So are segments of which all points are in a larger one: a journal was sealed here before all of it had come.

    Raises:
        OSError: one can't be removed.
    """
    segments = _remove_smaller_segments(folder, fs)
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


def _remove_smaller_segments(folder: RunFolder, fs: FileSystem) -> list[SegmentName]:
    """Remove such segments; returns those that stay."""
    found = {name: text for text in _names(folder.segments) if (name := segment_name(text)) is not None}
    kept: list[SegmentName] = []
    for name in sorted(found, key=lambda name: (name.writer, name.first, -name.last)):
        larger = kept[-1] if kept else None
        if larger is not None and larger.writer == name.writer and larger.last >= name.last:
            with contextlib.suppress(CorruptionError):
                verify_segment(folder.segments / found[larger])
                fs.unlink(folder.segments / found[name])
        else:
            kept.append(name)
    if len(kept) < len(found):
        fs.sync_folder(folder.segments)
    return kept


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


def settle_artifacts(
    run: RunFolder, before: ArtifactFacts, snapshot: UnitSnapshot, *, fs: FileSystem = LOCAL
) -> list[str]:
    """Remove the files of artifacts that were deleted, and write down which are named by events and are missing.

    Args:
        run: The run's folder.
        before: What the events said of the artifacts before they were copied.
        snapshot: What was copied.
        fs: The file system to write with.

    Returns:
        The missing artifacts.

    Raises:
        OSError: a file can't be removed or read, or the list not written.
    """
    facts = ArtifactFacts().read_all(run.events).by_path
    deleted = [path for path, fact in facts.items() if fact.deleted and os.path.lexists(run.path / path)]
    if deleted:
        with run_lock(run.artifacts, "artifacts", timeout_s=LOCK_TIMEOUT_S):
            for path in deleted:
                with contextlib.suppress(IsADirectoryError):
                    fs.unlink(run.path / path)
    known = read_absent(run.path)
    copied = {state.path: state.sha256 for state in snapshot.files if state.path.startswith(ARTIFACTS)}
    absent = []
    for path, fact in facts.items():
        name, held = path.removeprefix(ARTIFACTS), before.by_path.get(path)
        was_absent = name in known and known[name].sha256 == fact.sha256
        is_new = held is None or held.sha256 != fact.sha256
        if fact.deleted or fact.remote or copied.get(path) == fact.sha256 or not (was_absent or is_new):
            continue
        if not _is_stored(run, path, fact):
            absent.append(AbsentFile(name, fact.size, fact.sha256, snapshot.origin[0]))
    write_absent(run.path, absent, known, fs=fs)
    return [file.path for file in absent]


def missing_artifacts(run: CompleteRun) -> dict[str, bytes]:
    """The list of artifacts that a new run's events name and that don't come with it, as a file; {} where none is."""
    logs = {path: data for path, data in run.contents.items() if path.startswith("events/")}
    copied = {state.path: state.sha256 for state in run.snapshot.files if state.path.startswith(ARTIFACTS)}
    if sum(data.count(ARTIFACT_TYPE) for data in logs.values()) == len(copied):
        return {}  # one event for each of the files
    facts = ArtifactFacts()
    for path, data in logs.items():
        facts.read_lines(writer_of(path), data.split(b"\n")[:-1])
    absent = [
        AbsentFile(path.removeprefix(ARTIFACTS), fact.size, fact.sha256, run.snapshot.origin[0])
        for path, fact in facts.by_path.items()
        if not fact.deleted and not fact.remote and copied.get(path) != fact.sha256
    ]
    return {ABSENT_FILE: encode_absent(absent)} if absent else {}


def _is_stored(run: RunFolder, path: str, fact: ArtifactFact) -> bool:
    try:
        return os.lstat(run.path / path).st_size == fact.size and hash_file(run.path / path)[1] == fact.sha256
    except FileNotFoundError:
        return False


def _names(folder: os.PathLike[str]) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
