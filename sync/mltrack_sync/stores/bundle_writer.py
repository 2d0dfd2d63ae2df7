"""Writing a bundle: under a temporary name, in one pass over what it holds, published when it is complete."""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass, field, replace
from io import BufferedWriter, FileIO
from pathlib import Path
from typing import TYPE_CHECKING

from mltrack.disk.filesystem import LOCAL, TEMPORARY, FileSystem
from mltrack.disk.locks import try_lock
from mltrack.errors import BusyError, NotFoundError, UsageError
from mltrack_sync.progress import NoProgress, Progress
from mltrack_sync.stores.bundle_format import (
    INDEX,
    MANIFEST,
    MANIFEST_BYTES,
    BundledUnit,
    Manifest,
    unit_member,
)
from mltrack_sync.stores.bundle_zip import Member, crc_of, directory, local_header
from mltrack_sync.stores.transfer import FileKind, Need, SourceChangedError, is_thin

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mltrack_sync.stores.transfer import FileState, Source, UnitSnapshot, UnitToken

__all__ = ["Base", "WrittenBundle", "write_bundle"]

ATTEMPTS = 4
"""How often a unit is looked at again because a file of it was replaced meanwhile."""

BUFFER_BYTES = 1 << 20


@dataclass(slots=True)
class Base:
    """What the receiver has already: of each unit the files with their sizes and checksums, and the source's token."""

    files: dict[str, dict[str, FileState]] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)

    def needs(self, snapshot: UnitSnapshot) -> tuple[Need, ...]:
        """What of a snapshot is to go along; nothing where the receiver has all of it."""
        held = self.files.get(snapshot.unit, {})
        ends: dict[str, int] = {}
        needs: list[Need] = []
        facts: list[Need] = []
        for state in snapshot.files:
            before = held.get(state.path)
            if state.kind is FileKind.WHOLE:
                if before is None or (before.size, before.sha256) != (state.size, state.sha256):
                    needs.append(Need(state.path, 0))
                continue
            if state.kind is FileKind.FACTS:  # merged by the receiver, who needs them whole, where anything is new
                facts.append(Need(state.path, 0))
                if before is None or (before.size, before.mark) != (state.size, state.mark):
                    needs += facts
                    facts = []
                continue
            end = ends.get(state.path, before.size if before is not None else 0)
            if end < state.size:
                needs.append(Need(state.path, end))
            ends[state.path] = max(end, state.size)
        return self._ordered(snapshot, [*needs, *facts]) if needs else ()

    def _ordered(self, snapshot: UnitSnapshot, needs: list[Need]) -> tuple[Need, ...]:
        """The needs in the order of the snapshot."""
        first: dict[str, int] = {}
        for index, state in enumerate(snapshot.files):
            first.setdefault(state.path, index)
        by_path: dict[str, list[Need]] = {}
        for need in needs:
            by_path.setdefault(need.path, []).append(need)
        ordered: list[Need] = []
        for state in snapshot.files:
            waiting = by_path.get(state.path, [])
            if waiting and waiting[0].start < max(state.size, 1):
                ordered.append(waiting.pop(0))
        return tuple(ordered)


@dataclass(frozen=True, slots=True)
class WrittenBundle:
    """A bundle that was written, and what it holds; ``seen`` has the source's own tokens of its units."""

    path: Path
    manifest: Manifest
    units: tuple[BundledUnit, ...]
    seen: Mapping[str, str]
    bytes: int


def write_bundle(
    source: Source,
    units: Iterable[UnitToken],
    path: Path,
    manifest: Manifest,
    *,
    base: Base | None = None,
    artifact_bytes_max: int | None = None,
    progress: Progress | None = None,
    fs: FileSystem = LOCAL,
) -> WrittenBundle | None:
    """Write a bundle; None, and no file, where there is nothing that the receiver lacks.

    Args:
        source: Where it comes from.
        units: Which units, with their present tokens.
        path: The file, which must not exist.
        manifest: Which bundle it is; what follows from its content is filled in.
        base: What the receiver has.
        artifact_bytes_max: Larger artifacts are left out.
        progress: Shows how far it is.
        fs: The file system to write with.

    Raises:
        UsageError: the file exists, or its folder does not.
        BusyError: another process writes it.
        TransferError: a unit can't be read as it must be.
        OSError: the file can't be written, or the source can't be read.
    """
    if os.path.lexists(path):
        raise UsageError(f"{path} exists already", hint="give another name, or remove it")
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent} is not a folder", hint="give a path in a folder that exists")
    temporary = path.with_name(f".{path.name}{TEMPORARY}")
    fd = _open_alone(temporary, fs)
    published = False
    try:
        with BufferedWriter(FileIO(os.dup(fd), "wb"), BUFFER_BYTES) as file:
            writing = _Writing(file, source, base or Base(), artifact_bytes_max, progress or NoProgress())
            for unit in units:
                writing.add(unit)
            written = writing.finish(path, manifest)
        if written is not None:
            fs.publish(temporary, path)
            published = True
        return written
    finally:
        if not published:
            with contextlib.suppress(OSError):
                fs.unlink(temporary)
        os.close(fd)


def _open_alone(path: Path, fs: FileSystem) -> int:
    """A file opened for writing by this process alone, empty; one that a killed process left is used again."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        if try_lock(fd) is False:
            raise BusyError(f"another process writes {path.name}", hint="wait for it, or give another name")
        fs.truncate(fd, 0)
    except BaseException:
        os.close(fd)
        raise
    return fd


class _Writing:
    """One bundle while it is written."""

    def __init__(
        self,
        file: BufferedWriter[FileIO],
        source: Source,
        base: Base,
        artifact_bytes_max: int | None,
        progress: Progress,
    ) -> None:
        self._file = file
        self._source = source
        self._base = base
        self._bound = artifact_bytes_max
        self._progress = progress
        self._units: list[BundledUnit] = []
        self._seen: dict[str, str] = {}
        self._members = [Member(MANIFEST, MANIFEST_BYTES, 0, 0)]  # room for it
        self._at = self._members[0].end

    def add(self, unit: UnitToken) -> None:
        """Add one unit, where the receiver lacks anything of it."""
        if self._base.tokens.get(unit.unit) == unit.token and self._bound is None:
            return
        for attempt in range(ATTEMPTS):
            start = self._at
            try:
                snapshot = self._source.snapshot(unit.unit, artifact_bytes_max=self._bound)
                needs = self._base.needs(snapshot)
                if needs:
                    self._write(snapshot, needs)
                    # a run that is recorded may grow without another token
                    is_whole = not (is_thin(snapshot.token) or snapshot.live)
                    self._seen[unit.unit] = unit.token if is_whole else ""
                return
            except NotFoundError:
                return  # removed meanwhile
            except SourceChangedError:
                self._at = start
                self._file.seek(start)
                self._file.truncate()
                if attempt == ATTEMPTS - 1:
                    raise

    def _write(self, snapshot: UnitSnapshot, needs: tuple[Need, ...]) -> None:
        name = unit_member(len(self._units) + 1)
        head = len(local_header(name, 0, 0))
        self._file.seek(self._at + head)
        digest, crc, size = hashlib.sha256(), 0, 0
        for piece in self._source.pieces(snapshot, needs):
            digest.update(piece.data)
            crc = crc_of(piece.data, crc)
            size += len(piece.data)
            self._file.write(piece.data)
            self._progress.files(total=len(piece.data), sent=len(piece.data))
        self._units.append(BundledUnit(snapshot, needs, size, digest.hexdigest(), crc).settled())
        member = Member(name, size, crc, self._at)
        self._file.seek(self._at)
        self._file.write(local_header(name, size, crc))
        self._file.seek(member.end)
        self._members.append(member)
        self._at = member.end

    def finish(self, path: Path, manifest: Manifest) -> WrittenBundle | None:
        """Write the index, the zip directory and the manifest."""
        if not self._units:
            return None
        index = b"".join(unit.encode() for unit in self._units)
        index_member = Member(INDEX, len(index), crc_of(index), self._at)
        self._file.seek(self._at)
        self._file.write(local_header(INDEX, len(index), index_member.crc))
        self._file.write(index)
        sha256 = hashlib.sha256(index).hexdigest()
        manifest = replace(
            manifest,
            units=len(self._units),
            index_offset=index_member.data_offset,
            index_bytes=len(index),
            index_sha256=sha256,
        )
        manifest = manifest.identified()
        data = manifest.encode()
        first = Member(MANIFEST, len(data), crc_of(data), 0)
        for record in directory([first, *self._members[1:], index_member], index_member.end):
            self._file.write(record)
        size = self._file.tell()
        self._file.seek(0)
        self._file.write(local_header(MANIFEST, len(data), first.crc) + data)
        return WrittenBundle(path, manifest, tuple(self._units), self._seen, size)
