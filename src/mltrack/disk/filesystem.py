"""The only place that allocates, syncs and renames files; a FileSystem is passed in so that tests can break it.

A file is *published* when its bytes are synced, then renamed into place, then the folder is synced: after a crash
it exists as a whole or not at all.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import sys
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from mltrack.disk.syncing import sync_at_once, syncs_at_once
from mltrack.errors import InvalidPathError
from mltrack.text.shown import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from io import BufferedReader

__all__ = [
    "EXHAUSTED",
    "LOCAL",
    "FileSystem",
    "NotRegularError",
    "StrPath",
    "open_or_make",
    "open_regular",
    "read_small",
    "reading",
    "relative_name",
    "resolved",
    "safe_join",
]

StrPath = str | os.PathLike[str]

TEMPORARY = ".tmp"
"""The end of the name of a file that is not published yet; readers never open it."""

FILE_MODE = 0o666
"""The umask decides who may do what with a new file: a store in a group's folder serves the whole group."""


def open_or_make(path: str | os.PathLike[str], flags: int) -> int:
    """Open an existing file, or make a new one.

    It is first opened without O_CREAT: in a sticky folder such as /tmp Linux refuses to open another user's file with
    it, even if that may be written to.
    """
    try:
        return os.open(path, flags | os.O_CLOEXEC)
    except FileNotFoundError:
        return os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)


class FileSystem:
    """The calls that change what is on disk. Tests subclass it to fail or to stop at any of them."""

    def create(self, path: StrPath) -> int:
        """A new file open for reading and writing; FileExistsError when it exists already."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)

    def open_append(self, path: Path) -> int:
        """A file open for reading and appending, made when missing, never truncated."""
        return open_or_make(path, os.O_RDWR | os.O_APPEND)

    def write(self, fd: int, data: bytes) -> int:
        """Append some or all of ``data``; returns how many bytes went in."""
        return os.write(fd, data)

    def write_at(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        """Write some or all of ``data`` at a byte offset; returns how many bytes went in."""
        return os.pwrite(fd, data, offset)

    def allocate(self, fd: int, size: int) -> None:
        """Make ``size`` bytes of the file exist on disk, so that writing them later can't find the disk full."""
        if sys.platform == "linux":
            os.posix_fallocate(fd, 0, size)
            return
        zeros = bytes(1 << 16)
        for offset in range(0, size, len(zeros)):
            os.pwrite(fd, zeros[: size - offset], offset)

    def truncate(self, fd: int, size: int) -> None:
        """Cut the file to ``size`` bytes."""
        os.ftruncate(fd, size)

    def sync(self, fd: int) -> None:
        """Return when the file's bytes, mapped ones too, are on the disk."""
        os.fsync(fd)

    def sync_folder(self, path: Path) -> None:
        """Return when the folder's names are on the disk."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def rename(self, source: StrPath, target: StrPath) -> None:
        """Move a file within its file system, replacing the target in one step."""
        os.replace(source, target)

    def unlink(self, path: Path) -> None:
        """Remove a file; a missing one is not an error."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    def link(self, source: Path, target: Path) -> None:
        """Give a file a second name; FileExistsError where that is taken."""
        os.link(source, target)

    def make_folder(self, path: Path) -> list[Path]:
        """Make the folder and its missing parents; returns the folders that got a new entry, innermost first."""
        named, at = [], path
        while not os.path.lexists(at) and at != at.parent:
            at = at.parent
            named.append(at)
        os.makedirs(path, exist_ok=True)
        return named

    def make_new_folder(self, path: StrPath) -> None:
        """Make one folder in an existing one; FileExistsError where the name is taken."""
        os.mkdir(path)

    def remove_folder(self, path: Path) -> None:
        """Remove an empty folder; a missing one, and one that is not empty, is not an error."""
        try:
            os.rmdir(path)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST):
                raise

    def require(self, folder: Path) -> None:
        """Check that a folder exists before others are made below it: a store that was moved is not started again.

        Raises:
            FileNotFoundError: it does not exist.
        """
        if not os.path.isdir(folder):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))

    # built from the above

    def write_all(self, fd: int, data: bytes) -> None:
        """Append all of ``data``, or raise OSError (part of it may then be written)."""
        written = self.write(fd, data) if data else 0
        while written < len(data):
            written += self.write(fd, data[written:])

    def write_new(self, path: StrPath, data: bytes) -> None:
        """Make a new file with these bytes; FileExistsError where the name is taken."""
        fd = self.create(path)
        try:
            self.write_all(fd, data)
        finally:
            os.close(fd)

    def sync_all(self, folder: Path, paths: Iterable[StrPath]) -> None:
        """Return when all these files and folders, which are below ``folder``, are on the disk with their names.

        Where the kernel can be relied on for that, its whole file system is synced at once: that takes as long as one
        file does, and longer where others have written much.
        """
        if syncs_at_once(folder):
            sync_at_once(folder)
            return
        for path in paths:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                self.sync(fd)
            finally:
                os.close(fd)

    def make_durable_folder(self, path: Path) -> None:
        """As make_folder, and return when the new names are on the disk: for files that must not be lost with them."""
        for named in self.make_folder(path):
            self.sync_folder(named)

    def publish(self, temporary: Path, target: Path) -> None:
        """Give a finished file its name so that a crash leaves it whole or absent."""
        fd = os.open(temporary, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.sync(fd)
        finally:
            os.close(fd)
        self.rename(temporary, target)
        self.sync_folder(target.parent)

    @contextlib.contextmanager
    def publishing(self, target: Path, tag: str = "") -> Iterator[int]:
        """A new file, open for writing, which gets its name at the end of the body; where that raises, none does.

        ``tag`` tells apart threads that make the same file at once.
        """
        temporary = target.with_name(f".{target.name}.{os.getpid()}{tag and '.' + tag}{TEMPORARY}")
        self.unlink(temporary)
        try:
            fd = self.create(temporary)
            try:
                yield fd
            finally:
                os.close(fd)
            self.publish(temporary, target)
        except BaseException:
            self.unlink(temporary)
            raise

    def publish_bytes(self, target: Path, data: bytes) -> None:
        """Write a small file whole: to a temporary name, then published."""
        with self.publishing(target) as fd:
            self.write_all(fd, data)


LOCAL = FileSystem()


# --- reading ---------------------------------------------------------------------------------------------------


class NotRegularError(OSError):
    """Not a regular file: a folder, a pipe, a device, a socket."""


EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM))
"""The process or the machine ran out of something; says nothing about the file that was to be opened."""

_SORTS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_regular(path: str | os.PathLike[str], *, follow: bool = True) -> int:
    """A descriptor of a regular file, for reading. Opening never waits, whatever the name leads to.

    Opening a pipe could block for ever, and reading a device never end. ``follow`` says whether a symbolic link may
    lead to the file.

    Raises:
        NotRegularError: it is something else.
        OSError: it does not exist or can't be opened.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY | (0 if follow else os.O_NOFOLLOW)
    try:
        fd = os.open(path, flags)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENODEV, errno.EOPNOTSUPP):
            raise NotRegularError(error.errno, "is a socket or a device, not a file", os.fspath(path)) from None
        if error.errno == errno.ELOOP and not follow:
            raise NotRegularError(error.errno, "is a symbolic link, not a file", os.fspath(path)) from None
        raise
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return fd
    os.close(fd)
    sort = next((name for is_one, name in _SORTS if is_one(mode)), "something else")
    raise NotRegularError(errno.EINVAL, f"is {sort}, not a file", os.fspath(path))


def reading(path: str | os.PathLike[str], *, follow: bool = True) -> BufferedReader:
    """A regular file open for reading, as ``open(path, "rb")`` gives it.

    Raises:
        NotRegularError, OSError: as open_regular.
    """
    return open(open_regular(path, follow=follow), "rb")


SMALL_BYTES_MAX = 16 << 20


def read_small(path: str | os.PathLike[str], bytes_max: int = SMALL_BYTES_MAX) -> bytes:
    """The content of a small file: a list, settings, a note.

    Raises:
        NotRegularError: as open_regular; or it is larger than ``bytes_max``.
        OSError: it can't be read.
    """
    with reading(path) as file:
        data = file.read(bytes_max + 1)
    if len(data) > bytes_max:
        raise NotRegularError(errno.EFBIG, f"has more than {bytes_max:,} bytes", os.fspath(path))
    return data


# --- names from outside ----------------------------------------------------------------------------------------

NAME_BYTES_MAX = 255
_NOT_IN_NAMES = frozenset(b"\\\0\n\r")
_PLAIN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}(?:/[A-Za-z0-9_-][A-Za-z0-9._-]{0,254})*")
"""Names that are clean as they are, told apart quickly."""


def relative_name(name: str | os.PathLike[str]) -> str:
    """``name`` as a clean relative path with forward slashes.

    Raises:
        InvalidPathError: it is empty, absolute, not text, too long, or has ``..``, a backslash, a NUL or a line break.
    """
    if type(name) is str and _PLAIN.fullmatch(name):
        return name
    try:
        path = PurePosixPath(os.fspath(name))
        parts = [os.fsencode(part) for part in path.parts]
    except (TypeError, UnicodeEncodeError):
        parts = []
    unusable = any(len(part) > NAME_BYTES_MAX or part == b".." or set(part) & _NOT_IN_NAMES for part in parts)
    if not parts or unusable or path.is_absolute():
        raise InvalidPathError(
            f"{shown(name)} is not a name inside an artifact folder",
            hint="use a relative path with forward slashes, without '..'",
        )
    return str(path)


def resolved(path: Path) -> Path:
    """``path`` without links and ``..``; it need not exist.

    Raises:
        OSError: links lead in a circle. ``Path.resolve`` raises RuntimeError for that up to Python 3.12, and returns a
            path that it followed only halfway from 3.13 on.
    """
    try:
        found = path.resolve()
    except RuntimeError as error:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path)) from error
    try:
        os.stat(found)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise
    return found


def safe_join(root: Path, name: str | os.PathLike[str]) -> Path:
    """``root / name``, refused when it would leave ``root``, also by way of an existing symbolic link.

    Raises:
        InvalidPathError: see relative_name.
    """
    target = root / relative_name(name)
    try:
        inside = resolved(target).is_relative_to(resolved(root))
    except OSError:
        inside = False
    if not inside:
        raise InvalidPathError(f"{os.fspath(name)!r} leads out of {root}", hint="remove the link on its way")
    return target
