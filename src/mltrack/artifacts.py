"""Artifacts: files copied into a run's folder, streamed, hashed on the way, and published whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from pathlib import Path
from time import time_ns
from typing import IO, TYPE_CHECKING

from mltrack.errors import InvalidPathError, NotFoundError
from mltrack.fs import LOCAL, TEMPORARY, FileSystem, relative_name, safe_join

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Stored", "adopt_file", "files_below", "hash_file", "store_file", "store_stream"]

CHUNK_BYTES = 1 << 20
EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}


class Stored:
    """A file that is in the artifact folder now: its name there, size in bytes, SHA-256 in hex."""

    __slots__ = ("path", "sha256", "size")

    def __init__(self, path: str, size: int, sha256: str) -> None:
        self.path = path
        self.size = size
        self.sha256 = sha256


def store_stream(source: IO[bytes], root: Path, name: str, *, fs: FileSystem = LOCAL) -> Stored:
    """Copy what ``source`` holds to ``root / name``; an older file of that name is replaced in one step.

    Raises:
        InvalidPathError: ``name`` would leave ``root``, or a folder of that name is there.
        OSError: the disk took not all of it; nothing was changed.
    """
    name = relative_name(name)
    target = safe_join(root, name)
    if target.is_dir():
        raise InvalidPathError(f"artifact {name!r} is a folder already", hint="choose another name")
    fs.make_folder(target.parent)
    temporary = target.with_name(f".{time_ns():x}-{os.urandom(4).hex()}{TEMPORARY}")  # short: names have 255 bytes
    digest, size = hashlib.sha256(), 0
    fd = fs.create(temporary)
    try:
        try:
            while chunk := source.read(CHUNK_BYTES):
                digest.update(chunk)
                fs.write_all(fd, chunk)
                size += len(chunk)
        finally:
            os.close(fd)
        fs.publish(temporary, target)
    except BaseException:
        fs.unlink(temporary)
        raise
    return Stored(name, size, digest.hexdigest())


def store_file(source: str | os.PathLike[str], root: Path, name: str, *, fs: FileSystem = LOCAL) -> Stored:
    """Copy a file to ``root / name``.

    Raises:
        NotFoundError: there is no such file, or it can't be read.
        InvalidPathError, OSError: as store_stream.
    """
    with open_source(source) as file:
        return store_stream(file, root, name, fs=fs)


def adopt_file(path: Path, root: Path, name: str, *, fs: FileSystem = LOCAL) -> Stored:
    """Move a finished file of the same file system to ``root / name``; an older one of that name is replaced.

    Raises:
        InvalidPathError: as store_stream.
        OSError: it can't be moved; it stays where it was.
    """
    name = relative_name(name)
    target = safe_join(root, name)
    if target.is_dir():
        raise InvalidPathError(f"artifact {name!r} is a folder already", hint="choose another name")
    size, sha256 = hash_file(path)
    fs.make_folder(target.parent)
    fs.publish(path, target)
    fs.unlink(path)  # renaming one link of a file over another of the same file does nothing
    return Stored(name, size, sha256)


@contextlib.contextmanager
def open_source(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A local file open for reading, with an error that names it.

    Raises:
        NotFoundError: there is no such file, or it can't be read.
        OSError: the process or the machine has run out of descriptors or memory.
    """
    try:
        file = open(path, "rb")  # noqa: SIM115  # the with below closes it; only the opening is guarded
    except OSError as error:
        if error.errno in EXHAUSTED:
            raise
        raise NotFoundError(
            f"{os.fspath(path)} can't be read: {error.strerror}", hint="give an existing file"
        ) from error
    with file:
        yield file


def files_below(folder: Path, *left_out: Path) -> Iterator[tuple[Path, str]]:
    """Every file under ``folder`` with its name relative to it, in order; links to folders are not followed.

    Left out are the folders ``left_out`` where they lie below (a store would be copied into itself without an end), and
    what is no file and can't be copied: pipes, sockets, devices.
    """
    resolved = [path.resolve() for path in left_out]
    for here, folders, files in os.walk(folder):
        inside = Path(here).resolve()
        folders[:] = sorted(name for name in folders if inside / name not in resolved)
        for file in sorted(files):
            path = Path(here, file)
            if path.is_file() or not path.exists():
                yield path, path.relative_to(folder).as_posix()


def hash_file(path: Path) -> tuple[int, str]:
    """Size in bytes and SHA-256 in hex.

    Raises:
        OSError: it can't be read.
    """
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return file.tell(), digest.hexdigest()
