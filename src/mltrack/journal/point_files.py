"""The files of a writer's points: allocated ahead and mapped, synced, trimmed and closed."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import threading
from typing import TYPE_CHECKING

from mltrack.disk.codec import HEADER_SIZE, RECORD_SIZE, encode_header

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mltrack.disk.filesystem import FileSystem

__all__ = ["NOTHING", "PointFiles"]

POINTS_FILE_MIN_BYTES = HEADER_SIZE + RECORD_SIZE * 2_046  # 64 KiB: a short run stays small
POINTS_FILE_MAX_BYTES = HEADER_SIZE + RECORD_SIZE * 524_286  # 16 MiB: bounds what is mapped at a time
POINTS_FILE_SCRAPS_BYTES = HEADER_SIZE + RECORD_SIZE * 126  # 4 KiB: what a nearly full disk may still have
POINTS_FILE_GROWTH = 4

NOTHING = bytearray()
"""The buffer where no file is open: no record fits."""


class PointFiles:
    """The present file, those before it that are not synced yet, and the next one. Records are the subclass's."""

    _maps = True

    def __init__(self, folder: Path, writer: str, *, fs: FileSystem, sync_names: Callable[[], None]) -> None:
        """Nothing is made on disk before the first file; see PointJournal."""
        self.writer = writer
        self.lock = threading.RLock()
        self.buffer: mmap.mmap | bytearray = NOTHING
        self.offset = HEADER_SIZE  # where the next record goes in the present file
        self.fd = -1
        self._end = 0  # bytes of the present file
        self._folder = folder
        self._fs = fs
        self._sync_names = sync_names
        self._begun = False
        self._first_seq = 0  # of the present file
        self._file_index = 0
        self._file_bytes = POINTS_FILE_MIN_BYTES
        self._folder_dirty = False
        self._retired: list[tuple[int, mmap.mmap | bytearray, int]] = []
        self._sync_lock = threading.RLock()
        self._synced_offset = 0
        self._retry_at_ns = 0
        self.before_file: Callable[[], None] | None = None  # called before a file is made; it may call move_to

    def move_to(self, folder: Path) -> None:
        """Make new files in ``folder``: the store was moved, and the open ones went with it.

        Takes no lock, as the caller may hold it (``before_file``).
        """
        self._folder, self._retry_at_ns = folder, 0

    def _next_file(self) -> None:
        """Retire the full file and start another, a smaller one when the disk is nearly full.

        Raises:
            OSError: there is no space even for a small one; the journal is unchanged.
        """
        for size in (self._file_bytes, POINTS_FILE_MIN_BYTES, POINTS_FILE_SCRAPS_BYTES):
            try:
                self._start_file(size)
                break
            except OSError as error:
                full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
                if not full or size == POINTS_FILE_SCRAPS_BYTES:
                    raise
        self._file_bytes = min(self._file_bytes * POINTS_FILE_GROWTH, POINTS_FILE_MAX_BYTES)

    def _start_file(self, size: int, *, mapped: bool = True) -> None:
        """Create a file and put points into it. Removing the old buffer first fixes its first seq."""
        if self.before_file is not None:
            self.before_file()
        if not self._begun:  # the kernel may write points back at any time: the run's start must be on the disk before
            with contextlib.suppress(OSError):
                self._sync_names()
            self._begun = True
        held, self.buffer = self.buffer, NOTHING
        index = self._file_index
        self._file_index = index + 1  # no name is tried twice: an interrupt may leave a file behind
        try:
            first_seq = self.seq
            path = self._folder / f"{self.writer}.{index}.points"
            fd, buffer = self._new_file(path, size, encode_header(self.writer, first_seq), mapped)
        except BaseException:
            self.buffer = held
            raise
        # no call from here on: for an interrupt all of it is done, or nothing
        if self.fd >= 0:
            self._retired = [*self._retired, (self.fd, held, self.offset)]
        self._first_seq, self._synced_offset, self._folder_dirty = first_seq, 0, True
        self.fd, self.offset, self._end, self.buffer = fd, HEADER_SIZE, size, buffer

    def _new_file(self, path: Path, size: int, header: bytes, mapped: bool) -> tuple[int, mmap.mmap | bytearray]:
        fd = self._fs.create(path)
        try:
            if mapped:
                self._allocate(fd, size)
            self._fs.write_at(fd, header, 0)
            return fd, mmap.mmap(fd, size) if mapped and self._maps else NOTHING
        except BaseException as error:
            os.close(fd)
            self._fs.unlink(path)
            if isinstance(error, ValueError):
                raise OSError(errno.EIO, str(error)) from error
            raise

    def _allocate(self, fd: int, size: int) -> None:
        self._fs.allocate(fd, size)

    @property
    def seq(self) -> int:
        """How many points this writer has stored: the seq of the next one."""
        return self._first_seq + (self.offset - HEADER_SIZE) // RECORD_SIZE

    def sync(self) -> None:
        """Make the points stored so far survive power loss; called by the flusher, and for an immediate sync.

        Raises:
            OSError: the disk refused; they still survive ``kill -9``.
        """
        self._sync_names()
        self._sync_files()

    def _sync_files(self) -> None:
        """The same without the names of metrics."""
        with self._sync_lock:
            with self.lock:
                retired, self._retired = self._retired, []
                fd, offset = self.fd, self.offset
                folder_dirty, self._folder_dirty = self._folder_dirty, False
            try:
                for old_fd, _, _ in retired:
                    self._fs.sync(old_fd)
                if fd >= 0 and offset != self._synced_offset:
                    self._fs.sync(fd)
                    self._synced_offset = offset
                if folder_dirty:
                    self._fs.sync_folder(self._folder)
            except OSError:
                self._folder_dirty = self._folder_dirty or folder_dirty
                raise
            finally:
                for old_fd, old_buffer, end in retired:
                    self._release(old_fd, old_buffer, end)

    def _release(self, fd: int, buffer: mmap.mmap | bytearray, end: int) -> None:
        """Unmap and close a full file, and cut off the space it did not use."""
        if isinstance(buffer, mmap.mmap):
            buffer.close()
        with contextlib.suppress(OSError):
            self._fs.truncate(fd, end)
        os.close(fd)
