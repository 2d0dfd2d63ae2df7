"""Points that stand in for a run's own writers, until these arrive: then they go, so that no point is there twice.

A server gives the points of a run that mltrack pushed to it, but neither its writers nor their positions. What is
pulled of such a run is a writer of its own, which says that it stands in. When the run's own writers come from another
store, points that they have are taken out of it; what is only there (others added it on the server) stays.
"""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mltrack.disk.arriving import ArrivingWriters, read_arriving, write_arriving
from mltrack.disk.fields import TIME_MAX
from mltrack.disk.filesystem import LOCAL, FileSystem, reading
from mltrack.disk.jsonlog import JsonLog
from mltrack.disk.line_types import EVENTS
from mltrack.errors import NotFoundError
from mltrack.journal.reader import segments_of
from mltrack.storage.runs.imported import RunImport
from mltrack.storage.runs.stored_run import StoredRun

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt

    from mltrack.disk.layout import Layout, RunFolder
    from mltrack.disk.segment import PointColumns
    from mltrack.entities import Event

    Hashes = npt.NDArray[np.uint64]

__all__ = ["STANDS_IN", "doubled_points", "hide_arriving", "may_have_stand_ins", "may_stand_in", "replace_stand_ins"]

HEAD_BYTES = 4096

STANDS_IN = b'"stand_in"'
"""What the first line of one holds."""

OWN_ROLES = ("create", "resume", "fork")
NS_PER_MS = 1_000_000
_KEYED = {"param": ("key",), "tag": ("key",), "artifact": ("path",), "dataset": ("name", "digest")}
"""Facts that a stand-in may have and the run's own writers not, and what names each."""

_MIX = tuple(map(np.uint64, (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)))


def hide_arriving(layout: Layout, run_id: str, writers: Collection[str], *, fs: FileSystem = LOCAL) -> None:
    """Let writers that are about to be copied not count before replace_stand_ins.

    Args:
        layout: The store.
        run_id: The run.
        writers: The writers' names.
        fs: The file system to write with.

    Raises:
        StoreError, OSError: the disk refuses.
    """
    folder = layout.run(run_id)
    found = read_arriving(folder.path)
    if found.replaced:
        found = _cleared(folder, found, fs)
    if not found.arriving.issuperset(writers):
        write_arriving(folder.path, replace(found, arriving=found.arriving.union(writers)), fs=fs)


def replace_stand_ins(layout: Layout, run_id: str, *, fs: FileSystem = LOCAL) -> int:
    """Take out of stand-ins what the run's other writers have; returns how many points that were.

    What is left goes to a new stand-in. In one step, that and the run's own writers count, and the old one does not any
    more; then it is removed. After a kill in between the next time finishes it.

    Args:
        layout: The store.
        run_id: The run.
        fs: The file system to write with.

    Raises:
        StoreError, OSError: the disk refuses.
    """
    folder = layout.run(run_id)
    arriving = read_arriving(folder.path)
    if not arriving.hidden and not may_have_stand_ins(folder.events):
        return 0
    try:
        if arriving.made or arriving.replaced:
            arriving = _cleared(folder, arriving, fs)
        run = StoredRun(folder)
    except NotFoundError:
        return 0
    events = run.read_events()
    found = {event.writer: event for event in events if event.type == "writer" and event.fields.get("stand_in")}
    done: list[str] = []
    taken = 0
    if any(writer.role in OWN_ROLES for writer in run.state.writers.values()):
        for writer in sorted(found):
            count = _take_out(layout, StoredRun(folder), found[writer], done, fs)
            if count is not None:
                done.append(writer)
                taken += count
    if done:
        write_arriving(folder.path, ArrivingWriters(replaced=frozenset(done)), fs=fs)
    if done or arriving.hidden:
        _cleared(folder, ArrivingWriters(replaced=frozenset(done)), fs)
    return taken


def doubled_points(folder: RunFolder) -> int:
    """How many points of stand-ins a run's own writers have too, and readers show twice: it was merged by hand.

    None while a copy is about to replace them.

    Raises:
        CorruptionError: a file with points is damaged.
    """
    if read_arriving(folder.path).hidden or not may_have_stand_ins(folder.events):
        return 0
    try:
        run = StoredRun(folder)
    except NotFoundError:
        return 0
    events = run.read_events()
    found = {event.writer for event in events if event.type == "writer" and event.fields.get("stand_in")}
    if not found or not any(writer.role in OWN_ROLES for writer in run.state.writers.values()):
        return 0
    held = _hashes(points for name, points in run.read_points(rewinds=()) if name not in found)
    return sum(int((~_missing(points, held)).sum()) for name, points in run.read_points(rewinds=()) if name in found)


def _cleared(folder: RunFolder, found: ArrivingWriters, fs: FileSystem) -> ArrivingWriters:
    """Remove writers that were replaced, or that were to replace others before a kill; returns what is left."""
    run = StoredRun(folder)
    for writer in sorted((found.made | found.replaced) & run.state.writers.keys()):
        _remove(run, writer, fs)
    left = ArrivingWriters(found.arriving)
    write_arriving(folder.path, left, fs=fs)
    return left


def may_have_stand_ins(events: Path) -> bool:
    """Whether a writer may be one, by the first line of each: few runs have any, and none is read for this."""
    try:
        names = os.listdir(events)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return any(may_stand_in(f"{events}/{name}") for name in names)


def may_stand_in(path: str | os.PathLike[str]) -> bool:
    """Whether the writer of an events file may be one: its first line says so, or is not there yet."""
    with contextlib.suppress(OSError), reading(path, follow=False) as file:
        first, newline, _ = file.read(HEAD_BYTES).partition(b"\n")
        return not newline or STANDS_IN in first
    return False


def _take_out(layout: Layout, run: StoredRun, opened: Event, done: Collection[str], fs: FileSystem) -> int | None:
    """How many of a stand-in's points others have, but those ``done``; what is left goes to a new one.

    None where no point of it is here otherwise: the run's own come later.
    """
    writer = opened.writer
    others = (points for name, points in run.read_points(rewinds=()) if name != writer and name not in done)
    held = _hashes(others)
    left, count, total = [], 0, 0
    for name, points in run.read_points(rewinds=()):
        if name != writer:
            continue
        mine = _missing(points, held)
        total += len(mine)
        count += int(mine.sum())
        left += [_columns(points, mine, key) for key in _keys(points, mine)]
    if count == total and total:
        return None
    facts = _own_facts(run.read_events(), writer)
    if left or facts:
        origin = str(opened.fields.get("origin", ""))
        new = RunImport(layout, run.run_id, origin, not_before=run.state.last_time, fs=fs, stand_in=True)
        whole = False
        try:
            known = read_arriving(run.folder.path)
            write_arriving(run.folder.path, replace(known, made=known.made | {new.writer}), fs=fs)
            new.add(*facts)
            for key, values, steps, times in left:
                new.log(key, values, steps, times)
            whole = True
        finally:
            new.close(whole=whole)
    return total - count


def _remove(run: StoredRun, writer: str, fs: FileSystem) -> None:
    """Its points first: as long as its events are there, what is left of it is removed the next time.

    Before them, its last line takes back how many points it has: a kill leaves nothing that seems to be lost.
    """
    folder = run.folder
    events = [event for event in run.read_events() if event.writer == writer]
    if events:  # else it was killed with its first line
        log = JsonLog(folder.events / f"{writer}.jsonl", records=EVENTS, fs=fs)
        try:
            last = events[-1]
            log.append([{"seq": last.seq + 1, "time": min(last.time + 1, TIME_MAX), "type": "close", "points": 0}])
            log.sync()
        finally:
            log.close()
    names = [path for _, path in segments_of(folder, writer)]
    names += sorted(folder.points.glob(f"{writer}.*.points"))
    for path in names:
        with contextlib.suppress(FileNotFoundError):
            fs.unlink(path)
    for parent in (folder.segments, folder.points):
        if parent.is_dir():
            fs.sync_folder(parent)
    fs.unlink(folder.events / f"{writer}.jsonl")
    fs.sync_folder(folder.events)


def _own_facts(events: list[Event], writer: str) -> list[dict[str, Any]]:
    """What only this writer says: what somebody added on the server."""
    others = {_name(event) for event in events if event.writer != writer and event.type in _KEYED}
    mine = [event for event in events if event.writer == writer and event.type in _KEYED]
    return [{"type": event.type, **event.fields} for event in mine if _name(event) not in others]


def _name(event: Event) -> tuple[Any, ...]:
    return (event.type, *(event.fields.get(field) for field in _KEYED[event.type]))


# --- points ---


def _hashes(pieces: Iterator[PointColumns]) -> Mapping[str, Hashes]:
    """By metric, the hashes of points as a server keeps them, in order."""
    found: dict[str, list[Hashes]] = defaultdict(list)
    for points in pieces:
        hashes = _hash(points)
        for code in np.unique(points.codes):
            found[points.keys[int(code)]].append(hashes[points.codes == code])
    return {key: np.sort(np.concatenate(parts)) for key, parts in found.items()}


def _missing(points: PointColumns, held: Mapping[str, Hashes]) -> npt.NDArray[np.bool_]:
    """Which of these points the other writers do not have."""
    hashes, missing = _hash(points), np.ones(len(points.values), np.bool_)
    for code in np.unique(points.codes):
        known, mine = held.get(points.keys[int(code)]), points.codes == code
        if known is not None:
            at = np.minimum(np.searchsorted(known, hashes[mine]), len(known) - 1)
            missing[mine] = known[at] != hashes[mine]
    return missing


def _keys(points: PointColumns, which: npt.NDArray[np.bool_]) -> list[str]:
    return [points.keys[int(code)] for code in np.unique(points.codes[which])]


def _columns(points: PointColumns, which: npt.NDArray[np.bool_], key: str) -> tuple[str, Any, Any, Any]:
    codes = [code for code, name in enumerate(points.keys) if name == key]
    mine = which & np.isin(points.codes, codes)
    return key, points.values[mine].copy(), points.steps[mine].copy(), points.times[mine].copy()


def _hash(points: PointColumns) -> Hashes:
    """Equal for points that a server keeps as one: of one step, ms and value, infinities as its largest numbers."""
    limit = np.finfo(np.float64).max
    values = np.clip(points.values, -limit, limit) + 0.0
    values = np.where(np.isnan(values), np.nan, values)
    mixed = np.zeros(len(values), np.uint64)
    for part, factor in zip((points.steps, points.times // NS_PER_MS, values), _MIX, strict=True):
        mixed = (mixed ^ np.ascontiguousarray(part).view(np.uint64)) * factor
        mixed ^= mixed >> np.uint64(29)
    return mixed
