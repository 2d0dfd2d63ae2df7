"""What a run's events say of its artifacts: the last event of each name, which describes the file that has it."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mltrack.disk.codec import BadLine, decode_line
from mltrack.disk.filesystem import open_regular, relative_name
from mltrack.disk.jsonlog import each_line
from mltrack.disk.line_types import EVENTS, MODEL
from mltrack.errors import InvalidPathError
from mltrack_sync.stores.transfer import TransferError
from mltrack_sync.stores.unit_files import file_kind

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["ARTIFACTS", "ARTIFACT_TYPE", "ArtifactFact", "ArtifactFacts"]

ARTIFACTS = "artifacts/"
SMALL_BYTES_MAX = 1 << 16
ARTIFACT_TYPE = b'"type":"artifact"'


@dataclass(frozen=True, slots=True)
class ArtifactFact:
    """The last event of an artifact. ``remote`` says that the file may have been removed here."""

    order: tuple[int, str, int]
    size: int
    sha256: str
    deleted: bool = False
    remote: str = ""

    @property
    def at(self) -> int:
        """When it was written, in ns."""
        return self.order[0]


def _small_log(path: Path) -> bytes | None:
    """What is in a small events file; None where it is not small, or not a file that can be read."""
    try:
        fd = open_regular(path)
    except OSError:
        return None
    try:
        data = os.pread(fd, SMALL_BYTES_MAX + 1, 0)
    finally:
        os.close(fd)
    return data if len(data) <= SMALL_BYTES_MAX else None


class ArtifactFacts:
    """These facts by path below the run ("artifacts/..."), taken from one events file after another."""

    def __init__(self) -> None:
        self.by_path: dict[str, ArtifactFact] = {}

    def read(self, path: Path, size: int | None = None) -> None:
        """Take those of an events file, up to byte ``size``; names that no artifact can have are skipped.

        Raises:
            OSError: it can't be read.
        """
        writer = path.name.partition(".")[0]
        data = _small_log(path)
        if data is not None:
            if ARTIFACT_TYPE in data:
                self.read_lines(writer, data[:size].split(b"\n")[:-1])
            return
        for line in each_line(path, records=EVENTS, holding=ARTIFACT_TYPE):
            if size is not None and line.offset + line.size > size:
                break
            if not line.fault and line.fields["type"] == "artifact":
                self._take(writer, line.fields)

    def read_lines(self, writer: str, lines: Iterable[bytes]) -> None:
        """Take those of some lines of a writer's events, given without line breaks."""
        for line in lines:
            if ARTIFACT_TYPE in line:
                with contextlib.suppress(BadLine):
                    fields = decode_line(line, EVENTS)
                    if fields["type"] == "artifact":
                        self._take(writer, fields)

    def _take(self, writer: str, fields: dict[str, Any]) -> None:
        try:
            path = f"{ARTIFACTS}{relative_name(fields['path'])}"
            file_kind("runs", path)
        except (InvalidPathError, TransferError):
            return
        order = (fields["time"], writer, fields["seq"])
        held = self.by_path.get(path)
        if held is not None and held.order > order:
            return
        if fields.get("deleted", False):
            self.by_path[path] = ArtifactFact(order, 0, "", deleted=True)
        else:
            remote = str(fields.get("remote", ""))
            self.by_path[path] = ArtifactFact(order, fields["size"], fields["sha256"], remote=remote)

    def read_model(self, path: Path) -> ArtifactFacts:
        """Take those of a logged model's log; returns itself.

        Raises:
            OSError: it can't be read.
        """
        for line in each_line(path, records=MODEL, holding=ARTIFACT_TYPE):
            if not line.fault and line.fields["type"] == "artifact":
                self._take("", line.fields)
        return self

    def read_all(self, events: Path) -> ArtifactFacts:
        """Take those of all events files of a run; returns itself.

        Raises:
            OSError: one can't be read.
        """
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            for name in sorted(os.listdir(events)):
                if name.endswith(".jsonl"):
                    self.read(events / name)
        return self
