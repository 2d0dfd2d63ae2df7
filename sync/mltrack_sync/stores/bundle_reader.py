"""Reading a bundle: all of it is checked first; what is not exactly as it was written is refused whole."""

from __future__ import annotations

import contextlib
import hashlib
import os
from typing import TYPE_CHECKING

from mltrack.disk.codec import FORMAT_VERSION
from mltrack.disk.filesystem import NotRegularError, open_regular
from mltrack.errors import NotFoundError, UsageError
from mltrack_sync.stores.bundle_format import (
    INDEX,
    MANIFEST,
    MANIFEST_BYTES,
    BundledUnit,
    BundleError,
    Manifest,
    unit_member,
)
from mltrack_sync.stores.bundle_zip import Member, crc_of, directory, local_header
from mltrack_sync.stores.complete_runs import read_each
from mltrack_sync.stores.transfer import (
    PIECE_BYTES_MAX,
    Piece,
    StoreInfo,
    TransferError,
    UnitSnapshot,
    UnitToken,
    entries_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from mltrack_sync.selection import Selection
    from mltrack_sync.stores.transfer import CompleteRun, FileState, Need

__all__ = ["Bundle", "BundleSource", "open_bundle"]

_AGAIN = "have it sent again; nothing was taken from it"


class Bundle:
    """A bundle file, open and checked. Close it."""

    def __init__(self, path: Path, fd: int) -> None:
        """Check the whole file.

        Raises:
            BundleError: it is not a bundle, or damaged.
            OSError: it can't be read.
        """
        self.path = path
        self._fd = fd
        self._size = os.fstat(fd).st_size
        self.manifest = self._read_manifest()
        self.units: dict[str, BundledUnit] = {}
        self._starts: dict[str, int] = {}
        try:
            self._check()
        except BundleError as error:
            raise BundleError(f"{path}: {error}", hint=error.hint) from None

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def read(self, unit: str, start: int, size: int) -> bytes:
        """Bytes of a unit's member.

        Raises:
            BundleError: the file was cut since it was checked.
        """
        data = self._read(self._starts[unit] + start, size)
        if len(data) != size:
            raise BundleError(f"{self.path} was changed while it was read", hint="pull it again")
        return data

    def _read(self, at: int, size: int) -> bytes:
        return os.pread(self._fd, size, at)

    def _read_manifest(self) -> Manifest:
        head = local_header(MANIFEST, MANIFEST_BYTES, 0)
        data = self._read(len(head), MANIFEST_BYTES)
        if self._read(0, len(head)) != local_header(MANIFEST, MANIFEST_BYTES, crc_of(data)):
            raise BundleError(
                f"{self.path} is not a bundle of mltrack's, or its beginning is damaged",
                hint="give a file that mltrack bundle wrote, or have it sent again",
            )
        try:
            return Manifest.decode(data)
        except BundleError as error:
            raise BundleError(f"{self.path}: {error}", hint=error.hint) from None

    def _check(self) -> None:
        manifest = self.manifest
        if manifest.store_format > FORMAT_VERSION:
            raise BundleError(
                f"it comes from a store of format {manifest.store_format}; this mltrack knows up to {FORMAT_VERSION}",
                hint="upgrade mltrack: pip install -U mltrack-local",
            )
        index = self._read_index()
        at = len(local_header(MANIFEST, MANIFEST_BYTES, 0)) + MANIFEST_BYTES
        manifest_crc = crc_of(manifest.encode())
        members = [Member(MANIFEST, MANIFEST_BYTES, manifest_crc, 0)]
        for number, line in enumerate(index.splitlines(), 1):
            unit = BundledUnit.decode(line)
            if unit.snapshot.unit in self.units or unit.snapshot.origin[0] != manifest.store_id:
                raise BundleError(f"its index names {unit.snapshot.unit} wrongly", hint=_AGAIN)
            member = Member(unit_member(number), unit.size, unit.crc, at)
            self._check_member(member, unit.sha256)
            self.units[unit.snapshot.unit] = unit
            self._starts[unit.snapshot.unit] = member.data_offset
            members.append(member)
            at = member.end
        if len(self.units) != manifest.units:
            raise BundleError("its index has another number of units than its manifest says", hint=_AGAIN)
        last = Member(INDEX, len(index), crc_of(index), at)
        if last.data_offset != manifest.index_offset or self._header(last) != local_header(INDEX, last.size, last.crc):
            raise BundleError("its index is not where it should be", hint=_AGAIN)
        self._check_end([*members, last], last.end)

    def _read_index(self) -> bytes:
        manifest = self.manifest
        if manifest.index_offset + manifest.index_bytes > self._size:
            raise BundleError("it is not complete", hint=_AGAIN)
        pieces = list(self._chunks(manifest.index_offset, manifest.index_bytes))
        index = b"".join(pieces)
        if hashlib.sha256(index).hexdigest() != manifest.index_sha256 or not index.endswith(b"\n"):
            raise BundleError("its index is damaged", hint=_AGAIN)
        return index

    def _header(self, member: Member) -> bytes:
        return self._read(member.offset, member.data_offset - member.offset)

    def _check_member(self, member: Member, sha256: str) -> None:
        digest, crc = hashlib.sha256(), 0
        for data in self._chunks(member.data_offset, member.size):
            digest.update(data)
            crc = crc_of(data, crc)
        header = local_header(member.name, member.size, member.crc)
        if digest.hexdigest() != sha256 or crc != member.crc or self._header(member) != header:
            raise BundleError(f"{member.name} is damaged", hint=_AGAIN)

    def _check_end(self, members: list[Member], at: int) -> None:
        for record in directory(members, at):
            if self._read(at, len(record)) != record:
                raise BundleError("its zip directory is damaged", hint=_AGAIN)
            at += len(record)
        if at != self._size:
            raise BundleError("something stands behind its end", hint=_AGAIN)

    def _chunks(self, at: int, size: int) -> Iterator[bytes]:
        end = at + size
        while at < end:
            data = self._read(at, min(PIECE_BYTES_MAX, end - at))
            if not data:
                raise BundleError("it is not complete", hint=_AGAIN)
            yield data
            at += len(data)


@contextlib.contextmanager
def open_bundle(path: Path) -> Iterator[Bundle]:
    """A bundle file, checked whole.

    Raises:
        NotFoundError: there is no such file.
        BundleError: it is not a bundle, or damaged.
        OSError: it can't be read.
    """
    try:
        fd = open_regular(path)
    except FileNotFoundError:
        raise NotFoundError(f"no file {path}", hint="check the path of the bundle") from None
    except NotRegularError as error:
        raise BundleError(f"{path} {error.strerror}", hint="give a file that mltrack bundle wrote") from None
    try:
        yield Bundle(path, fd)
    finally:
        os.close(fd)


class BundleSource:
    """A bundle as a source of units."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle

    def info(self) -> StoreInfo:
        """Which store it comes from."""
        manifest = self._bundle.manifest
        return StoreInfo(manifest.store_id, manifest.store_format, manifest.host, "", writable=False)

    def units(self, selection: Selection) -> Iterable[UnitToken]:
        """All units, or those of the runs that were named by ids.

        Raises:
            UsageError: something else than runs was selected.
            NotFoundError: a run is not in the bundle.
        """
        if selection.experiments or selection.filter:
            raise UsageError("of a bundle, only runs can be chosen, by their ids", hint="leave out other options")
        chosen = self._chosen(selection.runs)
        for name, unit in self._bundle.units.items():
            if not name.startswith("runs/") or not selection.runs or name in chosen:
                yield UnitToken(name, unit.snapshot.token)

    def _chosen(self, runs: Iterable[str]) -> set[str]:
        chosen: set[str] = set()
        for text in runs:
            found = {name for name in self._bundle.units if text and name.startswith(f"runs/{text}")}
            if len(found) != 1:
                words = "several runs begin with" if found else "no run has an id that begins with"
                raise NotFoundError(f"{self._bundle.path}: {words} {text!r}", hint="give more digits of its id")
            chosen |= found
        return chosen

    def snapshot(self, unit: str, *, artifact_bytes_max: int | None = None) -> UnitSnapshot:
        """How a unit looked.

        Raises:
            NotFoundError: it is not in the bundle.
        """
        found = self._bundle.units.get(unit)
        if found is None:
            raise NotFoundError(f"no {unit} in {self._bundle.path}")
        return found.snapshot

    def lacks(self, snapshot: UnitSnapshot, needs: Iterable[Need]) -> Iterator[tuple[FileState, int]]:
        """Files of which bytes are needed that are not in the bundle, each with the byte where it begins in it."""
        held = self._places(snapshot)
        for state, need in entries_of(snapshot, needs):
            start = held.get(_place(snapshot, state), (0, state.size))[1]
            if need.start < start:
                yield state, start

    def pieces(self, snapshot: UnitSnapshot, needs: Iterable[Need]) -> Iterator[Piece]:
        """The bytes that are needed.

        Raises:
            TransferError: some of them are not in the bundle.
        """
        held = self._places(snapshot)
        for state, need in entries_of(snapshot, needs):
            offset, start = held.get(_place(snapshot, state), (0, state.size + 1))
            if need.start < start:
                raise TransferError(f"{state.path} of {snapshot.unit} is not in the bundle from byte {need.start:,} on")
            yield from self._file(snapshot.unit, state, need.start, offset - start)

    def complete_runs(
        self, units: Sequence[str], *, artifact_bytes_max: int | None = None
    ) -> Iterator[CompleteRun | None]:
        """Small runs of which all is in the bundle."""
        return read_each(self, units, artifact_bytes_max=artifact_bytes_max)

    def _file(self, unit: str, state: FileState, at: int, shift: int) -> Iterator[Piece]:
        while True:
            data = self._bundle.read(unit, at + shift, min(PIECE_BYTES_MAX, state.size - at))
            last = at + len(data) == state.size
            yield Piece(state.path, state.kind, at, data, last=last)
            at += len(data)
            if last:
                return

    def _places(self, snapshot: UnitSnapshot) -> dict[tuple[str, int], tuple[int, int]]:
        """Where the bytes of files begin in their unit's member, and with which byte of the file."""
        unit = self._bundle.units[snapshot.unit]
        places: dict[tuple[str, int], tuple[int, int]] = {}
        offset = 0
        for state, need in entries_of(unit.snapshot, unit.needs):
            places[_place(snapshot, state)] = (offset, need.start)
            offset += state.size - need.start
        return places


def _place(snapshot: UnitSnapshot, state: FileState) -> tuple[str, int]:
    """What tells a file of a snapshot from others: a log may be in it several times, with different sizes."""
    return state.path, state.size
