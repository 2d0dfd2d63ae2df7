"""Rewinding a run, undoing that, and what a fork of a run consists of: events, nothing of the points is touched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mltrack.disk.filesystem import LOCAL, FileSystem
from mltrack.errors import UsageError
from mltrack.journal.rich_series import SERIES_FOLDER
from mltrack.storage.runs.edit import append_events, not_written
from mltrack.storage.runs.point_sources import PointSource
from mltrack.storage.runs.state import RunState
from mltrack.storage.runs.stored_run import StoredRun
from mltrack.storage.runs.visibility import SYSTEM_METRICS, Hidden, PointRule
from mltrack.values.scalars import integer

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from mltrack.disk.layout import Layout, RunFolder
    from mltrack.disk.segment import PointColumns
    from mltrack.storage.runs.visibility import Rewind

__all__ = [
    "COPIED_FROM",
    "fork_event",
    "fork_stand_ins",
    "is_rewound_already",
    "rewind_event",
    "rewind_run",
    "undo_rewind",
]

COUNT_BYTES = 1 << 20

COPIED_FROM = "run:"
"""The origin of what a fork was given before it began, with the parent's id."""


def rewind_event(run: StoredRun, step: int) -> dict[str, Any]:
    """The event that hides all points, and values of series, that the run has now and that have a greater step.

    Raises:
        InvalidMetricError: the step is not a 64-bit integer.
    """
    step = integer("step", step)
    series = run.folder.path / SERIES_FOLDER
    return {
        "type": "rewind",
        "step": step,
        "at": {
            writer.writer: [*writer.position, _count_lines(series / f"{writer.writer}.jsonl")]
            for writer in run.writers()
        },
    }


def _count_lines(path: Path) -> int:
    """How many whole lines a file has: their numbers are below this."""
    count = 0
    try:
        with open(path, "rb") as file:
            while data := file.read(COUNT_BYTES):
                count += data.count(b"\n")
    except FileNotFoundError:
        return 0
    return count


def rewind_run(layout: Layout, run_id: str, step: int, *, fs: FileSystem = LOCAL) -> None:
    """Rewind a run, which may be live. On return it survives power loss.

    Args:
        layout: The store.
        run_id: The run's id.
        step: The last step that counts of what was logged so far.
        fs: The file system to write with.

    Raises:
        NotFoundError: there is no such run.
        InvalidMetricError: the step is not a 64-bit integer.
        StoreError: it can't be written.
    """
    run = StoredRun(layout.run(run_id))
    event = rewind_event(run, step)
    before = len(_rewinds(run.state))
    if len(_rewinds(append_events(layout, run_id, event, fs))) <= before:
        raise not_written(layout, run_id)


def undo_rewind(layout: Layout, run_id: str, *, fs: FileSystem = LOCAL) -> Rewind:
    """Undo the last rewind of a run that is in force, and return it. On return that survives power loss.

    Raises:
        NotFoundError: there is no such run.
        UsageError: no rewind of it is in force.
        StoreError: it can't be written.
    """
    visibility = StoredRun(layout.run(run_id)).visibility
    in_force = visibility.in_force if visibility is not None else []
    if not in_force:
        raise UsageError(f"run {run_id} has no rewind to undo", hint=f"see: mltrack show {run_id}")
    last = in_force[-1]
    state = append_events(layout, run_id, {"type": "undo_rewind", "rewind": last.rewind_id}, fs)
    if any(rewind.rewind_id == last.rewind_id and not rewind.undone for rewind in _rewinds(state)):
        raise not_written(layout, run_id)
    return last


def _rewinds(state: RunState) -> tuple[Rewind, ...]:
    return () if state.visibility is None else state.visibility.rewinds


def is_rewound_already(folder: RunFolder, step: int) -> bool:
    """Whether a process that lives has resumed the run with a rewind to this step.

    Then it is another process of the same job, and what it has logged since is not to be hidden. Only a writer of
    which it is certain that it lives counts: one that holds its file's lock, or whose process is on this host.
    """
    import socket

    state = RunState(folder)
    state.update()
    here = socket.gethostname()
    living = {
        writer.writer
        for writer in state.writers.values()
        if writer.alive and not writer.ended and writer.role == "resume" and writer.elsewhere is None
        if writer.locked or writer.host == here
    }
    firsts = {f"{writer}.1" for writer in living}  # the event after the one that names the writer
    return any(not one.undone and one.step == step and one.rewind_id in firsts for one in _rewinds(state))


def fork_event(run: StoredRun, step: int) -> dict[str, Any]:
    """The event that makes a new run a fork of ``run``: with all points up to ``step`` that it has now.

    But for those of stand-ins, which will go: ``fork_stand_ins`` copies these.

    Raises:
        InvalidMetricError: the step is not a 64-bit integer.
        CorruptionError: a file with its points is damaged.
    """
    step = integer("step", step)
    history = []
    for source in run.point_sources():
        end = 0 if _is_stand_in(source) else _end_of_history(source, step)
        if end:
            history.append(_inherited(source, end, step))
    return {"type": "fork", "run_id": run.run_id, "step": step, "history": history}


def fork_stand_ins(run: StoredRun, step: int, layout: Layout, fork_id: str, *, fs: FileSystem = LOCAL) -> None:
    """Copy points of stand-ins into a fork, up to the step: they are removed when the run's own writers come.

    Args:
        run: The parent, as ``fork_event`` read it.
        step: The step that it was forked at.
        layout: The store.
        fork_id: The fork, which begins after this.
        fs: The file system to write with.

    Raises:
        CorruptionError: a file with the points is damaged.
        StoreError: the disk refuses.
    """
    from mltrack.storage.runs.imported import RunImport

    damage: list[Any] = []
    sources = [source for source in run.point_sources() if _is_stand_in(source)]
    if not sources:
        return
    writer = RunImport(layout, fork_id, f"{COPIED_FROM}{run.run_id}", fs=fs)
    whole = False
    try:
        for source in sources:
            for points in source.read(0, damage):
                mine = points.take(_up_to(points, step))
                writer.log_rows(mine.keys, mine.codes.astype("int64"), mine.values, mine.steps, mine.times)
        whole = not damage
    finally:
        writer.close(whole=whole)
    if damage:
        raise damage[0]


def _is_stand_in(source: PointSource) -> bool:
    from mltrack.storage.runs.stand_ins import may_stand_in

    return may_stand_in(source.folder.events / f"{source.writer}.jsonl")


def _inherited(source: PointSource, end: int, step: int) -> dict[str, Any]:
    hidden = [*(() if source.rule is None else source.rule.hidden), Hidden(end, step)]
    seen = _seen(source, end, min(one.step for one in PointRule(hidden).hidden))
    return {
        "run_id": source.folder.run_id,
        "writer": source.writer,
        "points": end,
        "hidden": [list(one) for one in hidden],
        **({"seen": seen} if seen > end else {}),
    }


def _seen(source: PointSource, end: int, step: int) -> int:
    """Up to which seq all that a writer has logged from ``end`` on has a greater step, but for system metrics.

    It is ``end`` where a file is damaged: the fork needs none of these points.
    """
    damage: list[Any] = []
    seen = end
    for points in PointSource(source.state, source.writer).read(end, damage):
        mine = _up_to(points, step)
        if len(mine):
            seen = int(points.seqs[mine[0]])
            break
        seen = int(points.seqs[-1]) + 1
    return end if damage else seen


def _end_of_history(source: PointSource, step: int) -> int:
    """The seq after the last point of a writer that a fork at a step begins with; 0 if there is none."""
    damage: list[Any] = []
    end = 0
    for points in source.read(0, damage):
        mine = _up_to(points, step)
        if len(mine):
            end = int(points.seqs[mine[-1]]) + 1
    if damage:
        raise damage[0]
    return end


def _up_to(points: PointColumns, step: int) -> npt.NDArray[np.int64]:
    """The indices of those that a fork at a step begins with."""
    import numpy as np

    system = [code for code, key in enumerate(points.keys) if key.startswith(SYSTEM_METRICS)]
    mine = points.steps <= step
    if system:
        mine &= ~np.isin(points.codes, system)
    return np.flatnonzero(mine)
