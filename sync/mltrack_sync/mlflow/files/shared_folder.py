"""Artifacts in a folder that this machine shares with the server: written whole or not at all, and read back."""

from __future__ import annotations

import hashlib
import os
import stat
import uuid
from typing import IO, TYPE_CHECKING

from mltrack.disk.filesystem import LOCAL, TEMPORARY, FileSystem
from mltrack_sync.errors import RemoteRefusedError, RemoteUnavailableError
from mltrack_sync.mlflow.files.content import CHUNK_BYTES, read_checked

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mltrack.entities import Artifact
    from mltrack_sync.mlflow.files.places import InFolder
    from mltrack_sync.progress import FileMeter

__all__ = ["digest_in_folder", "put_in_folder", "read_in_folder"]


def put_in_folder(place: InFolder, artifact: Artifact, path: Path, meter: FileMeter, fs: FileSystem = LOCAL) -> None:
    """Write one file to the folder, replacing any former one.

    Raises:
        RemoteRefusedError: it would lead out of the shared folder.
        RemoteUnavailableError: the folder can't be written now.
        FileChanged: the file is not what was recorded.
        OSError: it can't be read.
    """
    target = place.file(artifact.path)
    temporary = target.with_name(f".{uuid.uuid4().hex}{TEMPORARY}")
    chunks = meter.attempt(0, read_checked(path, 0, artifact.size, bytes.fromhex(artifact.sha256)))
    made = False
    try:
        try:
            if not place.root.is_dir():
                raise FileNotFoundError(2, "it does not exist", str(place.root))
            target.parent.mkdir(parents=True, exist_ok=True)
            target = place.file(artifact.path)  # checked again, now that its parent folders exist
            fd = fs.create(temporary)
            made = True
        except OSError as error:
            raise _unavailable(place, error) from error
        try:
            for chunk in chunks:
                _write(fs, fd, chunk, place)
        finally:
            os.close(fd)
        try:
            fs.publish(temporary, target)
        except OSError as error:
            raise _unavailable(place, error) from error
        made = False
    finally:
        if made:
            fs.unlink(temporary)


def _write(fs: FileSystem, fd: int, chunk: bytes, place: InFolder) -> None:
    try:
        fs.write_all(fd, chunk)
    except OSError as error:
        raise _unavailable(place, error) from error


def digest_in_folder(place: InFolder, path: str, bytes_max: int) -> tuple[int, str]:
    """Size and SHA-256 of a file in the folder; of one larger than ``bytes_max``, no more than that is read.

    Raises:
        RemoteRefusedError: the file does not exist.
        RemoteUnavailableError: it can't be read now.
    """
    digest = hashlib.sha256()
    return read_in_folder(place, path, digest.update, bytes_max + 1), digest.hexdigest()


def read_in_folder(place: InFolder, path: str, take: Callable[[bytes], object], bytes_max: int | None = None) -> int:
    """Hand on a file of the folder, no more than ``bytes_max`` of it; returns its size.

    Args:
        place: The folder.
        path: The file in it.
        take: Gets its bytes, in pieces.
        bytes_max: So much is read; by default all.

    Raises:
        RemoteRefusedError: the file does not exist.
        RemoteUnavailableError: it can't be read now.
    """
    with open(_opened(place, path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        left = size + 1 if bytes_max is None else bytes_max
        while left > 0 and (chunk := _read(file, min(CHUNK_BYTES, left), place)):
            take(chunk)
            left -= len(chunk)
    return size


def _opened(place: InFolder, path: str) -> int:
    file = place.file(path)
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise FileNotFoundError(2, "no file", str(file))
    except (FileNotFoundError, NotADirectoryError) as error:
        words = f"{path!r} is not in the shared folder"
        raise RemoteRefusedError(words, status=404, code="NOT_FOUND", words=words) from error
    except OSError as error:
        raise _unavailable(place, error) from error
    return fd


def _read(file: IO[bytes], size: int, place: InFolder) -> bytes:
    try:
        return file.read(size)
    except OSError as error:
        raise _unavailable(place, error) from error


def _unavailable(place: InFolder, error: OSError) -> RemoteUnavailableError:
    hint = "is it mounted, and may you write to it? See mltrack remote set NAME --shared-folder"
    return RemoteUnavailableError(
        f"the shared folder {place.root} can't be used: {error.strerror}", hint=hint, in_doubt=True
    )
