"""A file's bytes on their way: checked against what the run recorded, before and while they are sent."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from mltrack.disk.filesystem import reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mltrack.entities import Artifact

__all__ = ["CHUNK_BYTES", "Digest", "FileChanged", "TooLong", "check_content", "part_digests", "read_checked"]

CHUNK_BYTES = 256 << 10


class FileChanged(Exception):
    """The file does not have the content that the run recorded, now or any more; the message says in what."""


def check_content(artifact: Artifact, path: Path) -> None:
    """Check that the file is what the run recorded.

    Raises:
        FileChanged: it is not.
        OSError: it can't be read.
    """
    size = path.stat().st_size
    if size != artifact.size:
        raise FileChanged(f"has {size} bytes, {artifact.size} were recorded")
    with reading(path) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != artifact.sha256:
        raise FileChanged(f"has SHA-256 {digest[:12]}..., {artifact.sha256[:12]}... was recorded")


def part_digests(artifact: Artifact, path: Path, part_bytes: int) -> list[bytes]:
    """SHA-256 of each part of the file, read whole and found to be what the run recorded.

    Raises:
        FileChanged: it is not.
        OSError: it can't be read.
    """
    size = path.stat().st_size
    if size != artifact.size:
        raise FileChanged(f"has {size} bytes, {artifact.size} were recorded")
    whole, digests = hashlib.sha256(), []
    with reading(path) as file:
        for start in range(0, size, part_bytes):
            part, left = hashlib.sha256(), min(part_bytes, size - start)
            while left > 0 and (chunk := file.read(min(CHUNK_BYTES, left))):
                part.update(chunk)
                whole.update(chunk)
                left -= len(chunk)
            digests.append(part.digest())
    digest = whole.hexdigest()
    if digest != artifact.sha256:
        raise FileChanged(f"has SHA-256 {digest[:12]}..., {artifact.sha256[:12]}... was recorded")
    return digests


def read_checked(path: Path, start: int, size: int, sha256: bytes) -> Iterator[bytes]:
    """``size`` bytes from byte ``start`` on, the last of them only if all have that SHA-256.

    A file that changed aborts the request, so that the remote discards it.

    Raises:
        FileChanged: they have another SHA-256.
        OSError: they can't be read.
    """
    left, digest = size, hashlib.sha256()
    with reading(path) as file:
        file.seek(start)
        while left > 0:
            chunk = file.read(min(CHUNK_BYTES, left))
            if not chunk:
                raise FileChanged("became shorter while it was sent")
            left -= len(chunk)
            digest.update(chunk)
            if not left and digest.digest() != sha256:
                raise FileChanged("changed while it was sent")
            yield chunk


class TooLong(Exception):
    """More came than the file to compare with has: the rest need not be read."""


class Digest:
    """Size and SHA-256 of a download; ``begin`` starts each attempt and returns the function that takes its chunks."""

    def __init__(self, bytes_max: int) -> None:
        """More than ``bytes_max`` ends it with TooLong."""
        self._bytes_max = bytes_max
        self.begin()

    def begin(self) -> Callable[[bytes], None]:
        """Forget what has come so far."""
        self._size, self._hash = 0, hashlib.sha256()
        return self._take

    def _take(self, piece: bytes) -> None:
        self._size += len(piece)
        self._hash.update(piece)
        if self._size > self._bytes_max:
            raise TooLong

    @property
    def found(self) -> tuple[int, str]:
        """Size and SHA-256 of what has come since ``begin``."""
        return self._size, self._hash.hexdigest()
