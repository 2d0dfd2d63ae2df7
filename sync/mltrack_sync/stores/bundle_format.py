"""What is in a bundle: a manifest, the bytes of units, and an index of them, each line with its own checksum.

- ``manifest.json``, first and always ``MANIFEST_BYTES`` long: which store and which bundle it is, what it continues,
  and where the index is, with its SHA-256.
- ``units/00000001`` and so on: the needed bytes of one unit each, one file after the other.
- ``index.jsonl``, last: a line for each unit, with its snapshot, what of its files is in the bundle, and the SHA-256 of
  these bytes.

Everything is the same for the same content: there are no times but those of copies of runs that are being recorded.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mltrack.disk.codec import BadLine, decode_line, encode_line
from mltrack.disk.sync_line_types import BUNDLE, BUNDLE_UNIT
from mltrack.errors import RemoteError
from mltrack_sync.stores.transfer import FileKind, FileState, Need, TransferError, UnitSnapshot, entries_of
from mltrack_sync.stores.unit_files import check_snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "INDEX",
    "MANIFEST",
    "MANIFEST_BYTES",
    "VERSION",
    "BundleError",
    "BundledUnit",
    "Manifest",
    "content_token",
    "unit_member",
]

VERSION = 1
MANIFEST = "manifest.json"
MANIFEST_BYTES = 4096
INDEX = "index.jsonl"
_FORMAT = "mltrack bundle"


class BundleError(RemoteError):
    """A file is not a bundle, is damaged, or can't be used as it is; nothing was taken from it."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """Which bundle it is.

    Attributes:
        bundle_id: A digest of its content, so that the same content has the same one.
        store_id: The store that it comes from.
        store_format: That store's format.
        host: The machine that it comes from.
        receiver: The name that ``--for`` gave; "" for a bundle that is whole in itself.
        number: Which one for that receiver, from 1.
        after: The number of the bundle that it continues; 0 for none.
        after_id: That one's id.
        units: How many units are in it.
        index_offset: Where the index begins.
        index_bytes: How long it is.
        index_sha256: Its SHA-256.
    """

    bundle_id: str
    store_id: str
    store_format: int
    host: str
    receiver: str = ""
    number: int = 0
    after: int = 0
    after_id: str = ""
    units: int = 0
    index_offset: int = 0
    index_bytes: int = 0
    index_sha256: str = ""

    @property
    def words(self) -> str:
        """The bundle, in words."""
        which = f" {self.number} for {self.receiver!r}" if self.receiver else ""
        return f"bundle{which} of {self.host} ({self.bundle_id[:8]})"

    def encode(self) -> bytes:
        """The manifest's bytes.

        Raises:
            BundleError: they are too long.
        """
        fields = {
            "format": _FORMAT,
            "version": VERSION,
            "bundle": self.bundle_id,
            "store": self.store_id,
            "store_format": self.store_format,
            "host": self.host,
            "for": self.receiver,
            "number": self.number,
            "after": self.after,
            "after_id": self.after_id,
            "units": self.units,
            "index": [self.index_offset, self.index_bytes],
            "index_sha256": self.index_sha256,
        }
        line = encode_line(fields)
        if len(line) > MANIFEST_BYTES:
            raise BundleError("the manifest is too long", hint="give a shorter name with --for")
        return line[:-1].ljust(MANIFEST_BYTES - 1) + b"\n"

    def identified(self) -> Manifest:
        """The same, with the id that follows from its content."""
        named = f"{self.store_id}\0{self.receiver}\0{self.number}\0{self.after_id}\0{self.index_sha256}"
        return replace(self, bundle_id=hashlib.sha256(named.encode()).hexdigest()[:32])

    @classmethod
    def decode(cls, data: bytes) -> Manifest:
        """The manifest in these bytes.

        Raises:
            BundleError: it is damaged, or of another version.
        """
        text = data[:-1].rstrip(b" ")
        try:
            fields = decode_line(text)
            if fields.get("format") == _FORMAT and type(version := fields.get("version")) is int and version > VERSION:
                raise BundleError(
                    f"the bundle has version {version}; this mltrack knows versions up to {VERSION}",
                    hint="upgrade mltrack: pip install -U mltrack-local",
                )
            fault = BUNDLE.fault(fields)
            if fault is not None:
                raise BadLine(fault)
        except BadLine as error:
            raise BundleError(f"its manifest is damaged: {error}", hint="have it sent again") from None
        if fields["format"] != _FORMAT:
            raise BundleError("it is not a bundle of mltrack's", hint="give a file that mltrack bundle wrote")
        made = cls(
            fields["bundle"],
            fields["store"],
            fields["store_format"],
            fields["host"],
            fields["for"],
            fields["number"],
            fields["after"],
            fields["after_id"],
            fields["units"],
            index_offset=fields["index"][0],
            index_bytes=fields["index"][1],
            index_sha256=fields["index_sha256"],
        )
        if made.encode() != data or made.identified() != made:
            raise BundleError("its manifest is not as mltrack writes it", hint="have it sent again")
        return made


def unit_member(number: int) -> str:
    """The name of the member with a unit's bytes; units are counted from 1."""
    return f"units/{number:08d}"


def content_token(files: Sequence[FileState]) -> str:
    """A token of a snapshot that follows from its content alone: the same again for the same files."""
    digest = hashlib.sha256()
    for state in files:
        named = f"{state.path}\0{state.kind}\0{state.size}\0{state.sha256}\0{state.mark}\0".encode(
            "utf-8", "surrogateescape"
        )
        digest.update(named)
    return f"bundle:{digest.hexdigest()[:32]}"


@dataclass(frozen=True, slots=True)
class BundledUnit:
    """One unit of a bundle: how it looked, which bytes of its files are there, and their size and SHA-256."""

    snapshot: UnitSnapshot
    needs: tuple[Need, ...]
    size: int
    sha256: str
    crc: int

    def encode(self) -> bytes:
        """Its line of the index."""
        snapshot = self.snapshot
        places = {id(state): index for index, state in enumerate(snapshot.files)}
        fields: dict[str, Any] = {
            "unit": snapshot.unit,
            "token": snapshot.token,
            "live": list(snapshot.live),
            "taken_at": snapshot.taken_at,
            "origin": list(snapshot.origin),
            "files": [[s.path, str(s.kind), s.size, s.sha256, s.mark, s.first_seq, s.at] for s in snapshot.files],
            "needs": [[places[id(state)], need.start] for state, need in entries_of(snapshot, self.needs)],
            "size": self.size,
            "sha256": self.sha256,
            "zip_crc": self.crc,
        }
        return encode_line(fields)

    @classmethod
    def decode(cls, line: bytes) -> BundledUnit:
        """The unit in a line of the index, given without its newline.

        Raises:
            BundleError: the line is damaged, or names what a unit can't have.
        """
        try:
            fields = decode_line(line, BUNDLE_UNIT)
            files = tuple(_file(each) for each in fields["files"])
            snapshot = UnitSnapshot(
                fields["unit"],
                fields["token"],
                files,
                live=tuple(fields["live"]),
                taken_at=fields["taken_at"],
                origin=(fields["origin"][0], fields["origin"][1]),
            )
            check_snapshot(snapshot)
            needs = tuple(Need(files[index].path, start) for index, start in fields["needs"])
            states = [state for state, _ in entries_of(snapshot, needs)]
            places = [index for index, _ in fields["needs"]]
        except (BadLine, TransferError, IndexError, ValueError) as error:
            raise BundleError(f"its index is damaged: {error}", hint="have it sent again") from None
        size = sum(state.size - need.start for state, need in zip(states, needs, strict=True))
        if states != [files[index] for index in places] or size != fields["size"]:
            raise BundleError(f"its index does not fit {snapshot.unit}", hint="have it sent again")
        return cls(snapshot, needs, fields["size"], fields["sha256"], fields["zip_crc"])

    def settled(self) -> BundledUnit:
        """The same, without what is not content: its token follows from its files, and a time stays only of a copy of
        a run that is being recorded."""
        snapshot = self.snapshot
        taken_at = snapshot.taken_at if snapshot.live else 0
        token = content_token(snapshot.files) + "".join(snapshot.token.partition("<")[1:])
        return replace(self, snapshot=replace(snapshot, token=token, taken_at=taken_at))


def _file(fields: list[Any]) -> FileState:
    path, kind, size, sha256, mark, first_seq, at = fields
    texts = (path, kind, sha256, mark)
    numbers = (size, first_seq, at)
    if not all(type(text) is str for text in texts) or not all(type(number) is int for number in numbers):
        raise ValueError("a file is not described as it must be")
    return FileState(path, FileKind(kind), size, sha256=sha256, mark=mark, first_seq=first_seq, at=at)
