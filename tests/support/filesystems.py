"""File systems that fail, stop, or lose what was not synced: faults made for real, at a chosen step."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mltrack.disk.filesystem import FileSystem

STEPS = [
    "create",
    "open_append",
    "write",
    "write_at",
    "allocate",
    "truncate",
    "sync",
    "sync_folder",
    "sync_all",
    "rename",
    "unlink",
    "make_new_folder",
    "remove_folder",
]


class Stopped(BaseException):
    """The process is gone at this step; nothing it does after that reaches the disk."""


class CountingFileSystem(FileSystem):
    """Counts steps, and calls ``at_step(number)`` before each is done; a write is cut in half when that raises."""

    def __init__(self, at_step: Callable[[int], None] = lambda number: None) -> None:
        self.steps = 0
        self._at_step = at_step

    def _step(self) -> None:
        self.steps += 1
        self._at_step(self.steps)

    def write(self, fd: int, data: bytes) -> int:
        try:
            self._step()
        except BaseException:
            if data:
                os.write(fd, data[: len(data) // 2])
            raise
        return super().write(fd, data)

    def write_at(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        try:
            self._step()
        except BaseException:
            if len(data):
                os.pwrite(fd, data[: len(data) // 2], offset)
            raise
        return super().write_at(fd, data, offset)


def _counted(name: str) -> Any:
    def call(self: CountingFileSystem, *args: Any) -> Any:
        self._step()
        return getattr(FileSystem, name)(self, *args)

    return call


for _name in STEPS:
    if _name not in ("write", "write_at"):
        setattr(CountingFileSystem, _name, _counted(_name))


def failing(*steps: int, code: int = errno.ENOSPC) -> CountingFileSystem:
    """A file system on which these steps fail with the error ``code``."""

    def check(number: int) -> None:
        if number in steps:
            raise OSError(code, os.strerror(code))

    return CountingFileSystem(check)


def failing_from(step: int, code: int = errno.ENOSPC) -> CountingFileSystem:
    """A file system on which every step from ``step`` on fails."""

    def check(number: int) -> None:
        if number >= step:
            raise OSError(code, os.strerror(code))

    return CountingFileSystem(check)


def stopping_at(step: int) -> CountingFileSystem:
    """A file system that stops the process at ``step``; later steps don't happen either."""

    def check(number: int) -> None:
        if number >= step:
            raise Stopped(f"step {step}")

    return CountingFileSystem(check)


class LossyFileSystem(FileSystem):
    """Remembers what was synced of the files in one folder, so that ``lose_power`` can take away all the rest."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._bytes: dict[int, bytes] = {}
        self._names: dict[str, int] = {}
        self.sync_folder(folder)
        for path in folder.iterdir():
            self._bytes[path.stat().st_ino] = path.read_bytes()

    def sync(self, fd: int) -> None:
        size = os.fstat(fd).st_size
        self._bytes[os.fstat(fd).st_ino] = os.pread(fd, size, 0) if size else b""

    def sync_folder(self, path: Path) -> None:
        if path == self._folder:
            self._names = {entry.name: entry.inode() for entry in os.scandir(path) if entry.is_file()}

    def unlink(self, path: Path) -> None:
        held = path.with_name(f"{path.name}.gone")  # keeps the inode, which the disk may still name
        if path.exists():
            os.rename(path, held.with_suffix(f".{os.urandom(4).hex()}"))

    def lose_power(self) -> None:
        """Leave only what was synced, under the names that were synced."""
        for path in list(self._folder.iterdir()):
            path.unlink()
        for name, inode in self._names.items():
            (self._folder / name).write_bytes(self._bytes.get(inode, b""))
