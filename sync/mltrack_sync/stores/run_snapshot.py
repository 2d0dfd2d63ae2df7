"""The snapshot of a run, which may be recorded while it is taken.

It is read in the order in which readers read: who is alive, how far the points go, the segments, then the events.
So the names of all points in it, and the facts about them, are in the events in it.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mltrack.disk.absent import read_absent
from mltrack.disk.artifact_files import hash_file
from mltrack.disk.codec import HEADER_SIZE, BadLine, decode_header
from mltrack.disk.elsewhere import marker_path
from mltrack.disk.filesystem import NotRegularError, open_regular
from mltrack.disk.segment import segment_name
from mltrack.errors import NotFoundError
from mltrack_sync.stores.artifact_facts import ARTIFACTS, ArtifactFacts
from mltrack_sync.stores.file_marks import committed_end, line_end, mark_of
from mltrack_sync.stores.point_ranges import has_points
from mltrack_sync.stores.run_token import writer_is_live
from mltrack_sync.stores.transfer import FileKind, FileState, TransferError
from mltrack_sync.stores.unit_files import file_kind, is_writer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mltrack.disk.layout import RunFolder

__all__ = ["live_writers", "run_files"]

_CLOSE = b'"type":"close"'
_ENDINGS = (b'"type":"end"', _CLOSE)
_TAIL_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class _Log:
    """An events file: how far it goes, where its start ends (0: it has none), and where its ending begins.

    ``closed``: its writer has written its last line.
    """

    path: str
    size: int
    mark: str
    start_end: int
    ending: int
    closed: bool


def live_writers(folder: RunFolder) -> tuple[str, ...]:
    """The writers that a process records into now; call it before anything else is read."""
    return tuple(
        name.removesuffix(".jsonl")
        for name in _names(folder.events)
        if is_writer(name.removesuffix(".jsonl")) and writer_is_live(folder.events / name)
    )


def run_files(
    folder: RunFolder, live: tuple[str, ...], *, artifact_bytes_max: int | None = None
) -> tuple[tuple[FileState, ...], bool]:
    """The files of a run in the order in which they are to be written, and whether any was left out as too large.

    Args:
        folder: The run's folder.
        live: Its live writers, found before.
        artifact_bytes_max: Larger artifacts are left out.

    Raises:
        NotFoundError: there is no run: its start was never written.
        OSError: a file can't be read.
    """
    points = list(_points(folder, live))
    segments = list(_segments(folder))
    series = [_log(folder.path / "series" / name, f"series/{name}") for name in _logs(folder.path / "series")]
    artifacts = ArtifactFacts()
    logs = [_events(folder, name, artifacts) for name in _logs(folder.events)]
    if not any(log.start_end for log in logs):
        raise NotFoundError(f"no run {folder.run_id}: its start was never written", hint="see: mltrack ls")
    logs.sort(key=lambda log: not log.start_end)  # the writers that have the start come first
    files = list(_markers(folder, logs))
    files += [_part(folder, log, log.start_end) for log in logs if log.start_end]
    files += series
    absent = {file.path: file.sha256 for file in read_absent(folder.path).values()}
    wanted = [
        FileState(path, FileKind.WHOLE, fact.size, sha256=fact.sha256, at=fact.at)
        for path, fact in sorted(artifacts.by_path.items())
        if not fact.deleted
        and absent.get(path.removeprefix(ARTIFACTS)) != fact.sha256
        and _is_there(folder.path / path)
    ]
    kept = [state for state in wanted if artifact_bytes_max is None or state.size <= artifact_bytes_max > 0]
    files += kept
    files += [_part(folder, log, log.ending) for log in logs if log.start_end < log.ending]
    files += segments
    ranges = [name for segment in segments if (name := segment_name(segment.path.partition("/")[2])) is not None]
    files += [state for state in points if not has_points(ranges, state)]
    files += [_part(folder, log, log.size) for log in logs if max(log.start_end, log.ending) < log.size]
    return tuple(files), len(kept) < len(wanted)


def _markers(folder: RunFolder, logs: list[_Log]) -> Iterator[FileState]:
    """The markers of writers that this store has only a copy of, and that were live where it came from."""
    for log in logs:
        writer = log.path.removeprefix("events/").removesuffix(".jsonl")
        path = marker_path(folder.path, writer)
        if not log.closed and path.is_file():
            size, sha256 = hash_file(path)
            yield FileState(f"live/{path.name}", FileKind.WHOLE, size, sha256=sha256)


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _logs(folder: Path) -> list[str]:
    return [name for name in _names(folder) if name.endswith(".jsonl") and is_writer(name.removesuffix(".jsonl"))]


def _log(path: Path, name: str) -> FileState:
    fd = open_regular(path, follow=False)
    try:
        size = line_end(fd)
        return FileState(name, FileKind.LOG, size, mark=mark_of(fd, size))
    finally:
        os.close(fd)


def _part(folder: RunFolder, log: _Log, size: int) -> FileState:
    if size == log.size:
        return FileState(log.path, FileKind.LOG, size, mark=log.mark)
    fd = open_regular(folder.path / log.path, follow=False)
    try:
        return FileState(log.path, FileKind.LOG, size, mark=mark_of(fd, size))
    finally:
        os.close(fd)


def _events(folder: RunFolder, name: str, artifacts: ArtifactFacts) -> _Log:
    """How far an events file goes; the artifacts that it names go to ``artifacts``."""
    path = folder.events / name
    fd = open_regular(path, follow=False)
    try:
        size = line_end(fd)
        mark = mark_of(fd, size)
        ending, closed = _ending(fd, size)
        start_end = _start_end(fd, size)
    finally:
        os.close(fd)
    artifacts.read(path, size)
    return _Log(f"events/{name}", size, mark, start_end, ending, closed)


def _start_end(fd: int, size: int) -> int:
    """The byte after the line of the run's start; 0 where there is none among the first lines."""
    head = os.pread(fd, min(size, _TAIL_BYTES), 0)
    at = 0
    for line in head.split(b"\n")[:-1]:
        at += len(line) + 1
        if b'"type":"start"' in line:
            return at
    return 0


def _ending(fd: int, size: int) -> tuple[int, bool]:
    """The byte at which the lines begin that say that the writer has ended, and whether the last of them is there."""
    start = max(0, size - _TAIL_BYTES)
    lines = os.pread(fd, size - start, start).split(b"\n")[:-1]
    end = size
    closed = bool(lines) and _CLOSE in lines[-1]
    for line in reversed(lines[1:] if start else lines):
        if not any(ending in line for ending in _ENDINGS):
            break
        end -= len(line) + 1
    return end, closed


def _is_there(path: Path) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def _points(folder: RunFolder, live: tuple[str, ...]) -> Iterator[FileState]:
    for name in _names(folder.points):
        writer = name.partition(".")[0]
        try:
            file_kind(f"runs/{folder.run_id}", f"points/{name}")
            fd = open_regular(folder.points / name, follow=False)
        except (FileNotFoundError, NotRegularError, TransferError):
            continue  # sealed meanwhile, or not one that readers read
        try:
            state = _journal(fd, name, live=writer in live)
        finally:
            os.close(fd)
        if state is not None:
            yield state


def _journal(fd: int, name: str, *, live: bool) -> FileState | None:
    try:
        header = decode_header(os.pread(fd, HEADER_SIZE, 0))
    except BadLine:
        return None  # check reports it in the store that has it
    if header is None or header.writer != name.partition(".")[0]:
        return None
    size = committed_end(fd, live=live)
    if size == HEADER_SIZE:
        return None
    return FileState(f"points/{name}", FileKind.POINTS, size, mark=mark_of(fd, size), first_seq=header.first_seq)


def _segments(folder: RunFolder) -> Iterator[FileState]:
    for name in _names(folder.segments):
        if segment_name(name) is None:
            continue
        try:
            found = os.lstat(folder.segments / name)
        except FileNotFoundError:
            continue
        if stat.S_ISREG(found.st_mode):
            yield FileState(f"segments/{name}", FileKind.WHOLE, found.st_size)
