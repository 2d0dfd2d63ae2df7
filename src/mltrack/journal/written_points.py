"""Points through ``write`` instead of a mapping, and the choice between the two.

A write that a file system refuses is an error here, where to a mapping it would be a SIGBUS: see ``mounts.py``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Mapping
from time import time_ns
from typing import TYPE_CHECKING, SupportsFloat, SupportsIndex

from mltrack.disk.codec import RECORD_SIZE, RecordError, record_bytes
from mltrack.disk.filesystem import LOCAL, FileSystem
from mltrack.disk.mounts import Mount, is_network, maps_safely, mount_of
from mltrack.environment import MLTRACK_JOURNAL
from mltrack.journal.locked_points import LockedPointJournal
from mltrack.journal.points import PointJournal
from mltrack.values.scalars import as_float, integer, require_mapping

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["NetworkPointJournal", "WrittenPointJournal", "open_points"]


class WrittenPointJournal(PointJournal):
    """The same records, with one write for each call, into space that was allocated before.

    As with the mapping the offset moves before the write: an interrupted call never takes another's slot. The lock
    separates threads, and ``_busy`` the thread's own signal handlers, whose points are stored after these.
    """

    _maps = False

    def log(self, key: str, value: SupportsFloat, step: SupportsIndex | None = None, time: int | None = None) -> None:
        """One point, in one write."""
        if time is None:
            time = time_ns()
        elif type(time) is not int:
            time = integer("time", time)
        try:
            number = self.numbers[key]
            if type(value) is not float:
                value = as_float(key, value)
            if type(step) is not int:
                step = 0 if step is None else integer("step", step)
            with self.lock:
                offset = self.offset
                if self._busy or offset + RECORD_SIZE > self._end:
                    raise RecordError
                self._busy = True
                try:
                    self._write_records(record_bytes(step, time, value, number, offset))
                finally:
                    self._busy = False
                if self._deferred:
                    self._log_slowly((), step, time)
            return
        except (KeyError, TypeError, RecordError, OSError):
            pass  # an error of what follows has nothing to do with this one
        self._log_slowly([(key, value)], step, time)

    def log_many(
        self, values: Mapping[str, SupportsFloat], step: SupportsIndex | None = None, time: int | None = None
    ) -> None:
        """One point for each key, all in one write."""
        if time is None:
            time = time_ns()
        elif type(time) is not int:
            time = integer("time", time)
        stored = 0
        try:
            points = [(self.numbers[key], as_float(key, value)) for key, value in values.items()]
            if type(step) is not int:
                step = 0 if step is None else integer("step", step)
            size = RECORD_SIZE * len(points)  # here, as after any call a signal handler may log, and move the offset
            with self.lock:
                offset = self.offset
                if self._busy or offset + size > self._end:
                    raise RecordError
                self._busy = True
                try:
                    records = [
                        record_bytes(step, time, value, number, offset + RECORD_SIZE * n)
                        for n, (number, value) in enumerate(points)
                    ]
                    self._write_records(b"".join(records))
                finally:
                    stored = (self.offset - offset) // RECORD_SIZE
                    self._busy = False
                if self._deferred:
                    self._log_slowly((), step, time)
            return
        except (KeyError, TypeError, RecordError, OSError):
            pass
        except AttributeError:
            if isinstance(values, Mapping):
                raise
        require_mapping("metrics", values)
        self._log_slowly(list(values.items())[stored:], step, time)

    def _write_records(self, data: bytes) -> None:
        """Write whole records at the offset, which moves past those that are stored, even if the rest is refused.

        The lock is held, and ``_busy`` set.

        Raises:
            OSError: not all of them were stored.
        """
        offset = self.offset
        self.offset = offset + len(data)
        try:
            if self._fs.write_at(self.fd, data, offset) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except BaseException:  # even an interrupt may come before or after it is written
            held = b""
            with contextlib.suppress(OSError):
                held = os.pread(self.fd, len(data), offset)
            whole = 0
            while whole < len(data) and held[whole : whole + RECORD_SIZE] == data[whole : whole + RECORD_SIZE]:
                whole += RECORD_SIZE
            self.offset = offset + whole
            raise

    def _put(self, number: int, step: int, time: int, value: float) -> None:
        if self._room():
            try:
                self._write_records(record_bytes(step, time, value, number, self.offset))
            except OSError as error:
                self._lose(1, error)


class NetworkPointJournal(WrittenPointJournal):
    """The same without allocating space ahead, which network file systems can't do."""

    def _allocate(self, fd: int, size: int) -> None:
        """Does nothing: space is allocated on write."""


def open_points(
    folder: Path,
    writer: str,
    *,
    fs: FileSystem = LOCAL,
    on_new_metric: Callable[[int, str], None],
    on_loss: Callable[[Exception], None],
    sync_names: Callable[[], None] = lambda: None,
) -> PointJournal:
    """The kind of point journal that is safe on the file system of ``folder`` (``MLTRACK_JOURNAL``: mmap or write).

    Args:
        folder: The run's folder of points files.
        writer: The writer's name.
        fs: The file system to write with.
        on_new_metric: As in PointJournal.
        on_loss: As in PointJournal.
        sync_names: As in PointJournal.
    """
    try:
        mount = mount_of(folder)
    except OSError:
        mount = Mount("", frozenset())
    mode = os.environ.get(MLTRACK_JOURNAL) or ("mmap" if maps_safely(mount) else "write")
    kind = PointJournal if getattr(sys, "_is_gil_enabled", lambda: True)() else LockedPointJournal
    if mode == "write":
        kind = NetworkPointJournal if is_network(mount) else WrittenPointJournal
    return kind(folder, writer, fs=fs, on_new_metric=on_new_metric, on_loss=on_loss, sync_names=sync_names)
