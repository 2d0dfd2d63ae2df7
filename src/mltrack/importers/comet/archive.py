"""One archive: a ZIP file with the experiment's head, a file of messages, and files under random names."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from mltrack.importers.json_fields import parse_json
from mltrack.importers.source import SourceError

__all__ = ["Archive", "archive_paths"]

HEAD, MESSAGES = "experiment.json", "messages.json"
ZIP_SIGN = b"PK"
LOOKED_AT_MAX = 1_000
HEAD_BYTES_MAX = 1 << 20
LINE_BYTES_MAX = 64 << 20
BOMB_BYTES, BOMB_RATIO = 1 << 30, 200
"""A member that unpacks to more than so many bytes, and to so many times what it takes, is not unpacked."""
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, KeyError)
"""What zipfile raises for members that are damaged, encrypted, or packed in ways that it does not know."""


def archive_paths(path: Path) -> Iterator[Path]:
    """The archives of a source, in order: itself, or those in a folder."""
    if path.is_file():
        candidates = [path]
    else:
        candidates = [child for child in sorted(path.glob("*.zip"))[:LOOKED_AT_MAX] if child.is_file()]
    yield from (each for each in candidates if _is_archive(each))


def _is_archive(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            if file.read(len(ZIP_SIGN)) != ZIP_SIGN:
                return False
        with zipfile.ZipFile(path) as packed:
            return {HEAD, MESSAGES} <= set(packed.namelist())
    except DAMAGE:
        return False


class Archive:
    """It. Nothing is unpacked to disk, so names in it lead nowhere."""

    def __init__(self, path: Path, where: str) -> None:
        """Read its head.

        Raises:
            SourceError: it has none.
        """
        self.path = path
        self.where = where
        try:
            head = parse_json(self.read(HEAD, HEAD_BYTES_MAX))
        except (ValueError, RecursionError) as error:
            raise SourceError(f"{HEAD} is not JSON: {error}") from error
        if not isinstance(head, dict):
            raise SourceError(f"{HEAD} is not an object")
        self.head: dict[str, Any] = head

    def size(self, name: str) -> int | None:
        """The size of a member; None where there is none."""
        try:
            with zipfile.ZipFile(self.path) as packed:
                return packed.getinfo(name).file_size
        except DAMAGE:
            return None

    def read(self, name: str, most: int) -> bytes:
        """A small member.

        Raises:
            SourceError: it is not there, damaged, or has more than ``most`` bytes.
        """
        with self.open(name) as stream:
            data: bytes = _named(name, lambda: stream.read(most + 1))
        if len(data) > most:
            raise SourceError(f"{name} has more than {most:,} bytes")
        return data

    def open(self, name: str) -> IO[bytes]:
        """A member to read; zipfile checks its size and its checksum.

        Raises:
            SourceError: it is not there, or would unpack to far more than it takes.
        """
        try:
            with zipfile.ZipFile(self.path) as packed:
                info = packed.getinfo(name)
                if info.file_size > BOMB_BYTES and info.file_size > BOMB_RATIO * info.compress_size:
                    raise SourceError(f"{name} takes {info.compress_size:,} bytes and unpacks to {info.file_size:,}")
                return _Member(packed.open(info), name)
        except DAMAGE as error:
            raise SourceError(f"{name} can't be read: {error}") from error

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """The messages, numbered from 1; one that is too long is empty.

        Raises:
            SourceError: they can't be read further.
        """
        with self.open(MESSAGES) as stream:
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
