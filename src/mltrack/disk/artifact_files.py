"""Artifacts: files copied into a run's folder, streamed, hashed on the way, and published whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import threading
from pathlib import Path
from time import time_ns
from typing import IO, TYPE_CHECKING

from mltrack.disk.filesystem import LOCAL, TEMPORARY, FileSystem, reading, relative_name, safe_join
from mltrack.disk.locks import file_lock
from mltrack.errors import BusyError, InvalidPathError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "CALLERS_FAULT",
    "Stored",
    "StrPath",
    "adopt_file",
    "check_place",
    "files_below",
    "hash_file",
    "is_temporary",
    "new_name",
    "prepare",
    "publish",
    "run_lock",
    "store_file",
    "store_stream",
]

StrPath = str | os.PathLike[str]

CHUNK_BYTES = 1 << 20

CALLERS_FAULT = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EACCES,
    errno.EPERM,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.EINVAL,
}
"""Reasons for an unreadable file that are the caller's mistake; any other (a failing disk ...) is not misuse."""

_HELD = threading.local()  # .paths: the locks this thread holds
PUBLISH_WAIT_S = 2.0
"""How long publishing waits for another process that publishes; one that is stopped blocks nobody for longer."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_UNUSABLE_NAME = {errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL}


class Stored:
    """A file now in the artifact folder: its name in it, size in bytes, SHA-256 in hex."""

    __slots__ = ("path", "sha256", "size")

    def __init__(self, path: str, size: int, sha256: str) -> None:
        self.path = path
        self.size = size
        self.sha256 = sha256


def new_name(name: StrPath) -> str:
    """The name of a new artifact: a clean relative path that every reader, server and terminal can handle.

    Stricter than ``relative_name``, which also accepts the names of existing artifacts.

    Raises:
        InvalidPathError: see relative_name; or it is not UTF-8, has control characters, ends with a slash, or is a
            name of temporary files.
    """
    clean, given = relative_name(name), os.fspath(name)
    fault = ""
    if _CONTROL.search(clean):
        fault = "has a control character"
    elif not _is_unicode(clean):
        fault = "is not UTF-8"
    elif given.endswith("/"):
        fault = "names a folder"
    elif is_temporary(clean.rpartition("/")[2]):
        fault = f"is reserved for temporary files ({TEMPORARY} at the end of a hidden name)"
    if fault:
        raise InvalidPathError(f"artifact name {given!r} {fault}", hint="choose another name")
    return clean


def is_temporary(name: str) -> bool:
    """Whether readers skip a file of that name (without its folders), as one that is not complete yet."""
    return name.startswith(".") and name.endswith(TEMPORARY)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_place(root: Path, name: StrPath) -> str:
    """The name of a new artifact in ``root``, checked for a place in it.

    Raises:
        InvalidPathError: see new_name; or it leads out of ``root``, a folder has that name, it would lie below a file,
            or this file system does not allow the name.
        OSError: the disk could not be read.
    """
    name = new_name(name)
    try:
        target = safe_join(root, name)
        if target.is_dir():
            raise InvalidPathError(f"artifact {name!r} is a folder already", hint="choose another name")
        if not target.parent.is_dir():
            for folder in target.parents[: len(target.relative_to(root).parts) - 1]:
                if folder.exists() and not folder.is_dir():
                    above = folder.relative_to(root).as_posix()
                    raise InvalidPathError(
                        f"artifact {name!r} would lie below the file {above!r}", hint="choose another name"
                    )
    except OSError as error:
        if error.errno in _UNUSABLE_NAME:
            raise InvalidPathError(
                f"artifact name {_shortened(name)} can't be the name of a file: {error.strerror}",
                hint="choose a shorter, plainer name",
            ) from error
        raise
    return name


def _shortened(name: str) -> str:
    return repr(name if len(name) <= 80 else f"{name[:60]}...{name[-17:]}")


def prepare(root: Path, name: StrPath, fs: FileSystem) -> tuple[str, Path]:
    """The clean name of a new artifact and its path, whose folder is created if needed.

    Raises:
        InvalidPathError: see check_place.
        OSError: the folder can't be made.
    """
    name = check_place(root, name)
    target = root / name
    try:
        fs.make_durable_folder(target.parent)
    except OSError:
        check_place(root, name)  # another process may just have made a file in its way
        raise
    return name, target


def store_stream(
    source: IO[bytes],
    root: Path,
    name: StrPath,
    *,
    fs: FileSystem = LOCAL,
    note: Callable[[Stored], None] | None = None,
) -> Stored:
    """Copy the bytes of ``source`` to ``root / name``; an older file of that name is replaced atomically.

    Args:
        source: The bytes, read in chunks.
        root: The artifact folder.
        name: The artifact's name in it.
        fs: The file system to write with.
        note: Called before another process that passes one can replace the file again, so that the last noted file is
            the stored one. Only for that does this wait for other processes.

    Raises:
        InvalidPathError: see check_place.
        OSError: it could not be written in full; nothing was changed.
    """
    name, target = prepare(root, name, fs)
    temporary = target.with_name(f".{time_ns():x}-{os.urandom(4).hex()}{TEMPORARY}")  # short: names have 255 bytes
    digest, size = hashlib.sha256(), 0
    try:
        fd = fs.create(temporary)
    except OSError:
        check_place(root, f"{name}{'x' * (len(temporary.name) - len(target.name))}")  # as long as the temporary one
        raise
    try:
        try:
            while chunk := source.read(CHUNK_BYTES):
                digest.update(chunk)
                fs.write_all(fd, chunk)
                size += len(chunk)
            fs.sync(fd)
        finally:
            os.close(fd)
        stored = Stored(name, size, digest.hexdigest())
        publish(temporary, target, stored, root, fs, note)
    except BaseException:
        fs.unlink(temporary)
        raise
    return stored


def publish(
    path: Path, target: Path, stored: Stored, root: Path, fs: FileSystem, note: Callable[[Stored], None] | None
) -> None:
    """Give a synced file its name, and call ``note``.

    Args:
        path: The file, under a temporary name.
        target: Its path in the artifact folder.
        stored: What it holds.
        root: The artifact folder.
        fs: The file system to write with.
        note: As in store_stream.

    Raises:
        OSError: it can't be renamed.
    """
    if note is None:
        fs.rename(path, target)
        fs.sync_folder(target.parent)
        return
    with run_lock(root, "artifacts", timeout_s=PUBLISH_WAIT_S):
        fs.rename(path, target)
        fs.sync_folder(target.parent)
        note(stored)


@contextlib.contextmanager
def run_lock(artifacts: Path, name: str, *, timeout_s: float, strict: bool = False) -> Iterator[None]:
    """Hold a lock of the run of this artifact folder; if it can't be taken go on without it, unless ``strict``.

    A signal handler that interrupted the holder, in the same thread, does not wait: the lock could never be freed.

    Args:
        artifacts: The run's artifact folder.
        name: The name of the lock.
        timeout_s: How long to wait for it, in seconds.
        strict: Raise if it can't be taken.

    Raises:
        BusyError, OSError: it can't be taken (where ``strict``).
    """
    folder = artifacts.parent / "live"
    with contextlib.ExitStack() as stack:
        held_here: set[Path] = vars(_HELD).setdefault("paths", set())
        if folder / name in held_here:
            timeout_s = 0.0
        else:
            held_here.add(folder / name)
            stack.callback(held_here.discard, folder / name)
        try:
            folder.mkdir(exist_ok=True)  # without parents: without its folder the run is gone
            stack.enter_context(file_lock(folder / f"{name}.lock", timeout_s=timeout_s))
        except (BusyError, OSError):
            if strict:
                raise
        yield


def store_file(
    source: StrPath,
    root: Path,
    name: StrPath,
    *,
    fs: FileSystem = LOCAL,
    note: Callable[[Stored], None] | None = None,
) -> Stored:
    """Copy a file to ``root / name``.

    Args:
        source: The file.
        root: The artifact folder.
        name: The artifact's name in it.
        fs: The file system to write with.
        note: As in store_stream.

    Raises:
        NotFoundError: the file does not exist or can't be read.
        InvalidPathError, OSError: as store_stream.
    """
    with open_source(source) as file:
        return store_stream(file, root, name, fs=fs, note=note)


def adopt_file(
    path: Path,
    root: Path,
    name: StrPath,
    *,
    fs: FileSystem = LOCAL,
    note: Callable[[Stored], None] | None = None,
) -> Stored:
    """Move a finished file of the same file system to ``root / name``; an older one of that name is replaced.

    Args:
        path: The file.
        root: The artifact folder.
        name: The artifact's name in it.
        fs: The file system to write with.
        note: As in store_stream.

    Raises:
        InvalidPathError: as store_stream.
        OSError: it can't be moved; it stays where it was.
    """
    name, target = prepare(root, name, fs)
    stored = Stored(name, *hash_file(path))
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fs.sync(fd)
    finally:
        os.close(fd)
    publish(path, target, stored, root, fs, note)
    fs.unlink(path)  # renaming one link of a file over another of the same file does nothing
    return stored


@contextlib.contextmanager
def open_source(path: StrPath) -> Iterator[IO[bytes]]:
    """A local file open for reading; an error names it.

    Raises:
        NotFoundError: the file does not exist or can't be read.
        OSError: the process or the machine has run out of descriptors or memory.
    """
    try:
        file = open(path, "rb")  # noqa: SIM115  # closed by the with below; the try is for opening only
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        if isinstance(error, OSError) and error.errno not in CALLERS_FAULT:
            raise
        words = error.strerror if isinstance(error, OSError) else str(error)
        raise NotFoundError(f"{os.fspath(path)!r} can't be read: {words}", hint="give an existing file") from error
    with file:
        yield file


def files_below(
    folder: Path, *excluded: Path, on_error: Callable[[OSError], None] | None = None
) -> Iterator[tuple[Path, str]]:
    """Every file under ``folder`` with its name relative to it, in order; links to folders are not followed.

    The folders ``excluded`` are skipped (a store would be copied into itself without end), and so is what can't be
    copied: pipes, sockets, devices. ``on_error`` is called for folders that can't be read.
    """
    resolved = [path.resolve() for path in excluded]
    for here, folders, files in os.walk(folder, onerror=on_error):
        inside = Path(here).resolve()
        folders[:] = sorted(name for name in folders if inside / name not in resolved)
        for file in sorted(files):
            path = Path(here, file)
            if os.path.isfile(path) or not os.path.exists(path):  # Path's methods raise where the disk fails
                yield path, path.relative_to(folder).as_posix()


def hash_file(path: Path) -> tuple[int, str]:
    """Size in bytes and SHA-256 in hex.

    Raises:
        OSError: it can't be read.
    """
    with reading(path) as file:
        digest = hashlib.file_digest(file, "sha256")
        return file.tell(), digest.hexdigest()
