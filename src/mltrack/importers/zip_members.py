"""Files in a ZIP file, or in a folder, by their names: read within bounds, and never unpacked to disk."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Protocol

from mltrack.disk.filesystem import safe_join
from mltrack.errors import InvalidPathError
from mltrack.importers.source import SourceError

__all__ = ["DAMAGE", "FolderMembers", "Members", "ZipMembers", "lines_of", "names_in_zip", "read_small"]

ZIP_SIGN = b"PK"
LINE_BYTES_MAX = 64 << 20
BOMB_BYTES, BOMB_RATIO = 1 << 30, 200
"""A member that unpacks to more than so many bytes, and to so many times what it takes, is not unpacked."""
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, KeyError, ValueError)
"""What zipfile raises for members that are damaged, encrypted, or packed in ways that it does not know."""


class Members(Protocol):
    """Files by their names, with slashes."""

    def size(self, name: str) -> int | None:
        """The size of a file; None where there is none."""

    def open(self, name: str) -> IO[bytes]:
        """A file to read.

        Raises:
            SourceError: it is not there, or would unpack to far more than it takes.
        """

    def release(self) -> None:
        """Close what is kept open; a file that is asked for later is opened again."""


def names_in_zip(path: Path) -> set[str]:
    """The names in a ZIP file; none where it is another sort of file."""
    try:
        with path.open("rb") as file:
            if file.read(len(ZIP_SIGN)) != ZIP_SIGN:
                return set()
        with zipfile.ZipFile(path) as packed:
            return set(packed.namelist())
    except DAMAGE:
        return set()


class ZipMembers:
    """Those in a ZIP file, whose sizes and checksums zipfile checks.

    The file stays open, as its directory is as long as it has members; ``release`` closes it until it is asked again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opened: zipfile.ZipFile | None = None

    def release(self) -> None:
        """Close the file, once members that are open are closed."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def size(self, name: str) -> int | None:
        """The size of a member; None where there is none."""
        try:
            return self._zip().getinfo(name).file_size
        except DAMAGE:
            return None

    def open(self, name: str) -> IO[bytes]:
        """A member to read.

        Raises:
            SourceError: it is not there, or would unpack to far more than it takes.
        """
        try:
            packed = self._zip()
            info = packed.getinfo(name)
            if info.file_size > BOMB_BYTES and info.file_size > BOMB_RATIO * info.compress_size:
                raise SourceError(f"{name} takes {info.compress_size:,} bytes and unpacks to {info.file_size:,}")
            return _Member(packed.open(info), name)
        except DAMAGE as error:
            raise SourceError(f"{name} can't be read: {error}") from error

    def _zip(self) -> zipfile.ZipFile:
        if self._opened is None:
            self._opened = zipfile.ZipFile(self.path)
        return self._opened


class FolderMembers:
    """Those in a folder; links that lead out of it are not followed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def _place(self, name: str) -> Path | None:
        try:
            path = safe_join(self.path, name)
        except InvalidPathError:
            return None
        return path if path.is_file() else None

    def size(self, name: str) -> int | None:
        """The size of a file; None where there is none."""
        path = self._place(name)
        return None if path is None else path.stat().st_size

    def open(self, name: str) -> IO[bytes]:
        """A file to read.

        Raises:
            SourceError: it is not there.
        """
        path = self._place(name)
        if path is None:
            raise SourceError(f"{name} is not there")
        return path.open("rb")

    def release(self) -> None:
        """Nothing is kept open."""


def read_small(members: Members, name: str, most: int) -> bytes:
    """A small file.

    Raises:
        SourceError: it is not there, damaged, or has more than ``most`` bytes.
    """
    with members.open(name) as stream:
        data: bytes = _named(name, lambda: stream.read(most + 1))
    if len(data) > most:
        raise SourceError(f"{name} has more than {most:,} bytes")
    return data


def lines_of(members: Members, name: str) -> Iterator[tuple[int, bytes]]:
    """The lines of a file, numbered from 1; one that is too long is empty.

    Raises:
        SourceError: they can't be read further.
    """
    with members.open(name) as stream:
        number, skipping = 0, False
        while line := stream.readline(LINE_BYTES_MAX):
            if skipping:
                skipping = not line.endswith(b"\n")
                continue
            number += 1
            skipping = len(line) == LINE_BYTES_MAX and not line.endswith(b"\n")
            yield number, b"" if skipping else line


class _Member(io.BufferedReader):
    """A member whose errors are a file's."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        super().__init__(_Raw(stream, name), 1 << 16)


class _Raw(io.RawIOBase):
    def __init__(self, stream: IO[bytes], name: str) -> None:
        super().__init__()
        self._stream = stream
        self._name = name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data: bytes = _named(self._name, lambda: self._stream.read(len(buffer)))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()


def _named(name: str, read: Any) -> Any:
    try:
        return read()
    except DAMAGE as error:
        raise SourceError(f"{name} can't be read: {error}") from error
