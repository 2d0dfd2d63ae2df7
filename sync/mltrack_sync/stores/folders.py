"""Stores in folders of this machine as remotes: a disk, a shared folder, a colleague's store."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mltrack.disk.filesystem import TEMPORARY
from mltrack.disk.layout import STORE_FOLDER
from mltrack.disk.store_path import path_of_uri, working_folder
from mltrack.errors import NotFoundError, StoreError, UsageError
from mltrack.store import Store
from mltrack_sync.errors import RemoteUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "check_folder",
    "disk_errors",
    "explain_disk_error",
    "folder_of_url",
    "is_folder_url",
    "local_disk_errors",
    "open_folder",
    "store_folder",
]

_SCHEME = "file:"
_PATH_HINT = "give the path of a store's folder, such as /media/usb/.mltrack"

_GONE = (errno.ENOENT, errno.ENOTDIR, errno.EIO, errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.ENOTCONN)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


def is_folder_url(text: str) -> bool:
    """Whether a text is meant as a folder: an absolute path, one that begins with a dot or ~, or a ``file:`` URL.

    Other relative paths are names of remotes or of servers, unless there is such a folder or they end in ``.mltrack``.
    """
    if text.startswith(("/", "./", "../", "~/")) or text in (".", "..") or text.lower().startswith(_SCHEME):
        return True
    return "/" in text and ":" not in text and (text.rstrip("/").endswith(f"/{STORE_FOLDER}") or os.path.isdir(text))


def folder_of_url(text: str) -> str:
    """The absolute path that a text stands for; it need not exist.

    Raises:
        UsageError: it is not one of this machine.
    """
    path: str | None = text
    if text.lower().startswith(_SCHEME):
        path = path_of_uri(text)
    if not path or path.strip("/") == "" or re.search(r"[\x00-\x1f\x7f?#]", path):
        raise UsageError(f"{text!r} is not the folder of a store", hint=_PATH_HINT)
    expanded = Path(path).expanduser()
    return os.path.normpath(expanded if expanded.is_absolute() else working_folder() / expanded)


def store_folder(path: str) -> Path:
    """The folder of the store at a path: the path itself, or the ``.mltrack`` in it. It need not exist."""
    folder = Path(path)
    if folder.name == STORE_FOLDER or os.path.isfile(folder / "store.json") or not folder.is_dir():
        return folder
    return folder / STORE_FOLDER


def check_folder(path: str) -> None:
    """Check that there is a store at a path, or that one can be created there.

    Raises:
        RemoteUnavailableError: neither.
        UsageError: it is a file.
        StoreError: it can't be used as it is.
    """
    folder = store_folder(path)
    if (
        os.path.lexists(folder / "store.json")
        or not folder.parent.is_dir()
        or (not folder.is_dir() and os.path.lexists(folder))
    ):
        open_folder(path, create=False, known=False)
        return
    place = folder if folder.is_dir() else folder.parent
    if not os.access(place, os.W_OK | os.X_OK):
        reason = errno.EROFS if os.statvfs(place).f_flag & os.ST_RDONLY else errno.EACCES
        raise explain_disk_error(path, OSError(reason, os.strerror(reason), str(place)))


def open_folder(path: str, *, create: bool, known: bool) -> Store:
    """The store at a path.

    Args:
        path: The path, as folder_of_url gives it.
        create: Whether it is created where the folder that it lies in exists.
        known: Whether there was a store before: then it is not created again, since a disk is probably not connected.

    Raises:
        RemoteUnavailableError: there is no store, and none is to be created.
        StoreError: it can't be used as it is.
    """
    folder = store_folder(path)
    with disk_errors(path):
        with contextlib.suppress(NotFoundError):
            return Store.open(folder)
        if os.path.lexists(folder) and not folder.is_dir():
            raise UsageError(f"{folder} is a file, and not the folder of a store", hint=_PATH_HINT)
        if create and not known and folder.parent.is_dir():
            return _created(folder)
    hint = "connect the disk, or check the path; a sync makes the store, where the folder that it is to be in exists"
    if known:
        hint = "connect the disk; where it was removed on purpose: mltrack remote add NEW-NAME URL"
    raise RemoteUnavailableError(f"no mltrack store at {folder}", hint=hint, in_doubt=False, not_sent=True)


def _created(folder: Path) -> Store:
    try:
        return Store.create(folder)
    except StoreError as error:
        if isinstance(error.__cause__, OSError):
            raise error.__cause__ from None  # its words are for a store that programs record into
        raise


@contextlib.contextmanager
def disk_errors(place: str, *, is_file: bool = False) -> Iterator[None]:
    """Make errors of the disk with a store, or a bundle, those of a remote, in words that say what to do.

    Args:
        place: The path of the store or the bundle.
        is_file: Whether a bundle is written: then there is nothing to be continued.

    Raises:
        RemoteUnavailableError: the disk refused something, or is gone.
    """
    try:
        yield
    except OSError as error:
        raise explain_disk_error(place, error, is_file=is_file) from error


@contextlib.contextmanager
def local_disk_errors(place: Path) -> Iterator[None]:
    """While a store is copied into: say that its disk is full, and not the other one's.

    Raises:
        RemoteUnavailableError: no space is left in the store at ``place``.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise explain_disk_error(str(place), OSError(error.errno, error.strerror)) from error


def explain_disk_error(place: str, error: OSError, *, is_file: bool = False) -> RemoteUnavailableError:
    """The error of a disk as one of a remote, in words that say what to do; arguments as for disk_errors."""
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    where = name if name and not name.endswith(TEMPORARY) else place
    if error.errno in _FULL:
        words, hint = (
            f"no space is left at {where}",
            "make room; the next sync or pull continues where this one stopped",
        )
        if is_file:
            hint = "make room, or give a path on another disk; no file was written"
    elif error.errno in _READ_ONLY:
        words, hint = (
            f"{where} can't be written or read: {error.strerror}",
            "check the permissions, and how it is mounted",
        )
    elif error.errno in _GONE:
        words, hint = f"{where} is gone: {error.strerror}", "connect the disk again; what was copied is whole"
    else:
        words, hint = f"{where}: {error.strerror or error}", "check the disk, then try again"
    return RemoteUnavailableError(words, hint=hint, in_doubt=False, not_sent=True)
