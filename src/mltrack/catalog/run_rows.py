"""One run's folder read into catalog rows, from the positions that the catalog has already."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from mltrack.disk import arrow_columns
from mltrack.errors import NotFoundError
from mltrack.journal.points import SEAL_POINTS_MIN
from mltrack.journal.reader import segments_of
from mltrack.storage.runs.point_sources import INHERITED
from mltrack.storage.runs.stored_run import StoredRun
from mltrack.storage.runs.summary import Summaries
from mltrack.text.encodable import encodable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mltrack.disk.layout import RunFolder
    from mltrack.disk.segment import PointColumns
    from mltrack.errors import CorruptionError
    from mltrack.storage.runs.state import WriterState

__all__ = [
    "FolderTimes",
    "KnownRun",
    "KnownWriter",
    "RunRows",
    "change_token",
    "folder_times",
    "map_column",
    "metric_column",
    "read_run",
    "still_fits",
    "text_column",
]

RECENT_NS = 2_000_000_000
"""A folder that changed this recently may change again within the same clock tick: its time is not trusted yet."""

FOREIGN_WRITER_SILENT_NS = 86_400_000_000_000
"""A writer without a lock, on another host and without an end, counts as dead when silent for a day."""


class FolderTimes(NamedTuple):
    """When a file was last made, renamed or removed in a run's subfolders, in ns; 0 if not known."""

    events: int = 0
    points: int = 0
    segments: int = 0


NO_TIMES = FolderTimes()


def folder_times(path: str) -> FolderTimes:
    """The times of the run folder at ``path``."""
    return FolderTimes(_time(f"{path}/events"), _time(f"{path}/points"), _time(f"{path}/segments"))


def _time(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def trusted(times: FolderTimes, now_ns: int) -> FolderTimes:
    """The same with 0 for times so recent that a later change might not show."""
    return FolderTimes(*(0 if abs(now_ns - at) < RECENT_NS else at for at in times))


class KnownWriter(NamedTuple):
    """A writer as the catalog has it."""

    role: str
    alive: bool
    ended: bool
    events: int
    points: int
    kept: bool


@dataclass(frozen=True, slots=True)
class KnownRun:
    """A run as the catalog has it."""

    times: FolderTimes = NO_TIMES
    writers: Mapping[str, KnownWriter] = field(default_factory=dict)
    last_point: int = 0
    counting: str = ""


@dataclass(slots=True)
class RunRows:
    """The new content of a run's catalog rows.

    ``replace``: all its rows in the catalog are outdated; ``facts``: its events changed; ``summaries`` cover the new
    points only. ``settled`` are the writers that will write no more. ``counting`` says which of its points count.
    """

    run: StoredRun | None
    run_id: str
    times: FolderTimes
    replace: bool = False
    changed: bool = False
    facts: bool = False
    writers: dict[str, KnownWriter] = field(default_factory=dict)
    summaries: Summaries = field(default_factory=Summaries)
    last_point: int = 0
    kept: list[PointColumns] = field(default_factory=list)
    damage: list[CorruptionError] = field(default_factory=list)
    segments: list[tuple[str, int, int]] = field(default_factory=list)
    settled: set[str] = field(default_factory=set)
    counting: str = ""

    @property
    def watched(self) -> bool:
        """Whether a process has the run open, so that it may change without a mark."""
        return any(writer.alive for writer in self.writers.values())


def read_run(folder: RunFolder, known: KnownRun | None, *, now_ns: int, run: StoredRun | None = None) -> RunRows:
    """Read what is new in a run.

    Args:
        folder: The run's folder.
        known: The run as the catalog has it; None if it does not.
        now_ns: The time now, in ns since the epoch.
        run: An earlier reading of the run, to continue from.

    Raises:
        OSError: one of its files can't be read.
    """
    times = trusted(folder_times(str(folder.path)), now_ns)  # before the files: later changes show
    try:
        if run is None:
            run = StoredRun(folder)
        else:
            run.refresh()
    except NotFoundError:  # its start is not written yet
        return RunRows(
            None, folder.run_id, times, replace=known is not None, changed=known is None or known.times != times
        )
    alive = {name: writer.alive for name, writer in run.state.writers.items()}
    visibility = run.visibility
    counting = "" if visibility is None else visibility.token
    if known is not None and (counting != known.counting or _went_back(run, known, moved=times != known.times)):
        known = None
    rows = RunRows(run, folder.run_id, times, replace=known is None, counting=counting)
    known = known or KnownRun()
    rows.last_point = known.last_point
    _take_points(run, known, alive, rows)
    for name in alive:
        _take_writer(run, name, alive, known.writers.get(name), rows)
    rows.settled = {name for name, lives in alive.items() if not lives and _is_settled(run.state.writers[name], now_ns)}
    rows.damage = _damage_of(run)
    before = known.writers
    rows.facts = rows.replace or any(
        name not in before or before[name].events != writer.events for name, writer in rows.writers.items()
    )
    rows.changed = rows.replace or bool(rows.damage) or rows.times != known.times or rows.writers != before
    return rows


def _damage_of(run: StoredRun) -> list[CorruptionError]:
    """All damage that was found, each place once."""
    return list({str(error): error for error in [*run.state.damage, *run.damage]}.values())


def change_token(path: str) -> str:
    """A text that changes when the file is replaced or written to."""
    try:
        found = os.stat(path)
    except OSError as error:
        return f"error {error.errno}"
    return f"{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}:{found.st_ino}"


def _went_back(run: StoredRun, known: KnownRun, *, moved: bool) -> bool:
    """Whether the folder has less than the catalog: another copy of the run was put in its place.

    ``moved``: files were made or removed since, so that points have to be counted.
    """
    states = run.state.writers
    own = {name: writer for name, writer in known.writers.items() if writer.role != INHERITED}
    if any(name not in states or states[name].events < writer.events for name, writer in own.items()):
        return True
    if not moved or not own:
        return False
    counted = {writer.writer: writer.position.points for writer in run.writers()}
    return any(counted[name] < writer.points for name, writer in own.items())


def _take_points(run: StoredRun, known: KnownRun, alive: Mapping[str, bool], rows: RunRows) -> None:
    """Summarise the points that the catalog does not have."""
    positions = {name: writer.points for name, writer in known.writers.items()}
    ends = {name: positions.get(name, 0) for name in alive}
    if run.visibility is not None:  # what does not count is passed over too
        for writer in run.writers():
            if writer.writer in alive or writer.role == INHERITED:
                ends[writer.writer] = max(ends.get(writer.writer, 0), writer.position.points)
    for name, points in run.read_points(positions):
        if name in ends:
            rows.summaries.add(points)
            rows.last_point = max(rows.last_point, int(points.times.max()))
            ends[name] = max(ends[name], int(points.seqs[-1]) + 1)
    rows.writers = {
        name: KnownWriter("" if name in alive else INHERITED, alive.get(name, False), name not in alive, 0, end, False)
        for name, end in ends.items()
    }


def _take_writer(
    run: StoredRun, name: str, alive: Mapping[str, bool], known: KnownWriter | None, rows: RunRows
) -> None:
    """How far the writer is read now, and where its points are.

    ``alive`` is from before the points were read: a writer that died since is read again.
    """
    state, points = run.state.writers[name], rows.writers[name].points
    kept = known.kept if known is not None else False
    if not kept:
        segments = segments_of(run.folder, name)
        rows.segments += [(name, found.first, found.last) for found, _ in segments]
        if not alive[name] and not segments and 0 < points < SEAL_POINTS_MIN:
            kept = True
            rows.kept += [piece for _, piece in run.read_points(writer=name)]
    rows.writers[name] = KnownWriter(state.role, alive[name], state.ended, state.events, points, kept)


def _is_settled(state: WriterState, now_ns: int) -> bool:
    """Whether the writer is dead for sure. Its events were read after that check, so none of them is missed."""
    if not state.opened:
        return False
    if state.locked or state.ended or state.host == socket.gethostname():
        return True
    return now_ns - state.last_time > FOREIGN_WRITER_SILENT_NS


def still_fits(run: StoredRun) -> bool:
    """Whether an earlier reading can be continued: none of its events files was removed or shortened."""
    for name, state in run.state.writers.items():
        with suppress(OSError):
            if os.stat(run.folder.events / f"{name}.jsonl").st_size >= state.end_byte:
                continue
        return False
    return True


def metric_column(points: PointColumns) -> pa.DictionaryArray:
    """The points' metrics as Arrow, with only the names that occur: a run may have many more."""
    used, codes = np.unique(points.codes, return_inverse=True)
    names = text_column([points.keys[code] for code in used])
    return pa.DictionaryArray.from_arrays(arrow_columns.array_column(codes, pa.int32()), names)


def text_column(values: Sequence[str | None]) -> pa.Array:
    """Text as Arrow; lone surrogates, which a database can't store, as escapes."""
    try:
        return arrow_columns.text_column(values)
    except UnicodeEncodeError:
        return arrow_columns.text_column([encodable(v) for v in values])


def map_column(values: Sequence[Sequence[tuple[str, str]]]) -> pa.Array:
    """Keys and their values, all text, as Arrow; lone surrogates as in ``text_column``."""
    try:
        return arrow_columns.map_column(values)
    except UnicodeEncodeError:
        rows = [[(encodable(key), encodable(value)) for key, value in pairs] for pairs in values]
        return arrow_columns.map_column(rows)
