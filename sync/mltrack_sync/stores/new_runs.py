"""New runs on their way into a store: written in a folder of their own, synced together, then given their names.

The folder is ``copied/incoming/<random>``, on the same file system as the runs; the process that fills it holds its
lock. A run appears under ``runs`` by one rename, with all its files on the disk before that. What a killed process left
there is removed by the next one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from mltrack.disk.filesystem import FileSystem
from mltrack.disk.locks import file_lock, try_lock
from mltrack_sync.stores.transfer import TransferError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from contextlib import AbstractContextManager

    from mltrack.disk.layout import Layout

__all__ = ["NewRuns", "remove_leftovers"]

LOCK_TIMEOUT_S = 60.0
_TAKEN = frozenset((errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR, errno.EXDEV))
_NAMES = frozenset((errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ))
"""What a file system says of names that it does not take, or can't tell apart."""


class NewRuns:
    """Some runs that are to appear in a store. Used by one thread; ``close`` removes what has not appeared."""

    def __init__(self, layout: Layout, *, fs: FileSystem) -> None:
        """Make a folder for them.

        Args:
            layout: The store.
            fs: The file system to write with.

        Raises:
            TransferError: something else has the folder's name.
            OSError: it can't be made.
        """
        self._runs = layout.runs
        self._fs = fs
        self._written: dict[str, list[str]] = {}
        home = _incoming(layout)
        fs.require(layout.root)
        fs.make_durable_folder(home)
        fs.make_durable_folder(layout.runs)
        for folder in (home.parent, home, layout.runs):
            _refuse_link(folder)
        self._folder = home / os.urandom(8).hex()
        self._path = str(self._folder)
        with _making(home):  # between its name and its lock, nobody takes it for a leftover
            fs.make_new_folder(self._folder)
            self._fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try_lock(self._fd)

    def put(self, run_id: str, contents: Mapping[str, bytes]) -> None:
        """Write the files of a run.

        Raises:
            TransferError: the file system does not take them under their names.
            OSError: they can't be written.
        """
        folder = f"{self._path}/{run_id}"
        written = self._written[run_id] = [folder]
        self._fs.make_new_folder(folder)
        made = {""}
        try:
            for name, data in contents.items():
                self._make_parents(folder, name, made, written)
                written.append(f"{folder}/{name}")
                self._fs.write_new(written[-1], data)
        except OSError as error:
            self._remove(self._written.pop(run_id))
            if error.errno in _NAMES:
                raise TransferError(f"a file of runs/{run_id} can't be written: {error.strerror}") from error
            raise

    def _make_parents(self, folder: str, name: str, made: set[str], written: list[str]) -> None:
        if name.rpartition("/")[0] in made:
            return
        at = name.find("/")
        while at >= 0:
            if (part := name[:at]) not in made:
                self._fs.make_new_folder(f"{folder}/{part}")
                made.add(part)
                written.append(f"{folder}/{part}")
            at = name.find("/", at + 1)

    def sync(self) -> None:
        """Return when everything that was put is on the disk.

        Raises:
            OSError: it can't be written.
        """
        if self._written:
            self._fs.sync_all(self._folder, [path for paths in self._written.values() for path in paths])

    def publish(self, run_ids: Iterable[str]) -> set[str]:
        """Give these runs their names, all of which are on the disk when this returns; those that were taken are left.

        Raises:
            OSError: one can't be renamed.
        """
        published, runs = set(), str(self._runs)
        for run_id in run_ids:
            try:
                self._fs.rename(f"{self._path}/{run_id}", f"{runs}/{run_id}")
            except OSError as error:
                if error.errno not in _TAKEN:
                    raise
            else:
                published.add(run_id)
                del self._written[run_id]
        if published:
            self._fs.sync_folder(self._runs)
        return published

    def close(self) -> None:
        """Remove the folder, and what is in it still."""
        try:
            for written in self._written.values():
                self._remove(written)
            self._fs.remove_folder(self._folder)
        finally:
            os.close(self._fd)

    def _remove(self, written: list[str]) -> None:
        for path in map(Path, reversed(written)):
            with contextlib.suppress(OSError):
                if path.is_dir():
                    self._fs.remove_folder(path)
                else:
                    self._fs.unlink(path)


def remove_leftovers(layout: Layout, *, fs: FileSystem) -> None:
    """Remove what processes left that were killed; what can't be removed stays."""
    home = _incoming(layout)
    with contextlib.suppress(OSError):
        names = sorted(os.listdir(home))
        if not any(os.path.isdir(home / name) for name in names):
            return
        with _making(home):
            for name in names:
                with contextlib.suppress(OSError):
                    _remove_leftover(home / name, fs)


def _remove_leftover(folder: Path, fs: FileSystem) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if try_lock(fd) is not True:
            return
        for root, folders, files in os.walk(folder, topdown=False):
            for name in files:
                fs.unlink(folder / root / name)
            for name in folders:
                fs.remove_folder(folder / root / name)
        fs.remove_folder(folder)
    finally:
        os.close(fd)


def _incoming(layout: Layout) -> Path:
    return layout.root / "copied" / "incoming"


def _making(home: Path) -> AbstractContextManager[None]:
    return file_lock(home / "lock", timeout_s=LOCK_TIMEOUT_S)


def _refuse_link(folder: Path) -> None:
    if not stat.S_ISDIR(os.lstat(folder).st_mode):
        raise TransferError(f"{folder} is not a folder", hint="remove it: it is in the copy's way")
