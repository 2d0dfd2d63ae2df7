"""The contents of artifacts in a lake: files named by their SHA-256, each once, whoever has it."""

from __future__ import annotations

import hashlib
import os
import re
import time
from typing import TYPE_CHECKING

from mltrack.disk.filesystem import open_regular
from mltrack.errors import MltrackError
from mltrack_sync.errors import RemoteUnavailableError
from mltrack_sync.lake.removals import VacuumWatch

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from mltrack_sync.http.rate_limit import RateLimiter
    from mltrack_sync.lake.files import LakeFiles
    from mltrack_sync.progress import Progress

__all__ = ["BLOBS", "BlobChangedError", "Blobs", "blob_digest", "blob_path", "digest_of"]

BLOBS = "blobs"
"""The folder that has them, in folders by their first two digits."""

CHUNK_BYTES = 1 << 20

_SHA256 = re.compile(r"[0-9a-f]{64}")

LEFT_S_MAX = 6 * 86_400.0
"""A content that no row names, and that is older, may be removed by a vacuum, a day later at the earliest."""


class BlobChangedError(MltrackError):
    """A file is not what its SHA-256 says."""


def blob_path(sha256: str) -> str:
    """Where the content with that SHA-256 is.

    Raises:
        BlobChangedError: it is none, but may be the path of another file.
    """
    if _SHA256.fullmatch(sha256) is None:
        raise BlobChangedError(f"{sha256!a:.80} is not a SHA-256", hint="a row of the lake is broken")
    return f"{BLOBS}/{sha256[:2]}/{sha256}"


class Blobs:
    """The contents that a lake has. Many threads may use it."""

    def __init__(
        self,
        files: LakeFiles,
        *,
        named: Callable[[], Collection[str]],
        pace: RateLimiter | None = None,
        progress: Progress | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        """Send contents.

        Args:
            files: The lake's files.
            named: The SHA-256 of all contents that rows of the lake name.
            pace: Bounds the bytes sent per second.
            progress: Receives how many were.
            stop: Ends the wait for a vacuum when set.
        """
        self._files = files
        self._named = named
        self._pace = pace
        self._progress = progress
        self._have: dict[str, int] = {}
        self._new: dict[str, Path] = {}  # sent or found since the last call of settle, by SHA-256
        self._known: frozenset[str] | None = None
        self._vacuums = VacuumWatch(files, stop=stop)

    def has(self, sha256: str, size: int) -> bool:
        """Whether the lake has this content.

        Raises:
            RemoteError: that can't be found out.
        """
        return self._have.get(sha256) == size or self._files.size(blob_path(sha256)) == size

    def _stays(self, sha256: str) -> bool:
        """Whether no vacuum removes this content before a row names it; one that was left long ago is sent again."""
        path = blob_path(sha256)
        made = self._files.modified(path).get(path, 0.0)
        if time.time() - made < LEFT_S_MAX:
            return True
        if self._known is None:
            self._known = frozenset(self._named())
        return sha256 in self._known

    def put(self, path: Path, sha256: str, size: int) -> bool:
        """Send a file; False where the lake has its content.

        Raises:
            BlobChangedError: it has another content; nothing was sent.
            OSError: it can't be read.
            RemoteError: it can't be sent.
        """
        if self._have.get(sha256) == size:
            return False
        self._vacuums.begin()
        if self.has(sha256, size) and self._stays(sha256):  # a push that did not commit may have sent it
            self._have[sha256], self._new[sha256] = size, path
            return False
        if digest_of(path) != sha256:
            raise BlobChangedError(f"{path} is not what was recorded: it was changed since", hint="see: mltrack check")
        if self._progress is not None:
            self._progress.files(total=size)
        self._files.put_stream(blob_path(sha256), self._chunks(path, sha256))
        self._have[sha256] = size
        self._new[sha256] = path
        return True

    def settle(self) -> None:
        """Make sure that no vacuum has removed what was sent or found: to be called before rows name it.

        Raises:
            RemoteError: a vacuum goes on; or what it has removed can't be sent again, and the next push does.
        """
        if self._new and self._vacuums.wait():
            for sha256, path in self._new.items():
                if self._files.size(blob_path(sha256)) != self._have[sha256]:
                    self._send_again(path, sha256)
        self._new.clear()

    def _send_again(self, path: Path, sha256: str) -> None:
        try:
            self._files.put_stream(blob_path(sha256), self._chunks(path, sha256))
        except (OSError, BlobChangedError) as error:
            del self._have[sha256]
            raise RemoteUnavailableError(
                f"{path} can't be sent again, after a vacuum of the lake has removed it: {error}",
                hint="sync again",
                in_doubt=False,
            ) from error

    def _chunks(self, path: Path, sha256: str) -> Iterator[bytes]:
        digest = hashlib.sha256()
        for chunk in _read(path):
            digest.update(chunk)
            if self._pace is not None:
                self._pace.take(len(chunk))
            yield chunk
            if self._progress is not None:
                self._progress.files(sent=len(chunk))
        if digest.hexdigest() != sha256:
            raise BlobChangedError(f"{path} was changed while it was sent", hint="the next sync tries again")


def digest_of(path: Path) -> str:
    """The SHA-256 of a file.

    Raises:
        OSError: it can't be read.
    """
    digest = hashlib.sha256()
    for chunk in _read(path):
        digest.update(chunk)
    return digest.hexdigest()


def _read(path: Path) -> Iterator[bytes]:
    fd = open_regular(path, follow=False)
    try:
        while chunk := os.read(fd, CHUNK_BYTES):
            yield chunk
    finally:
        os.close(fd)


def blob_digest(files: LakeFiles, sha256: str, on_chunk: Callable[[int], None] | None = None) -> str:
    """The SHA-256 of what the lake has under this one.

    Raises:
        RemoteError: it can't be read.
    """
    digest = hashlib.sha256()
    with files.open(blob_path(sha256)) as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
            if on_chunk is not None:
                on_chunk(len(chunk))
    return digest.hexdigest()
