"""A file that comes piece by piece, hashed on the way, and published as an artifact whole or not at all."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING

from mltrack.disk.artifact_files import Stored, StrPath, prepare, publish
from mltrack.disk.filesystem import LOCAL, TEMPORARY, FileSystem

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["IncomingFile"]


class IncomingFile:
    """One file on its way into an artifact folder. Close it, whatever happened."""

    def __init__(self, root: Path, name: StrPath, *, fs: FileSystem = LOCAL) -> None:
        """Make the folder that it goes to.

        Raises:
            InvalidPathError: the name leads out of ``root``, or can't be one here.
            OSError: the folder can't be made.
        """
        self._root = root
        self._fs = fs
        self.name, self._target = prepare(root, name, fs)
        self._temporary = self._target.with_name(f".{time_ns():x}-{os.urandom(4).hex()}{TEMPORARY}")
        self._fd = -1
        self._hash = hashlib.sha256()
        self.size = 0

    def begin(self) -> Callable[[bytes], None]:
        """Forget what has come so far; returns what takes the pieces, in order.

        Raises:
            OSError: the file can't be made. What it returns raises this where a piece can't be written.
        """
        if self._fd < 0:
            self._fd = self._fs.create(self._temporary)
        else:
            self._fs.truncate(self._fd, 0)
            os.lseek(self._fd, 0, os.SEEK_SET)
        self._hash, self.size = hashlib.sha256(), 0
        return self._take

    def _take(self, piece: bytes) -> None:
        self._hash.update(piece)
        self._fs.write_all(self._fd, piece)
        self.size += len(piece)

    def content(self, bytes_max: int) -> bytes:
        """What has come, no more than ``bytes_max`` of it."""
        return os.pread(self._fd, min(self.size, bytes_max), 0) if self._fd >= 0 else b""

    def publish(self, note: Callable[[Stored], None]) -> Stored:
        """Give it its name, durably; then ``note`` is called, before another process can replace the file.

        Raises:
            OSError: it can't be written in full; nothing was changed.
        """
        if self._fd < 0:
            self.begin()  # an empty file
        self._fs.sync(self._fd)
        stored = Stored(self.name, self.size, self._hash.hexdigest())
        publish(self._temporary, self._target, stored, self._root, self._fs, note)
        return stored

    def close(self) -> None:
        """Remove what was not published."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._fs.unlink(self._temporary)
