"""The snapshot of a run, which may be recorded while it is taken.

It is read in the order in which readers read: who is alive, how far the points go, the segments, then the events.
So the names of all points in it, and the facts about them, are in the events in it. Writers whose points do not count,
as others take their place just now (disk/arriving.py), are left out: else a copy would have these points twice.
"""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from mltrack.disk.absent import ABSENT_FILE, read_absent
from mltrack.disk.arriving import ARRIVING_FILE, read_arriving
from mltrack.disk.artifact_files import hash_file
from mltrack.disk.codec import HEADER_SIZE, BadLine, decode_header
from mltrack.disk.elsewhere import MARKER_SUFFIX
from mltrack.disk.filesystem import NotRegularError, open_regular
from mltrack.disk.segment import segment_name
from mltrack.errors import NotFoundError
from mltrack_sync.stores.artifact_facts import ARTIFACTS, ArtifactFacts
from mltrack_sync.stores.events_file import EventsFile
from mltrack_sync.stores.file_marks import committed_end, ends_committed, line_end, mark_of, mark_of_bytes
from mltrack_sync.stores.point_ranges import has_points, writer_of
from mltrack_sync.stores.transfer import FileKind, FileState
from mltrack_sync.stores.unit_files import is_points_name, is_writer

__all__ = ["SMALL_BYTES_MAX", "RunReading"]

SMALL_BYTES_MAX = 1 << 16
"""Logs and journals up to this size are kept from the snapshot for the pieces: each file is opened once."""

OPEN_MAX = 64


@dataclass(slots=True)
class RunReading:
    """One reading of a run: its files in the order in which they are to be written, and what was found besides.

    Attributes:
        files: The files.
        live: The writers that a process records into now.
        is_thin: Whether artifacts were left out as too large.
        small: The contents of small files that only grow, by path.
    """

    folder: str
    files: tuple[FileState, ...] = ()
    live: tuple[str, ...] = ()
    is_thin: bool = False
    small: dict[str, bytes] = field(default_factory=dict)

    @classmethod
    def take(cls, folder: str, *, artifact_bytes_max: int | None = None) -> RunReading:
        """Read a run.

        Args:
            folder: The run's folder.
            artifact_bytes_max: Larger artifacts are left out.

        Raises:
            NotFoundError: there is no run: its start was never written.
            OSError: a file can't be read.
        """
        found = cls(folder)
        logs: list[EventsFile] = []
        try:
            for name in _names(f"{folder}/events"):
                if name.endswith(".jsonl") and is_writer(name[:-6]):
                    logs.append(EventsFile(f"{folder}/events/{name}", f"events/{name}", keep=len(logs) < OPEN_MAX))
            found.live = tuple(log.writer for log in logs if log.live)
            points = found._points({log.writer for log in logs})
            segments = found._segments()
            series = found._series()
            for log in logs:
                log.read()
        finally:
            for log in logs:
                log.close()
        if not any(log.start_end for log in logs):
            raise NotFoundError(
                f"no run {os.path.basename(folder)}: its start was never written", hint="see: mltrack ls"
            )
        live = _names(f"{folder}/live")
        if ARRIVING_FILE in live:
            hidden = read_arriving(Path(folder)).hidden
            logs = [log for log in logs if log.writer not in hidden]
            found.live = tuple(writer for writer in found.live if writer not in hidden)
            series, segments, points = (
                [state for state in states if writer_of(state.path) not in hidden]
                for states in (series, segments, points)
            )
        found._arrange(logs, found._markers(logs, live), series, segments, points, artifact_bytes_max)
        return found

    def _arrange(
        self,
        logs: list[EventsFile],
        files: list[FileState],
        series: list[FileState],
        segments: list[FileState],
        points: list[FileState],
        artifact_bytes_max: int | None,
    ) -> None:
        """Put the files into their order, markers first; logs are cut where others must come between."""
        logs.sort(key=lambda log: not log.start_end)  # the writers that have the start come first
        for log in logs:
            if log.data is not None:
                self.small[log.name] = log.data
        files += [log.up_to(log.start_end) for log in logs if log.start_end]
        files += series
        files += self._artifacts(logs, artifact_bytes_max)
        files += [log.up_to(log.ending) for log in logs if log.start_end < log.ending]
        files += segments
        ranges = [name for segment in segments if (name := segment_name(segment.path.partition("/")[2])) is not None]
        files += [state for state in points if not has_points(ranges, state)] if ranges else points
        files += [log.up_to(log.size) for log in logs if max(log.start_end, log.ending) < log.size]
        self.files = tuple(files)

    def _artifacts(self, logs: list[EventsFile], bytes_max: int | None) -> list[FileState]:
        facts = ArtifactFacts()
        for log in logs:
            log.give_artifacts(facts)
        if not facts.by_path:
            return []
        absent: dict[str, str] = {}
        if os.path.lexists(f"{self.folder}/{ABSENT_FILE}"):  # few runs have one
            absent = {file.path: file.sha256 for file in read_absent(Path(self.folder)).values()}
        wanted = [
            FileState(path, FileKind.WHOLE, fact.size, sha256=fact.sha256, at=fact.at)
            for path, fact in sorted(facts.by_path.items())
            if not fact.deleted and absent.get(path.removeprefix(ARTIFACTS)) != fact.sha256
            if _is_file(f"{self.folder}/{path}")
        ]
        kept = [state for state in wanted if bytes_max is None or state.size <= bytes_max > 0]
        self.is_thin = len(kept) < len(wanted)
        return kept

    def _markers(self, logs: list[EventsFile], names: list[str]) -> list[FileState]:
        """The markers of writers that this store has only a copy of, and that were live where it came from."""
        found = []
        for name in names:
            if name.endswith(MARKER_SUFFIX) and is_writer(name.removesuffix(MARKER_SUFFIX)):
                path = Path(self.folder, "live", name)
                closed = {log.writer for log in logs if log.closed}
                if name.removesuffix(MARKER_SUFFIX) not in closed and _is_file(str(path)):
                    size, sha256 = hash_file(path)
                    found.append(FileState(f"live/{name}", FileKind.WHOLE, size, sha256=sha256))
        return found

    def _series(self) -> list[FileState]:
        found = []
        for name in _names(f"{self.folder}/series"):
            if name.endswith(".jsonl") and is_writer(name[:-6]):
                fd = open_regular(f"{self.folder}/series/{name}", follow=False)
                try:
                    size = line_end(fd)
                    if size:
                        found.append(FileState(f"series/{name}", FileKind.LOG, size, mark=mark_of(fd, size)))
                finally:
                    os.close(fd)
        return found

    def _points(self, writers: set[str]) -> list[FileState]:
        found = []
        for name in _names(f"{self.folder}/points"):
            writer = name.partition(".")[0]
            if writer not in writers or not is_points_name(name):
                continue  # of a writer that has just begun, or not one that readers read
            try:
                fd = open_regular(f"{self.folder}/points/{name}", follow=False)
            except (FileNotFoundError, NotRegularError):
                continue  # sealed meanwhile
            try:
                state = self._journal(fd, f"points/{name}", writer, live=writer in self.live)
            finally:
                os.close(fd)
            if state is not None:
                found.append(state)
        return found

    def _journal(self, fd: int, path: str, writer: str, *, live: bool) -> FileState | None:
        head = os.pread(fd, SMALL_BYTES_MAX, 0)
        try:
            header = decode_header(head[:HEADER_SIZE])
        except BadLine:
            return None  # check reports it in the store that has it
        if header is None or header.writer != writer:
            return None
        if not live and len(head) == os.fstat(fd).st_size and ends_committed(head):  # most are read whole
            self.small[path] = head
            return FileState(path, FileKind.POINTS, len(head), mark=mark_of_bytes(head), first_seq=header.first_seq)
        size = committed_end(fd, live=live)
        if size == HEADER_SIZE:
            return None
        if size <= len(head):
            self.small[path] = os.pread(fd, size, 0) if live else head[:size]
        return FileState(path, FileKind.POINTS, size, mark=mark_of(fd, size), first_seq=header.first_seq)

    def _segments(self) -> list[FileState]:
        found = []
        for name in _names(f"{self.folder}/segments"):
            if segment_name(name) is not None:
                with contextlib.suppress(FileNotFoundError):
                    status = os.lstat(f"{self.folder}/segments/{name}")
                    if stat.S_ISREG(status.st_mode):
                        found.append(FileState(f"segments/{name}", FileKind.WHOLE, status.st_size))
        return found


def _is_file(path: str) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
