"""A writer's points: 32-byte records in mapped files, behind a call that costs less than a microsecond."""

from __future__ import annotations

import itertools
import mmap
import os
import threading
from collections.abc import Mapping
from time import time_ns
from typing import TYPE_CHECKING, SupportsFloat, SupportsIndex

from mltrack.disk.codec import (
    HEADER_SIZE,
    RECORD_SIZE,
    RecordError,
    encode_records,
    pack_record,
)
from mltrack.errors import RunStateError
from mltrack.journal.point_files import NOTHING, PointFiles
from mltrack.process.trouble import TROUBLE
from mltrack.values.scalars import as_float, check_key, integer, require_mapping

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from mltrack.disk.filesystem import FileSystem

__all__ = [
    "SEAL_POINTS_MIN",
    "PointJournal",
]

RETRY_AFTER_LOSS_NS = 1_000_000_000  # after an append failed, the disk is asked again at most once a second
SERIES_POINTS_MIN = 4_096  # a shorter series goes point by point, to not make a file each
SERIES_FILE_POINTS_MAX = 1 << 20
SERIES_WRITE_POINTS = 1 << 15  # 1 MiB at a time

SEAL_POINTS_MIN = 4_096
"""A writer with fewer points keeps its trimmed journal: a segment would not pay, and the journal opens faster."""

_FLOATS = {float}


class PointJournal(PointFiles):
    """A writer's samples, in points/<writer>.<n>.points: allocated ahead, memory-mapped, one record packed a call.

    A record counts once its commit mark stands, and that is written last; the offset moves before the record is
    packed and nothing between the two can be interrupted, so no call, signal or thread ever leaves a gap or
    overwrites a record that was seen. Points that can't be stored (a full disk, a lost mount) are counted in
    ``lost``, and the caller continues.
    """

    def __init__(
        self,
        folder: Path,
        writer: str,
        *,
        fs: FileSystem,
        on_new_metric: Callable[[int, str], None],
        on_loss: Callable[[Exception], None],
        sync_names: Callable[[], None] = lambda: None,
    ) -> None:
        """Nothing is made on disk until the first point.

        Args:
            folder: The run's folder of points files.
            writer: The writer's name.
            fs: The file system to write with.
            on_new_metric: Called with a new metric's number and key; stores them before it returns, or raises OSError.
            on_loss: Called the first time points are lost, and again after each recovery.
            sync_names: Makes the run's start and all stored numbers survive power loss, or raises OSError; called
                before the first file is made, and before points are synced.
        """
        super().__init__(folder, writer, fs=fs, sync_names=sync_names)
        self.numbers: dict[str, int] = {}
        self.lost = 0
        self._on_new_metric = on_new_metric
        self._on_loss = on_loss
        self._closed = False
        self._losing = False
        self._busy = False  # while the thread that holds the lock is in here, against its own signal handlers
        self._deferred: list[tuple[list[tuple[str, float]], int, int]] = []
        self._named: dict[int, str] = {}
        self._next_number = itertools.count()

    # --- the hot path: what a call costs is what a training step pays ---
    #
    # The interpreter lets another thread run, or a signal handler, only after a call and at a loop's turn. From where
    # the offset is read to where pack_record returns neither can happen, so each record gets a slot of its own and a
    # reader never meets a gap. (An interpreter without that rule uses LockedPointJournal.)

    def log(self, key: str, value: SupportsFloat, step: SupportsIndex | None = None, time: int | None = None) -> None:
        """Log one point.

        Args:
            key: The metric's name.
            value: A number, NaN and infinities included.
            step: A 64-bit integer; 0 by default.
            time: In ns since the epoch; by default now.
        """
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
            offset = self.offset
            self.offset = offset + 32
            try:
                pack_record(self.buffer, offset, step, time, value, number, offset)
            except RecordError:
                self.offset = offset  # the file is full, or step or time too large: nothing was committed
                raise
            return
        except (KeyError, TypeError, RecordError):
            pass  # an error of what follows has nothing to do with this one
        self._log_slowly([(key, value)], step, time)

    def log_many(
        self, values: Mapping[str, SupportsFloat], step: SupportsIndex | None = None, time: int | None = None
    ) -> None:
        """One point for each key, all with the same step and time; all are checked before the first is stored."""
        if time is None:
            time = time_ns()
        elif type(time) is not int:
            time = integer("time", time)
        numbers = self.numbers
        stored = 0
        try:
            if set(map(type, values.values())) != _FLOATS:
                values = {key: as_float(key, value) for key, value in values.items()}
            if type(step) is not int:
                step = 0 if step is None else integer("step", step)
            if not values.keys() <= numbers.keys():
                raise KeyError
            for key, value in values.items():
                number = numbers[key]
                offset = self.offset
                self.offset = offset + 32
                try:
                    pack_record(self.buffer, offset, step, time, value, number, offset)
                except RecordError:
                    self.offset = offset
                    raise
                stored += 1
            return
        except (KeyError, TypeError, RecordError):
            pass
        except AttributeError:
            if isinstance(values, Mapping):
                raise
        require_mapping("metrics", values)
        self._log_slowly(list(values.items())[stored:], step, time)

    # --- new metrics, full files, failing disks, misuse ---

    def _log_slowly(self, points: Iterable[tuple[str, SupportsFloat]], step: SupportsIndex | None, time: int) -> None:
        step = 0 if step is None else integer("step", step)
        time = integer("time", time)
        checked = [(check_key(key), as_float(key, value)) for key, value in points]
        with self.lock:
            if self._busy:  # a signal handler that logs while its own thread is in here: stored when that is done
                self._deferred.append((checked, step, time))
                return
            self._busy = True
            try:
                self._check_open()
                self._store(checked, step, time)
                self._store_deferred()
            finally:
                self._busy = False

    def _store(self, points: Iterable[tuple[str, float]], step: int, time: int) -> None:
        for key, value in points:
            number = self._metric_number(key)
            if number is not None:
                self._put(number, step, time, value)

    def _store_deferred(self) -> None:
        while self._deferred:
            self._store(*self._deferred.pop(0))

    def log_series(
        self,
        key: str,
        values: npt.NDArray[np.float64],
        steps: npt.NDArray[np.int64],
        times: npt.NDArray[np.int64],
    ) -> None:
        """Many points of one metric at once, then synced: on return they survive power loss.

        Args:
            key: The metric's name.
            values: Shape (n,).
            steps: Shape (n,).
            times: In ns since the epoch, shape (n,).
        """
        with self.lock:
            if self._busy or len(values) < SERIES_POINTS_MIN:
                for step, time, value in zip(steps.tolist(), times.tolist(), values.tolist(), strict=True):
                    self._log_slowly([(key, value)], step, time)
            else:
                self._busy = True
                try:
                    self._check_open()
                    self._write_series(key, values, steps, times)
                    self._store_deferred()
                finally:
                    self._busy = False
        try:
            self.sync()
        except OSError as error:
            self._on_loss(error)

    def log_rows(
        self,
        keys: Sequence[str],
        codes: npt.NDArray[np.int64],
        values: npt.NDArray[np.float64],
        steps: npt.NDArray[np.int64],
        times: npt.NDArray[np.int64],
    ) -> None:
        """Many points of several metrics at once, in this order. They are not synced.

        Args:
            keys: Names of metrics.
            codes: Of each point, the index of its metric in ``keys``; shape (n,).
            values: Shape (n,).
            steps: Shape (n,).
            times: In ns since the epoch, shape (n,).
        """
        import numpy as np

        with self.lock:
            self._check_open()
            numbers = np.zeros(len(keys), np.uint32)
            for code in np.flatnonzero(np.bincount(codes, minlength=len(keys))).tolist():
                number = self._metric_number(keys[code])
                if number is None:
                    self.lost += len(values) - 1  # the first is counted already
                    return
                numbers[code] = number
            self._write_rows(numbers[codes], values, steps, times)

    def _write_series(
        self,
        key: str,
        values: npt.NDArray[np.float64],
        steps: npt.NDArray[np.int64],
        times: npt.NDArray[np.int64],
    ) -> None:
        """In files of their own."""
        number = self._metric_number(key)
        if number is None:
            self.lost += len(values) - 1  # the first is counted already
            return
        self._write_rows(number, values, steps, times)

    def _write_rows(
        self,
        numbers: int | npt.NDArray[np.uint32],
        values: npt.NDArray[np.float64],
        steps: npt.NDArray[np.int64],
        times: npt.NDArray[np.int64],
    ) -> None:
        """In separate files, written rather than mapped, each as large as needed. ``numbers``: of all, or of each."""
        done = 0
        while done < len(values):
            first, end = done, min(done + SERIES_FILE_POINTS_MAX, len(values))
            try:
                self._start_file(HEADER_SIZE + RECORD_SIZE * (end - first), mapped=False)
                try:
                    for at in range(first, end, SERIES_WRITE_POINTS):
                        part = slice(at, min(at + SERIES_WRITE_POINTS, end))
                        number = numbers if isinstance(numbers, int) else numbers[part]
                        records = encode_records(self.offset, steps[part], times[part], values[part], number)
                        self._write_whole(records.view("u1").data)
                finally:
                    self._end = self.offset
                    done = first + (self.offset - HEADER_SIZE) // RECORD_SIZE
            except OSError as error:
                self._lose(end - done, error)
                done = end

    def _write_whole(self, data: memoryview) -> None:
        """Write records at the offset, which moves on with those that are whole, also where the rest fails."""
        start, done = self.offset, 0
        self.offset = start + len(data)  # first, so that whatever happens none of these seqs is used again
        try:
            while done < len(data):
                done += self._fs.write_at(self.fd, data[done:], start + done)
        except BaseException:
            done = max(0, min(os.fstat(self.fd).st_size - start, len(data)))
            self.offset = start + done // RECORD_SIZE * RECORD_SIZE
            raise

    def _check_open(self) -> None:
        if self._closed:
            run_id = self._folder.parent.name
            raise RunStateError(f"run {run_id} has ended", hint=f"resume it: start_run(run_id={run_id!r})")

    def _metric_number(self, key: str) -> int | None:
        """The number of a metric, assigned and stored at its first point; None if it can't be stored."""
        number = self.numbers.get(key)
        if number is None:
            if time_ns() < self._retry_at_ns:
                self.lost += 1
                return None
            number = next(self._next_number)  # never twice, also where an interrupt comes before it is stored
            try:
                self._on_new_metric(number, key)
            except TROUBLE as error:
                self._lose(1, error)
                return None
            self._named[number] = key
            self.numbers[key] = number
        return number

    @property
    def names(self) -> list[str]:
        """Metric names by number."""
        return [self._named.get(number, "") for number in range(max(self._named, default=-1) + 1)]

    def _put(self, number: int, step: int, time: int, value: float) -> None:
        """Store one checked point, in the next file where this one is full. The lock is held."""
        while self._room():
            offset = self.offset
            self.offset = offset + RECORD_SIZE
            try:
                pack_record(self.buffer, offset, step, time, value, number, offset)
                return
            except RecordError:  # another thread has taken the last slot
                self.offset = offset

    # --- room, losses, the end ---

    def _room(self) -> bool:
        """Whether a record fits, after starting a new file if needed; if not, it counts as lost."""
        if self.offset + RECORD_SIZE <= self._end:
            return True
        self._check_open()
        if time_ns() < self._retry_at_ns:
            self.lost += 1
            return False
        try:
            self._next_file()
        except TROUBLE as error:
            self._lose(1, error)
            return False
        self._losing = False
        return True

    def lose(self, count: int, error: Exception) -> None:
        """Count points that could not be created at all as lost."""
        with self.lock:
            self._lose(count, error)

    def _lose(self, count: int, error: Exception | None = None) -> None:
        self.lost += count
        if error is not None:
            self._retry_at_ns = time_ns() + RETRY_AFTER_LOSS_NS
            if not self._losing:
                self._losing = True
                self._on_loss(error)

    def close(self) -> None:
        """No more points: sync, trim and close the files. Disk errors go to ``on_loss`` and are not raised."""
        with self.lock:
            if not self._busy and not self._closed:
                self._store_deferred()
            self._closed = True
            held, self.buffer = self.buffer, NOTHING  # from here on no point is taken
            if self.fd >= 0:
                self._retired.append((self.fd, held, self.offset))
                self._first_seq, self.offset, self.fd, self._end = self.seq, HEADER_SIZE, -1, 0
        try:
            self._sync_files()  # names that are not on the disk yet follow with the run's last event
        except OSError as error:
            self._on_loss(error)

    def abandon(self) -> None:
        """After a fork, close the parent's files without touching their content, and take no more points."""
        self._closed = True
        self.lock, self._busy = threading.RLock(), False  # held by a thread that the child does not have
        for fd, buffer, _ in [*self._retired, (self.fd, self.buffer, 0)]:
            if isinstance(buffer, mmap.mmap):
                buffer.close()
            if fd >= 0:
                os.close(fd)
        self.buffer, self._end, self.fd, self._retired = NOTHING, 0, -1, []
