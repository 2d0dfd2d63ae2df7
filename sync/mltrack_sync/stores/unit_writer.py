"""Writes the pieces of a unit into its folder, in the order of the format, and syncs between the steps of that order.

Files that are appended to are written in place, from the byte where the copy ends; whole ones under a temporary name
whose first bytes a later copy continues, then published. Nothing that is valid is ever cut or replaced.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from typing import TYPE_CHECKING, Any

from mltrack.disk.filesystem import LOCAL, TEMPORARY, FileSystem
from mltrack_sync.stores.file_marks import mark_of
from mltrack_sync.stores.transfer import (
    PIECE_BYTES_MAX,
    FileKind,
    FileState,
    Piece,
    SourceChangedError,
    TransferError,
    UnitSnapshot,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["UnitWriter", "temporary_of"]

OPEN_MAX = 64
HASH_CHUNK_BYTES = 1 << 20


def temporary_of(state: FileState) -> str:
    """The path of an unfinished copy of a file, below the unit: the same for each copy of the same content."""
    folder, slash, _ = state.path.rpartition("/")
    named = f"{state.path}\0{state.size}\0{state.sha256}".encode("utf-8", "surrogateescape")
    return f"{folder}{slash}.{hashlib.sha256(named).hexdigest()[:16]}{TEMPORARY}"


class UnitWriter:
    """The copying of one unit into one folder."""

    def __init__(
        self,
        root: Path,
        folder: Path,
        snapshot: UnitSnapshot,
        starts: Mapping[int, int],
        *,
        hashing: bool = True,
        fs: FileSystem = LOCAL,
    ) -> None:
        """Write into a unit's folder.

        Args:
            root: The store.
            folder: The unit's folder in it.
            snapshot: What is copied.
            starts: The byte from which each file is lacking, by its index in the snapshot; others are not written.
            hashing: Whether files are hashed whose SHA-256 is not in the snapshot.
            fs: The file system to write with.
        """
        self.bytes = 0
        self.done: set[int] = set()
        self._root = root
        self._folder = folder
        self._snapshot = snapshot
        self._starts = starts
        self._hashing = hashing
        self._fs = fs
        self._index = -1
        self._at = 0  # of the present file: the byte at which the next piece begins
        self._open: _OpenFile | None = None
        self._unsynced: dict[Path, None] = {}
        self._folders: dict[Path, None] = {}
        self._checked: set[Path] = set()

    def write(self, piece: Piece) -> None:
        """Write one piece.

        Raises:
            TransferError: it is not one of the snapshot, or the file's content is not what it should be.
            OSError: it can't be written.
        """
        if self._index < 0 or not self._continues(piece):
            self._next(piece)
        state = self._snapshot.files[self._index]
        end = piece.start + len(piece.data)
        if len(piece.data) > PIECE_BYTES_MAX or end > state.size or piece.last != (end == state.size):
            raise self._refuse(piece)
        self._at = end
        if self._index in self._starts and self._index not in self.done:
            self._put(state, piece)

    def _continues(self, piece: Piece) -> bool:
        state = self._snapshot.files[self._index]
        return piece.path == state.path and piece.start == self._at < state.size

    def _next(self, piece: Piece) -> None:
        """Move on to the file that a piece begins."""
        self._abandon()
        before = self._area()
        for index in range(self._index + 1, len(self._snapshot.files)):
            state = self._snapshot.files[index]
            if state.path == piece.path and (piece.start < state.size or state.size == 0):
                self._index, self._at = index, piece.start
                break
        else:
            raise self._refuse(piece)
        if state.kind is not piece.kind:
            raise self._refuse(piece)
        if before and self._area() != before:
            self.settle()

    def _area(self) -> str:
        return self._snapshot.files[self._index].path.partition("/")[0] if self._index >= 0 else ""

    def _refuse(self, piece: Piece) -> TransferError:
        return TransferError(
            f"a piece of {piece.path!a} at byte {piece.start} is not one of {self._snapshot.unit}",
            hint="the other side is broken, or another version of mltrack",
        )

    def _put(self, state: FileState, piece: Piece) -> None:
        start = self._starts[self._index]
        if self._open is None:
            if piece.start > start:
                raise self._refuse(piece)
            self._open = self._begin(state, start)
        data = piece.data[max(0, start - piece.start) :] if piece.start < start else piece.data
        try:
            self._open.write(data, self._fs)
            self.bytes += len(data)
            if piece.last:
                self._finish(state, piece)
        except TransferError:
            self._abandon()
            raise

    def _begin(self, state: FileState, start: int) -> _OpenFile:
        path = self.place(state.path if state.kind is not FileKind.WHOLE else temporary_of(state))
        fd = self._fs.open_append(path)
        try:
            found = os.fstat(fd).st_size
            if found < start:
                raise TransferError(f"{state.path} of {self._snapshot.unit} was cut while it was copied")
            if found > start:
                self._fs.truncate(fd, start)
            if found == 0:
                self._folders[path.parent] = None
            digest = None
            if state.kind is FileKind.WHOLE and (self._hashing or state.sha256):
                digest = _hash_up_to(fd, start)
            return _OpenFile(path, fd, start, digest)
        except BaseException:
            os.close(fd)
            raise

    def _finish(self, state: FileState, piece: Piece) -> None:
        held = self._open
        assert held is not None
        if state.kind is FileKind.WHOLE:
            found = held.digest.hexdigest() if held.digest is not None else ""
            if any(said and said != found for said in (state.sha256, piece.sha256 if found else "")):
                self._fs.unlink(held.path)
                raise SourceChangedError(
                    f"{state.path} of {self._snapshot.unit} did not arrive with the SHA-256 it should have",
                    path=state.path,
                    hint="copy it again; if it stays so, the file is damaged where it comes from: mltrack check",
                )
            self._fs.sync(held.fd)
            self._fs.rename(held.path, self.place(state.path))
            self._folders[held.path.parent] = None
        else:
            if state.mark and mark_of(held.fd, state.size) != state.mark:
                self._fs.truncate(held.fd, held.start)
                raise TransferError(
                    f"{state.path} of {self._snapshot.unit} goes on in another way than the copy of it",
                    hint="the two stores have different files of that name; nothing of it was changed",
                )
            self._unsynced[held.path] = None
        held.close()
        self._open = None
        self.done.add(self._index)

    def _abandon(self) -> None:
        """Leave the present file where it is, for a later copy to continue."""
        if self._open is not None:
            self._unsynced[self._open.path] = None
            self._open.close()
            self._open = None

    def settle(self) -> None:
        """Return when everything that was written is on the disk under its name."""
        self._abandon()
        for path in list(self._unsynced):
            with contextlib.suppress(FileNotFoundError):
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
                try:
                    self._fs.sync(fd)
                finally:
                    os.close(fd)
            del self._unsynced[path]
        for folder in list(self._folders):
            self._fs.sync_folder(folder)
            del self._folders[folder]

    def unsettled(self) -> list[Path]:
        """What ``settle`` would sync, files before folders; whoever asks syncs it."""
        self._abandon()
        found = [*filter(os.path.lexists, self._unsynced), *self._folders]
        self._unsynced.clear()
        self._folders.clear()
        return found

    def close(self) -> None:
        """Close what is open, after an error."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def place(self, name: str) -> Path:
        """Where a file goes; its folder is made. No part of the path below the store may be a link.

        Raises:
            TransferError: one is, or something else than a file has the name.
        """
        path = self._folder / name
        if path.parent not in self._checked:
            for folder in (path.parent, *path.parent.parents):
                if folder == self._root:
                    break
                with contextlib.suppress(FileNotFoundError):
                    if not stat.S_ISDIR(os.lstat(folder).st_mode):
                        raise TransferError(f"{folder} is not a folder", hint="remove it: it is in the copy's way")
            self._fs.require(self._root)
            for named in self._fs.make_folder(path.parent):
                self._folders[named] = None
            self._checked.add(path.parent)
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISREG(os.lstat(path).st_mode):
                raise TransferError(f"{path} is not a file", hint="remove it: it is in the copy's way")
        return path


class _OpenFile:
    """A file that is being written, from byte ``start`` on."""

    def __init__(self, path: Path, fd: int, start: int, digest: Any) -> None:
        self.path = path
        self.fd = fd
        self.start = start
        self.digest = digest

    def write(self, data: bytes, fs: FileSystem) -> None:
        """Append bytes."""
        if self.digest is not None:
            self.digest.update(data)
        fs.write_all(self.fd, data)

    def close(self) -> None:
        """Close it, without a sync."""
        os.close(self.fd)


def _hash_up_to(fd: int, end: int) -> Any:
    digest, at = hashlib.sha256(), 0
    while at < end:
        data = os.pread(fd, min(HASH_CHUNK_BYTES, end - at), at)
        digest.update(data)
        at += len(data)
    return digest
