"""One events file of a run that is copied: whether its writer lives, and where the file may be cut."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from mltrack.disk.filesystem import open_regular
from mltrack_sync.stores.file_marks import line_end, mark_of, mark_of_bytes
from mltrack_sync.stores.run_token import fd_is_live
from mltrack_sync.stores.transfer import FileKind, FileState

if TYPE_CHECKING:
    from mltrack_sync.stores.artifact_facts import ArtifactFacts

__all__ = ["EventsFile"]

SMALL_BYTES_MAX = 1 << 16
_CLOSE = b'"type":"close"'
_ENDINGS = (b'"type":"end"', _CLOSE)
_START = b'"type":"start"'
_ARTIFACT = b'"type":"artifact"'


class EventsFile:
    """Opened first, to see whether the writer lives; read later, when the points were measured.

    Attributes:
        size: Bytes of whole lines.
        start_end: The byte after the line of the run's start; 0 where it has none.
        ending: The byte at which the lines begin that say that the writer has ended; ``size`` where there are none.
        closed: Whether the writer has written its last line.
        data: The whole lines of a small file.
    """

    def __init__(self, path: str, name: str, *, keep: bool) -> None:
        """Open it.

        Args:
            path: The file.
            name: Its path below the run.
            keep: Keep it open until it is read.

        Raises:
            OSError: it can't be opened.
        """
        self.name = name
        self.writer = name.removeprefix("events/").removesuffix(".jsonl")
        self.size = self.start_end = self.ending = 0
        self.closed = False
        self.data: bytes | None = None
        self._path = path
        self._marks: dict[int, str] = {}
        self._fd = open_regular(path, follow=False)
        self.live = fd_is_live(self._fd, path)
        if not keep:
            self.close()

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def read(self) -> None:
        """Find out how far it goes, and close it.

        Raises:
            OSError: it can't be read.
        """
        if self._fd < 0:
            self._fd = open_regular(self._path, follow=False)
        head = os.pread(self._fd, SMALL_BYTES_MAX + 1, 0)
        if len(head) <= SMALL_BYTES_MAX:
            self.size = head.rfind(b"\n") + 1
            self.data = tail = head[: self.size]
        else:
            self.size = line_end(self._fd)
            tail = os.pread(self._fd, SMALL_BYTES_MAX, self.size - SMALL_BYTES_MAX).partition(b"\n")[2]
        self._find_start(head)
        self._find_ending(tail)
        for size in {self.start_end, self.ending, self.size}:
            self._marks[size] = self._mark(size)
        self.close()

    def _find_start(self, head: bytes) -> None:
        at = head.find(_START)
        if at >= 0:
            self.start_end = head.find(b"\n", at) + 1

    def _find_ending(self, tail: bytes) -> None:
        self.ending = self.size
        lines = tail.split(b"\n")[:-1]
        self.closed = bool(lines) and _CLOSE in lines[-1]
        for line in reversed(lines):
            if not any(ending in line for ending in _ENDINGS):
                break
            self.ending -= len(line) + 1

    def _mark(self, size: int) -> str:
        if self.data is None:
            return mark_of(self._fd, size)
        return mark_of_bytes(self.data[:size])

    def up_to(self, size: int) -> FileState:
        """The file up to one of these cuts."""
        return FileState(self.name, FileKind.LOG, size, mark=self._marks[size])

    def give_artifacts(self, facts: ArtifactFacts) -> None:
        """Give what it says of artifacts.

        Raises:
            OSError: it can't be read.
        """
        if self.data is None:
            facts.read(Path(self._path), self.size)
        elif _ARTIFACT in self.data:
            facts.read_lines(self.writer, self.data.split(b"\n")[:-1])
