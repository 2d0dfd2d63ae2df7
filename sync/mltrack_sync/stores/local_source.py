"""A store in a folder of this machine, copied from. It is only read."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import mltrack
from mltrack.disk.codec import FORMAT_VERSION
from mltrack.disk.filesystem import NotRegularError, open_regular
from mltrack.entities import RunHead
from mltrack.errors import MltrackError, NotFoundError
from mltrack_sync.stores.complete_runs import file_sizes, has_both, is_small, with_checksums
from mltrack_sync.stores.run_positions import next_event, positions_of
from mltrack_sync.stores.run_snapshot import SMALL_BYTES_MAX, RunReading
from mltrack_sync.stores.run_token import RunState, live_token, run_state, run_token
from mltrack_sync.stores.selected_units import other_units
from mltrack_sync.stores.transfer import (
    PIECE_BYTES_MAX,
    CompleteRun,
    FileKind,
    Need,
    Piece,
    SourceChangedError,
    StoreInfo,
    TransferError,
    UnitSnapshot,
    UnitToken,
    entries_of,
    thin_token,
)
from mltrack_sync.stores.unit_files import unit_folder
from mltrack_sync.stores.unit_snapshots import unit_files, unit_token

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from mltrack.store import Store
    from mltrack_sync.selection import Selection
    from mltrack_sync.stores.transfer import FileState

__all__ = ["LocalSource", "head_of", "store_info"]

RUNS = "runs/"

LISTED_MAX = 100_000
"""Of so many runs what was seen when they were listed is kept until they are copied."""

_FORK = b'"type":"fork"'


def store_info(store: Store) -> StoreInfo:
    """Which store this is, as seen from this machine."""
    try:
        space = os.statvfs(store.path)
        free = space.f_bavail * space.f_frsize
    except OSError:
        free = 0
    return StoreInfo(
        store.store_id,
        FORMAT_VERSION,
        os.uname().nodename,
        mltrack.__version__,
        writable=os.access(store.path, os.W_OK),
        free_bytes=free,
    )


@dataclass(frozen=True, slots=True)
class _LocalSnapshot(UnitSnapshot):
    """A snapshot with the contents of small files that only grow: they need not be opened again."""

    small: Mapping[str, bytes] = field(default_factory=dict)


def head_of(snapshot: UnitSnapshot) -> RunHead | None:
    """How far a run goes by its snapshot; None where that takes reading the run: its log is long, or it is a fork."""
    small = snapshot.small if isinstance(snapshot, _LocalSnapshot) else {}
    logs = {state.path for state in snapshot.files if state.path.startswith("events/")}
    if any(path not in small or _FORK in small[path] for path in logs):
        return None
    events, points = positions_of(snapshot.files, lambda state: next_event(small[state.path]))
    run_id = snapshot.unit.removeprefix(RUNS)
    return RunHead(run_id, sum(events.values()), sum(points.values()), bool(snapshot.live))


class LocalSource:
    """A store that is copied from; many threads may use it."""

    def __init__(self, store: Store, *, hashing: bool = True, clock: Callable[[], int] = time.time_ns) -> None:
        """Copy from a store.

        Args:
            store: The store.
            hashing: Whether the last piece of each WHOLE file has the SHA-256 of what was read. A target in the same
                process gets the very bytes, and does not need it.
            clock: The time now, in ns since the epoch.
        """
        self._store = store
        self._hashing = hashing
        self._clock = clock
        self._origin = (store.store_id, os.uname().nodename)
        self._runs = str(store.layout.runs)
        self._listed: dict[str, RunState] = {}

    def info(self) -> StoreInfo:
        """Which store it is."""
        return store_info(self._store)

    def units(self, selection: Selection) -> Iterable[UnitToken]:
        """The units that a selection takes with it, runs last; see ``Source.units``."""
        run_ids = self._run_ids(selection)
        yield from self._others(selection, run_ids)
        for run_id in run_ids:
            unit, state = f"{RUNS}{run_id}", run_state(f"{self._runs}/{run_id}")
            if state.token:
                if len(self._listed) < LISTED_MAX:
                    self._listed[unit] = state
                yield UnitToken(unit, state.token)

    def other_units(self, selection: Selection) -> Iterator[UnitToken]:
        """Those of them that are not runs."""
        yield from self._others(selection, self._run_ids(selection))

    def _run_ids(self, selection: Selection) -> list[str]:
        if selection.everything:
            return self._store.run_ids()
        wanted = sorted(selection.heads(self._store))
        needed = self._store.fork_sources(wanted)  # a fork has no points without these: they go first
        return [*needed, *(run_id for run_id in wanted if run_id not in needed)]

    def _others(self, selection: Selection, run_ids: list[str]) -> Iterator[UnitToken]:
        self._require()
        layout = self._store.layout
        for unit in other_units(self._store, selection, run_ids):
            token = unit_token(unit_folder(layout, unit))
            if token:
                yield UnitToken(unit, token)

    def snapshot(self, unit: str, *, artifact_bytes_max: int | None = None) -> UnitSnapshot:
        """How a unit looks now; see ``Source.snapshot``."""
        try:
            return self._snapshot(unit, artifact_bytes_max)
        except (NotFoundError, FileNotFoundError):
            self._require()
            raise

    def _require(self) -> None:
        """Check that the store is still there: what can't be found on a disk that was pulled out was not removed.

        Raises:
            FileNotFoundError: it is not.
        """
        os.lstat(self._store.layout.root / "store.json")

    def _snapshot(self, unit: str, artifact_bytes_max: int | None) -> UnitSnapshot:
        folder = unit_folder(self._store.layout, unit)
        if unit.startswith(RUNS):
            return self._run_snapshot(unit, str(folder), artifact_bytes_max, run_token(str(folder)))
        taken_at = self._clock()
        token = unit_token(folder)
        files, is_thin = unit_files(folder, artifact_bytes_max=artifact_bytes_max)
        if not token:
            raise NotFoundError(f"no {unit} in {self._store.path}")
        if is_thin and artifact_bytes_max is not None:
            token = thin_token(token, artifact_bytes_max)
        return UnitSnapshot(unit, token, files, taken_at=taken_at, origin=self._origin)

    def _run_snapshot(self, unit: str, folder: str, artifact_bytes_max: int | None, token: str) -> _LocalSnapshot:
        """Take the snapshot of a run; the token is one that was found before."""
        taken_at = self._clock()
        run = RunReading.take(folder, artifact_bytes_max=artifact_bytes_max)
        if run.live:
            token = live_token(taken_at)
        if run.is_thin and artifact_bytes_max is not None:
            token = thin_token(token, artifact_bytes_max)
        return _LocalSnapshot(
            unit, token, run.files, live=run.live, taken_at=taken_at, origin=self._origin, small=run.small
        )

    def pieces(self, snapshot: UnitSnapshot, needs: Iterable[Need]) -> Iterator[Piece]:
        """The bytes that are needed; see ``Source.pieces``."""
        folder = unit_folder(self._store.layout, snapshot.unit)
        small = snapshot.small if isinstance(snapshot, _LocalSnapshot) else {}
        for state, need in entries_of(snapshot, needs):
            if state.path in small:
                data = small[state.path][need.start : state.size]
                yield Piece(state.path, state.kind, need.start, data, last=True)
                continue
            yield from self._file(folder / state.path, state, need.start, snapshot.unit)

    def complete_runs(
        self, units: Sequence[str], *, artifact_bytes_max: int | None = None
    ) -> Iterator[CompleteRun | None]:
        """Small runs with all that is in them; see ``Source.complete_runs``."""
        for unit in units:
            found = None
            with contextlib.suppress(MltrackError, OSError):  # whoever copies it by itself meets the same, and says so
                found = self._complete(unit, artifact_bytes_max)
            yield found

    def _complete(self, unit: str, artifact_bytes_max: int | None) -> CompleteRun | None:
        state = self._listed.pop(unit, None)  # what is older than the snapshot will do: if it has changed, so it says
        folder = f"{self._runs}/{unit.removeprefix(RUNS)}" if state else str(unit_folder(self._store.layout, unit))
        token, events_bytes = state or run_state(folder)
        if events_bytes > SMALL_BYTES_MAX:
            return None
        snapshot = self._run_snapshot(unit, folder, artifact_bytes_max, token)
        sizes = file_sizes(snapshot)
        if not is_small(snapshot, sizes):
            return None
        small = snapshot.small
        contents: dict[str, bytes] = {}
        for path, size in sizes.items():
            contents[path] = small[path][:size] if path in small else _read(f"{folder}/{path}", size)
        run = CompleteRun(snapshot, contents, read_here=True)
        if has_both(run):
            return None
        return with_checksums(run) if self._hashing else run

    def _file(self, path: Path, state: FileState, start: int, unit: str) -> Iterator[Piece]:
        try:
            fd = open_regular(path, follow=False)
        except FileNotFoundError:
            raise _changed(state, unit, "was removed") from None
        except NotRegularError as error:
            raise TransferError(f"{state.path} of {unit} {error.strerror}") from None
        try:
            size = os.fstat(fd).st_size
            if size < state.size or (state.kind is FileKind.WHOLE and size != state.size):
                raise _changed(state, unit, "has another size")
            yield from self._pieces(fd, state, start, unit)
        finally:
            os.close(fd)

    def _pieces(self, fd: int, state: FileState, start: int, unit: str) -> Iterator[Piece]:
        digest = hashlib.sha256() if self._hashing and state.kind is FileKind.WHOLE else None
        at = start if digest is None else 0
        while True:
            data = os.pread(fd, min(PIECE_BYTES_MAX, (state.size if at >= start else start) - at), at)
            if not data and at < state.size:
                raise _changed(state, unit, "was cut")
            if digest is not None:
                digest.update(data)
            end = at + len(data)
            if end <= start < state.size:  # read only for the checksum
                at = end
                continue
            last = end == state.size
            sha256 = digest.hexdigest() if last and digest is not None else ""
            if sha256 and state.sha256 and sha256 != state.sha256:
                raise _changed(state, unit, "has another content")
            yield Piece(state.path, state.kind, at, data, last=last, sha256=sha256)
            if last:
                return
            at = end


def _read(path: str, size: int) -> bytes:
    """What is in a small file, of which the first ``size`` bytes count; fewer where it was cut."""
    fd = open_regular(path, follow=False)
    try:
        return os.pread(fd, size, 0)
    finally:
        os.close(fd)


def _changed(state: FileState, unit: str, how: str) -> SourceChangedError:
    return SourceChangedError(
        f"{state.path} of {unit} {how} while it was copied", path=state.path, hint="copy it again"
    )
