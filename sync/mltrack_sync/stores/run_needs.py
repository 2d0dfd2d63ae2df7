"""What a store lacks of a run's snapshot: the bytes after its own copy's end, and the files it does not have."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from mltrack.disk.absent import read_absent
from mltrack.disk.artifact_files import hash_file
from mltrack.disk.codec import HEADER_SIZE, RECORD_SIZE, BadLine, decode_header
from mltrack.disk.filesystem import NotRegularError, open_regular
from mltrack.disk.segment import segment_name
from mltrack_sync.stores.artifact_facts import ARTIFACTS, ArtifactFacts
from mltrack_sync.stores.file_marks import line_end, mark_of, valid_lines_end, valid_records_end
from mltrack_sync.stores.point_ranges import covers, has_points, writer_of
from mltrack_sync.stores.transfer import FileKind, FileState, Need, TransferError, UnitSnapshot
from mltrack_sync.stores.unit_writer import temporary_of

__all__ = ["UnitNeeds"]


class UnitNeeds:
    """Compares a unit's folder in a store with a snapshot of it in another one."""

    def __init__(self, folder: Path, snapshot: UnitSnapshot, *, trusted: bool) -> None:
        """Compare with a folder.

        Args:
            folder: The unit's folder, which may not exist.
            snapshot: The unit elsewhere.
            trusted: The copy was whole and on the disk once, and has only grown since: its bytes are not read again.
        """
        self._folder = str(folder)
        self._snapshot = snapshot
        self._trusted = trusted
        self._ends: dict[str, int] = {}  # of LOG and POINTS files: how far the copy goes, with what comes before
        self._facts: ArtifactFacts | None = None
        self._absent = read_absent(folder)
        names = _names(folder / "segments")
        self._segments = [name for text in names if (name := segment_name(text)) is not None]

    def find(self) -> list[tuple[int, Need]]:
        """What is lacking, each with the index of its file in the snapshot.

        Raises:
            TransferError: another content is under the same name.
            OSError: a file can't be read.
        """
        needs: list[tuple[int, Need]] = []
        for index, state in enumerate(self._snapshot.files):
            start = self._start(state)
            if start is not None:
                needs.append((index, Need(state.path, start)))
        return needs

    def _start(self, state: FileState) -> int | None:
        """The byte from which a file is lacking; None if it is not."""
        if state.kind is FileKind.WHOLE:
            return self._whole(state)
        if state.kind is FileKind.FACTS:
            return None if self._is_same_log(state) else 0
        return self._appended(state)

    def _is_same_log(self, state: FileState) -> bool:
        """Whether both stores have the same lines of a log that both append to, as far as its end shows."""
        try:
            fd = open_regular(f"{self._folder}/{state.path}", follow=False)
        except (FileNotFoundError, NotRegularError):
            return False
        try:
            return os.fstat(fd).st_size == state.size and mark_of(fd, state.size) == state.mark
        finally:
            os.close(fd)

    def _appended(self, state: FileState) -> int | None:
        if state.kind is FileKind.POINTS and has_points(self._segments, state):
            return None
        end = self._ends.get(state.path, -1)
        if end < 0:
            end = self._end_of(state)
        self._ends[state.path] = max(end, state.size)
        return end if end < state.size else None

    def _end_of(self, state: FileState) -> int:
        """How far the copy of an appended file goes."""
        try:
            fd = open_regular(f"{self._folder}/{state.path}", follow=False)
        except FileNotFoundError:
            return 0
        except NotRegularError as error:
            raise self._differs(state, str(error.strerror)) from None
        try:
            end = self._valid_end(fd, state)
            if end >= state.size and state.mark and mark_of(fd, state.size) != state.mark:
                raise self._differs(state, "has another content than the copy of it")
            return end
        finally:
            os.close(fd)

    def _valid_end(self, fd: int, state: FileState) -> int:
        if state.kind is FileKind.LOG:
            return line_end(fd) if self._trusted else valid_lines_end(fd)
        try:
            header = decode_header(os.pread(fd, HEADER_SIZE, 0))
        except BadLine as error:
            raise self._differs(state, str(error)) from None
        if header is None:
            return 0
        if header.writer != writer_of(state.path) or header.first_seq != state.first_seq:
            raise self._differs(state, "has another header than the copy of it")
        if self._trusted:
            return HEADER_SIZE + (os.fstat(fd).st_size - HEADER_SIZE) // RECORD_SIZE * RECORD_SIZE
        return valid_records_end(fd)

    def _whole(self, state: FileState) -> int | None:
        path = f"{self._folder}/{state.path}"
        found = None
        with contextlib.suppress(FileNotFoundError):
            found = os.lstat(path)
        if found is not None and stat.S_ISLNK(found.st_mode):
            raise self._differs(state, "is a symbolic link, not a file")
        size = found.st_size if found is not None and stat.S_ISREG(found.st_mode) else -1
        if state.path.startswith("segments/"):
            name = segment_name(state.path.partition("/")[2])
            if name is not None and covers(self._segments, name.writer, name.first, name.last):
                return None
        elif state.path.startswith(ARTIFACTS) and self._snapshot.unit.startswith(("runs/", "models/")):
            if not self._lacks_artifact(state, path, size):
                return None
        elif size == state.size and (not state.sha256 or self._trusted or hash_file(Path(path))[1] == state.sha256):
            return None
        return self._resumed_at(state)

    def _lacks_artifact(self, state: FileState, path: str, size: int) -> bool:
        fact = self._own_facts().by_path.get(state.path)
        if fact is not None and fact.sha256 == state.sha256 and not fact.deleted:
            absent = self._absent.get(state.path.removeprefix(ARTIFACTS))
            if absent is not None and absent.sha256 == fact.sha256:
                return True  # an older one may have its name
            return size != state.size and not fact.remote
        if fact is not None and fact.at > state.at:
            return False  # this store has a later one of that name
        return size != state.size or hash_file(Path(path))[1] != state.sha256

    def _own_facts(self) -> ArtifactFacts:
        if self._facts is None:
            if self._snapshot.unit.startswith("models/"):
                self._facts = ArtifactFacts().read_model(Path(self._folder, "model.jsonl"))
            else:
                self._facts = ArtifactFacts().read_all(Path(self._folder, "events"))
        return self._facts

    def _resumed_at(self, state: FileState) -> int:
        """How much of a broken copy of a file exists; its last byte is always copied again."""
        try:
            size = os.lstat(f"{self._folder}/{temporary_of(state)}").st_size
        except FileNotFoundError:
            return 0
        return max(0, min(size, state.size - 1))

    def _differs(self, state: FileState, how: str) -> TransferError:
        return TransferError(
            f"{state.path} of {self._snapshot.unit} {how}",
            hint="the two stores have different files of that name; nothing of it was changed",
        )


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
