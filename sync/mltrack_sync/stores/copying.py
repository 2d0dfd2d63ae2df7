"""Copying units from a source to a target: the loop of every push to a store and every pull from one."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from mltrack.errors import MltrackError, NotFoundError
from mltrack_sync.errors import PushStopped
from mltrack_sync.progress import NoProgress
from mltrack_sync.stores.transfer import (
    Applied,
    InterruptedCopyError,
    SourceChangedError,
    TransferError,
    Update,
    entries_of,
    is_held,
)
from mltrack_sync.stores.updates import may_be_update

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from mltrack_sync.http.rate_limit import RateLimiter
    from mltrack_sync.progress import Progress
    from mltrack_sync.stores.transfer import CompleteRun, Need, Piece, Source, Target, UnitSnapshot, UnitToken

__all__ = ["CopyOptions", "CopyReport", "copy_units"]

INTERRUPTED_MAX = 20
"""How often a unit is continued after the connection was cut; each time what had arrived by then stays."""

ATTEMPTS = 4
"""How often a unit is looked at again because a file of it was replaced while it was copied."""

WORKERS = 4
RUNS = "runs/"

RUNS_TOGETHER = 1_000
"""So many new runs are moved, and synced to the disk, together: the other side takes no more at a time."""

BATCH_BYTES = 16 << 20

TOGETHER_MIN = 4
"""Fewer runs than this are copied one by one."""

BATCHES = 2
"""How many batches of runs are moved at a time: while one waits for the disk, the next one is read and written."""

SMALL_BYTES = 1 << 20
"""Of units with less to copy, twice as many are copied at a time: they mostly wait for the disk and the other side."""

A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True, slots=True)
class CopyOptions:
    """How to copy.

    Attributes:
        artifact_bytes_max: Larger artifacts are not copied (0: none at all).
        workers: How many runs are copied at a time (of small ones twice as many); 1 where the source or the target
            takes one thread only.
        readers: How many small updates of runs are read at a time. One thread reads as fast as several what is on a
            disk here; from elsewhere each waits for its answers.
        batch_bytes: New runs that are moved together have about so many bytes at most.
        pace: The cap on bytes per second.
        progress: Shows how far it is.
        stop: Ends the copying soon when it is set; what was copied by then stays, and a later copy continues from it.
        applied: Called with each unit that was looked at, by one thread at a time.
    """

    artifact_bytes_max: int | None = None
    workers: int = WORKERS
    readers: int = 1
    batch_bytes: int = BATCH_BYTES
    pace: RateLimiter | None = None
    progress: Progress = field(default_factory=NoProgress)
    stop: threading.Event = field(default_factory=threading.Event)
    applied: Callable[[Applied], None] = lambda applied: None


@dataclass(slots=True)
class CopyReport:
    """What came of copying: of each unit that was not unchanged, and how many were."""

    units: list[Applied] = field(default_factory=list)
    unchanged: int = 0
    stopped: bool = False

    @property
    def bytes(self) -> int:
        """How many bytes were copied."""
        return sum(applied.bytes for applied in self.units)

    @property
    def problems(self) -> list[str]:
        """What was not copied, and why."""
        return [problem for applied in self.units for problem in applied.problems]

    @property
    def notes(self) -> list[str]:
        """What the user should know."""
        return [note for applied in self.units for note in applied.notes]


def copy_units(
    source: Source, target: Target, units: Iterable[UnitToken], options: CopyOptions | None = None
) -> CopyReport:
    """Copy units that have changed since they were last copied; a unit that can't be copied keeps no other from it.

    Args:
        source: The store that has them.
        target: The store that gets them.
        units: What is to be copied, with its present tokens: runs after all others.
        options: How to copy.

    Raises:
        StoreError, RemoteError, OSError: the source or the target can't be used any more.
    """
    copying = _Copying(source, target, options or CopyOptions())
    return copying.all(units)


@dataclass(slots=True)
class _Batch:
    """New runs that are moved together: the names of those that were given to the target so far, and their bytes."""

    names: list[str] = field(default_factory=list)
    bytes: int = 0
    is_full: bool = False


class _Copying:
    """One copy_units."""

    def __init__(self, source: Source, target: Target, options: CopyOptions) -> None:
        self._source = source
        self._target = target
        self._options = options
        self._pace = options.pace.until(options.stop) if options.pace is not None else None
        self._report = CopyReport()
        self._lock = threading.Lock()
        self._large = threading.BoundedSemaphore(self._options.workers)

    def all(self, units: Iterable[UnitToken]) -> CopyReport:
        held = self._target.tokens(self._source.info().store_id)
        first: list[str] = []
        runs: list[str] = []
        for unit in units:
            if is_held(held.get(unit.unit, ""), unit.token, self._options.artifact_bytes_max):
                self._report.unchanged += 1
            else:
                (runs if unit.unit.startswith(RUNS) else first).append(unit.unit)
        self._options.progress.started(runs=len(runs), points=0)
        for name in first:
            self._one(name)
        self._runs(runs)
        self._report.stopped = self._options.stop.is_set()
        return self._report

    def _runs(self, runs: list[str]) -> None:
        """Copy runs: small ones of which the target has nothing together, others by themselves."""
        lacking = self._target.lacking_runs(runs) if len(runs) >= TOGETHER_MIN else set()
        new = [name for name in runs if name in lacking]
        batches = [new[at : at + RUNS_TOGETHER] for at in range(0, len(new), RUNS_TOGETHER)]
        left = [name for name in runs if name not in lacking]
        for names in self._each(self._together, batches, min(BATCHES, self._options.workers)):
            left += names
        left = self._updates(left)
        workers = self._options.workers
        for _ in self._each(self._one, left, 2 * workers if workers > 1 else 1):
            pass

    def _updates(self, runs: list[str]) -> list[str]:
        """Copy small updates of runs, many together; returns the runs that have to be copied by themselves."""
        at_once = self._target.updates_together() if len(runs) >= TOGETHER_MIN else 0
        if not at_once:
            return runs
        left: list[str] = []
        for at in range(0, len(runs), at_once):
            names = runs[at : at + at_once]
            found = [one for one in self._each(self._update, names, self._options.readers) if one is not None]
            done: set[str] = set()
            for outcome in self._target.apply_together(found) if found else ():
                if isinstance(outcome, Applied) and outcome.token:
                    self._options.progress.files(total=outcome.bytes, sent=outcome.bytes)
                    self._note(outcome)
                    done.add(outcome.unit)
            left += [name for name in names if name not in done]
        return left

    def _update(self, unit: str) -> Update | None:
        """What is lacking of a run, where it is a small update."""
        with contextlib.suppress(MltrackError, OSError):  # whoever copies it by itself meets the same, and says so
            snapshot = self._source.snapshot(unit, artifact_bytes_max=self._options.artifact_bytes_max)
            needs = self._target.needs(snapshot)
            if may_be_update(snapshot, needs):
                pieces = list(self._pieces(snapshot, needs))
                return None if self._options.stop.is_set() else Update(snapshot, pieces)
        return None

    def _each(self, work: Callable[[A], B], items: Sequence[A], workers: int) -> Iterable[B]:
        """Work on all items, several at a time; the first error ends it."""
        if workers <= 1 or len(items) <= 1:
            return [work(item) for item in items]
        failed = threading.Event()
        found: list[B] = []

        def guarded(item: A) -> None:
            if not failed.is_set():
                found.append(work(item))

        with ThreadPoolExecutor(workers, thread_name_prefix="mltrack-copy") as pool:
            jobs = [pool.submit(guarded, item) for item in items]
            done, _ = wait(jobs, return_when=FIRST_EXCEPTION)
            if any(job.exception() is not None for job in done):
                failed.set()
        for job in jobs:
            job.result()
        return found

    def _together(self, names: Sequence[str]) -> list[str]:
        """Copy small runs that the target has nothing of; returns those that have to be copied by themselves."""
        done: set[str] = set()
        batch = _Batch(is_full=True)
        with contextlib.suppress(InterruptedCopyError, TransferError):
            runs = self._source.complete_runs(names, artifact_bytes_max=self._options.artifact_bytes_max)
            found = iter(zip(names, runs, strict=True))
            while batch.is_full:
                batch = _Batch()
                outcomes = self._target.add_runs(self._small(found, batch))
                for name, outcome in zip(batch.names, outcomes, strict=True):
                    if isinstance(outcome, Applied):
                        self._note(outcome)
                        done.add(name)
        return [name for name in names if name not in done]

    def _small(self, found: Iterator[tuple[str, CompleteRun | None]], batch: _Batch) -> Iterator[CompleteRun]:
        """Those of the next runs that are small, as fast as they may go, until the batch is full or all is to stop."""
        progress = self._options.progress
        for name, run in found:
            if self._options.stop.is_set():
                return
            if run is None:
                continue
            size = run.size
            progress.files(total=size)
            if self._pace is not None:
                try:
                    self._pace.take(size)
                except PushStopped:
                    return
            batch.names.append(name)
            batch.bytes += size
            yield run
            progress.files(sent=size)
            if batch.bytes >= self._options.batch_bytes:
                batch.is_full = True
                return

    def _one(self, unit: str) -> None:
        """Copy one unit, again where it changed meanwhile."""
        if self._options.stop.is_set():
            return
        left_out: dict[str, str] = {}
        applied = Applied(unit, "")
        attempt = interrupted = 0
        while attempt <= ATTEMPTS:
            try:
                snapshot = self._source.snapshot(unit, artifact_bytes_max=self._options.artifact_bytes_max)
                applied = self._copy(_without(snapshot, left_out))
                break
            except NotFoundError:
                return  # removed meanwhile
            except InterruptedCopyError:
                interrupted += 1
                if interrupted == INTERRUPTED_MAX:
                    raise
            except SourceChangedError as error:
                applied = Applied(unit, "", problems=(str(error),))
                if attempt == ATTEMPTS - 1 and "artifacts/" in error.path:
                    left_out[error.path] = str(error)
                attempt += 1
            except TransferError as error:
                applied = Applied(unit, "", problems=(str(error),))
                break
        if left_out and applied.bytes + applied.files:
            applied = replace(applied, token="", problems=(*applied.problems, *left_out.values()))
        self._note(applied)

    def _note(self, applied: Applied) -> None:
        with self._lock:
            self._report.units.append(applied)
            self._options.applied(applied)
        if applied.unit.startswith(RUNS):
            self._options.progress.run_done()

    def _copy(self, snapshot: UnitSnapshot) -> Applied:
        needs = self._target.needs(snapshot)
        total = sum(state.size - need.start for state, need in entries_of(snapshot, needs))
        self._options.progress.files(total=total)
        meter = _Meter(self._options.progress)
        try:
            with self._large if total > SMALL_BYTES else contextlib.nullcontext():
                return self._target.apply(snapshot, meter.over(self._pieces(snapshot, needs)))
        finally:
            self._options.progress.files(total=meter.sent - total)

    def _pieces(self, snapshot: UnitSnapshot, needs: list[Need]) -> Iterator[Piece]:
        """The pieces, as fast as they may go, until all is to stop."""
        if not needs:
            return
        for piece in self._source.pieces(snapshot, needs):
            if self._options.stop.is_set():
                return
            if self._pace is not None:
                try:
                    self._pace.take(len(piece.data))
                except PushStopped:
                    return
            yield piece


class _Meter:
    """Counts the bytes of pieces as they go."""

    def __init__(self, progress: Progress) -> None:
        self.sent = 0
        self._progress = progress

    def over(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        """The same pieces, each counted when the next is asked for."""
        for piece in pieces:
            yield piece
            self.sent += len(piece.data)
            self._progress.files(sent=len(piece.data))


def _without(snapshot: UnitSnapshot, left_out: dict[str, str]) -> UnitSnapshot:
    if not left_out:
        return snapshot
    return replace(snapshot, token="", files=tuple(state for state in snapshot.files if state.path not in left_out))
