"""Contents of source files, each stored once in a store: zip files in ``sources/``, entries named by their SHA-256.

A pack is written completely and then published; it never changes. Two launches at the same time may store a content
twice, which is harmless. Recent hashes are cached in the same folder; the cache can be deleted.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING, NamedTuple

from mltrack.disk.filesystem import LOCAL, TEMPORARY, FileSystem, read_small
from mltrack.errors import CorruptionError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Contents", "Hashed", "SourceFile"]

RACY_NS = 2_000_000_000
"""A file changed less than this before it was hashed may change again within the same time stamp: hash it again."""


class SourceFile(NamedTuple):
    """A file to keep: its path, its name below the root, and values from ``os.stat``."""

    path: Path
    name: str
    size: int
    mtime_ns: int
    mode: int


class Hashed(NamedTuple):
    """A stored file: its content's SHA-256 in hex, its size in bytes, whether it is executable."""

    sha256: str
    size: int
    executable: bool


class Contents:
    """The contents of one store."""

    def __init__(self, store: Path, *, fs: FileSystem = LOCAL) -> None:
        self._folder = store / "sources"
        self._fs = fs

    def keep(self, root: Path, files: Iterable[SourceFile]) -> dict[str, Hashed]:
        """Store the contents of these files; returns the hash of each. On return they survive power loss.

        Files are read only if they changed since they were hashed for the same ``root``. One that vanishes or can't be
        read is omitted.

        Raises:
            OSError: the store can't be written.
        """
        packs = self._packs()
        cache = _Cache(self._folder, root, {path.name for path in packs})
        known: set[str] | None = None
        kept: dict[str, Hashed] = {}
        new: dict[str, bytes] = {}
        began = time_ns()
        for file in files:
            sha256 = cache.get(file)
            if sha256 is None:
                try:
                    data = file.path.read_bytes()
                except OSError:
                    continue
                sha256 = hashlib.sha256(data).hexdigest()
                known = _names_in(packs) if known is None else known
                if sha256 not in known:
                    new[sha256] = data
                cache.put(file, sha256, began)
            kept[file.name] = Hashed(sha256, file.size, bool(file.mode & 0o111))
        if new:
            cache.packs.add(self._write_pack(new))
        cache.save(self._fs)
        return kept

    def read(self, sha256: str) -> bytes:
        """A content.

        Raises:
            NotFoundError: the store does not have it.
            CorruptionError: its bytes don't match the hash.
        """
        for path in self._packs():
            try:
                with zipfile.ZipFile(path) as pack:
                    data = pack.read(sha256)
            except KeyError:
                continue
            except (zipfile.BadZipFile, OSError, EOFError) as error:
                raise CorruptionError(f"{path}: {error}", path=str(path), hint="restore it from a copy") from error
            if hashlib.sha256(data).hexdigest() != sha256:
                raise CorruptionError(f"{path}: {sha256} differs", path=str(path), hint="restore it from a copy")
            return data
        raise NotFoundError(f"no content {sha256} in {self._folder}", hint="copy sources/ together with the run")

    def link(self, data: bytes, name: str, target: Path) -> None:
        """Link a file that the store keeps once, however often it is linked, to ``target``.

        Raises:
            OSError: the store can't be written.
        """
        path = self._folder / f"{hashlib.sha256(data).hexdigest()}.{name}"
        if not path.exists():
            self._fs.make_durable_folder(self._folder)
            self._fs.publish_bytes(path, data)
        try:
            os.link(path, target)
        except FileExistsError:
            self._fs.unlink(target)
            os.link(path, target)
        except OSError:  # a file system without hard links
            target.write_bytes(data)

    def _packs(self) -> list[Path]:
        """The newest first: recent contents are read most."""
        try:
            return sorted(self._folder.glob("*.zip"), reverse=True)
        except OSError:
            return []

    def _write_pack(self, contents: Mapping[str, bytes]) -> str:
        self._fs.make_durable_folder(self._folder)
        target = self._folder / f"{time_ns():016x}-{os.urandom(4).hex()}.zip"
        temporary = target.with_name(f".{target.name}{TEMPORARY}")
        try:
            with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as pack:
                for sha256, data in contents.items():
                    pack.writestr(zipfile.ZipInfo(sha256), data, zipfile.ZIP_DEFLATED)
            self._fs.publish(temporary, target)
        finally:
            self._fs.unlink(temporary)
        return target.name


def _names_in(packs: Iterable[Path]) -> set[str]:
    known: set[str] = set()
    for path in packs:
        try:
            with zipfile.ZipFile(path) as pack:
                known.update(pack.namelist())
        except (zipfile.BadZipFile, OSError):
            continue  # `mltrack check` reports it; its contents are stored again
    return known


class _Cache:
    """Hashes of the files below one root, valid for their sizes and times, while the packs exist."""

    def __init__(self, folder: Path, root: Path, packs: set[str]) -> None:
        self.packs = packs
        self._path = folder / "seen" / f"{hashlib.sha256(os.fsencode(root)).hexdigest()[:16]}.json"
        self._seen: dict[str, list[int | str]] = {}
        self._used: dict[str, list[int | str]] = {}
        self._changed = False
        try:
            held = json.loads(read_small(self._path))
            if packs.issuperset(held["packs"]):
                self._seen = held["files"]
        except (OSError, ValueError, KeyError, TypeError):
            return

    def get(self, file: SourceFile) -> str | None:
        held = self._seen.get(file.name)
        if held is None or held[:2] != [file.size, file.mtime_ns]:
            return None
        self._used[file.name] = held
        return str(held[2])

    def put(self, file: SourceFile, sha256: str, now_ns: int) -> None:
        self._changed = True
        if now_ns - file.mtime_ns > RACY_NS:
            self._used[file.name] = [file.size, file.mtime_ns, sha256]

    def save(self, fs: FileSystem) -> None:
        if self._changed or len(self._used) != len(self._seen):
            fs.make_folder(self._path.parent)
            fs.publish_bytes(self._path, json.dumps({"packs": sorted(self.packs), "files": self._used}).encode())
