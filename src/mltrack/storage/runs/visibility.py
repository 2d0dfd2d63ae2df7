"""Which points of a run count: a rewind hides some of those before it, and a fork begins with those of other runs.

Nothing is removed. A rewind to step N says how far each writer had gone (marks of positions): what lies before these
and has a greater step than N is hidden, what is logged later is not, whatever its step and its time. System metrics
are not hidden, as their steps count samples. A point counts if no rewind that is in force hides it.

A fork says which writers of which runs it continues, up to which position each, and what was hidden of them: so
nothing that happens to these runs later changes it, and reading a fork of a fork needs no other run's events.

While a run's own writers are copied next to a stand-in, the points of either are hidden (disk/arriving.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from mltrack.disk.fields import STEP_MAX

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from mltrack.disk.segment import PointColumns
    from mltrack.disk.segment_file import GroupRange

__all__ = ["SYSTEM_METRICS", "Fork", "Hidden", "Inherited", "Mark", "PointRule", "Rewind", "Visibility"]

SYSTEM_METRICS = "system/"
"""The prefix of system metrics, whose steps count samples."""

_AFTER_SYSTEM_METRICS = "system0"
"""The first name after all that begin with the prefix."""


class Mark(NamedTuple):
    """How far a writer had gone: the seq after its last event, point and line of series."""

    events: int = 0
    points: int = 0
    series: int = 0


class Hidden(NamedTuple):
    """What has a seq below ``end`` and a greater step than ``step``."""

    end: int
    step: int

    def has(self, seq: int, step: int) -> bool:
        """Whether it hides this."""
        return seq < self.end and step > self.step


@dataclass(frozen=True, slots=True)
class Rewind:
    """A rewind: to which step, when (ns), how far each writer had gone, and whether it was undone."""

    rewind_id: str
    step: int
    time: int
    at: Mapping[str, Mark]
    undone: bool = False


@dataclass(frozen=True, slots=True)
class Inherited:
    """A writer of another run, whose points below the seq ``points`` a fork begins with, but for those ``hidden``.

    All points from there up to the seq ``seen`` have a greater step than one of ``hidden``, whichever is the least.
    """

    run_id: str
    writer: str
    points: int
    hidden: tuple[Hidden, ...] = ()
    seen: int = 0


@dataclass(frozen=True, slots=True)
class Fork:
    """Where a run was forked from: the parent, the step, and all that its history consists of."""

    run_id: str
    step: int
    history: tuple[Inherited, ...] = ()

    @property
    def sources(self) -> list[str]:
        """The ids of the runs whose files this one needs."""
        return list(dict.fromkeys(one.run_id for one in self.history if one.points))


@dataclass(frozen=True, slots=True)
class Visibility:
    """What counts of a run with rewinds, of a fork, or while writers of a run (``hidden``) are being replaced."""

    rewinds: tuple[Rewind, ...] = ()
    fork: Fork | None = None
    hidden: frozenset[str] = frozenset()

    @property
    def in_force(self) -> list[Rewind]:
        """The rewinds that were not undone, in order."""
        return [rewind for rewind in self.rewinds if not rewind.undone]

    @property
    def inherited(self) -> dict[str, Inherited]:
        """The writers of other runs, by name."""
        return {} if self.fork is None else {one.writer: one for one in self.fork.history}

    @property
    def token(self) -> str:
        """A text that changes when another set of points counts; empty for all of the run's own."""
        rewinds = sorted(rewind.rewind_id for rewind in self.in_force)
        if not rewinds and self.fork is None and not self.hidden:
            return ""
        history = [] if self.fork is None else [list(one) for one in map(_plain, self.fork.history)]
        hidden = [sorted(self.hidden)] if self.hidden else []
        return hashlib.sha256(json.dumps([rewinds, history, *hidden]).encode()).hexdigest()[:32]

    def points_of(self, writer: str) -> PointRule | None:
        """What counts of a writer's points; None: all."""
        if writer in self.hidden:
            return PointRule((), end=0)
        hidden = [Hidden(rewind.at[writer].points, rewind.step) for rewind in self.in_force if writer in rewind.at]
        inherited = self.inherited.get(writer)
        if inherited is not None:
            return PointRule([*inherited.hidden, *hidden], end=inherited.points, seen=inherited.seen)
        return PointRule(hidden) if any(one.end for one in hidden) else None

    def with_rewinds(self, rewind_ids: Iterable[str]) -> Visibility:
        """The same with these rewinds in force and no others, and no writer hidden."""
        wanted = set(rewind_ids)
        return Visibility(
            tuple(Rewind(r.rewind_id, r.step, r.time, r.at, r.rewind_id not in wanted) for r in self.rewinds),
            self.fork,
        )

    def hides_line(self, writer: str, seq: int, step: int) -> bool:
        """Whether a line of a writer's series is hidden."""
        return any(
            Hidden(rewind.at[writer].series, rewind.step).has(seq, step)
            for rewind in self.in_force
            if writer in rewind.at
        )

    def hides_image(self, writer: str, seq: int, step: int) -> bool:
        """Whether an image is hidden that an event of a writer has stored."""
        return any(
            Hidden(rewind.at[writer].events, rewind.step).has(seq, step)
            for rewind in self.in_force
            if writer in rewind.at
        )


def _plain(one: Inherited) -> tuple[Any, ...]:
    return (one.run_id, one.writer, one.points, [list(hidden) for hidden in one.hidden])


@dataclass(slots=True)
class PointRule:
    """What counts of one writer's points: none from seq ``end`` on, and none that is hidden.

    With an ``end`` the points are another run's, whose system metrics do not count. Those from there up to ``seen``
    have a greater step than the least of what was hidden when that was noted: so their steps alone tell, too.
    """

    hidden: Iterable[Hidden]
    end: int | None = None
    seen: int = 0
    _ends: npt.NDArray[np.int64] | None = field(default=None, repr=False)
    _limits: npt.NDArray[np.int64] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Keep of what is hidden only what nothing else hides already, by ``end``."""
        stairs: list[Hidden] = []
        for one in sorted(self.hidden, key=lambda one: (-one.end, one.step)):
            if one.end and (not stairs or one.step < stairs[-1].step):
                stairs.append(one)
        self.hidden = tuple(reversed(stairs))

    def hides_all(self, rows: GroupRange) -> bool:
        """Whether none of the rows of a row group with these bounds counts."""
        if self.end is not None and rows.seq_min >= self.end:
            return True
        if self.end is None and rows.metric_min < _AFTER_SYSTEM_METRICS and rows.metric_max >= SYSTEM_METRICS:
            return False
        return any(rows.seq_max < one.end and rows.step_min > one.step for one in self.hidden)

    def step_limit(self, rows: GroupRange) -> int | None:
        """Up to which step the rows of a row group with these bounds count, but for system metrics.

        None where that depends on the seq of each.
        """
        last, least = rows.seq_max, STEP_MAX
        if self.end is not None and last >= self.end:
            if last >= self.seen:
                return None
            last = self.end - 1
            least = min((one.step for one in self.hidden), default=STEP_MAX)
        limit = STEP_MAX
        for one in self.hidden:
            if last < one.end:
                limit = min(limit, one.step)
            elif rows.seq_min < one.end and rows.step_max > one.step:
                return None
        return limit if limit <= least else None

    def visible(self, points: PointColumns) -> npt.NDArray[np.bool_] | None:
        """Which of a writer's points count; None: all of them."""
        import numpy as np

        system = [code for code, key in enumerate(points.keys) if key.startswith(SYSTEM_METRICS)]
        of_system = np.isin(points.codes, system) if system else None
        below = self.below(points.seqs, points.steps)
        if self.end is None:
            return below if below is None or of_system is None else below | of_system
        if of_system is None or not of_system.any():
            return below
        return ~of_system if below is None else below & ~of_system

    def counting(self, seqs: npt.NDArray[np.int64], steps: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_] | None:
        """Which of these positions and steps count, in the order of seq, but for system metrics; None: all of them."""
        import numpy as np

        if self.end is None or not len(seqs) or int(seqs[-1]) < self.end:
            return self.below(seqs, steps)
        count = int(np.searchsorted(seqs, self.end))
        found = np.zeros(len(seqs), np.bool_)
        below = self.below(seqs[:count], steps[:count])
        found[:count] = True if below is None else below
        return found

    def below(self, seqs: npt.NDArray[np.int64], steps: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_] | None:
        """Which of these positions and steps are not hidden, whatever the metric; None: none is hidden."""
        import numpy as np

        if self._ends is None or self._limits is None:
            stairs = tuple(self.hidden)
            self._ends = np.array([one.end for one in stairs], np.int64)
            self._limits = np.array([*(one.step for one in stairs), np.iinfo(np.int64).max], np.int64)
        if not len(seqs) or not len(self._ends) or int(seqs[0]) >= int(self._ends[-1]):
            return None
        if int(steps.max()) <= int(self._limits[0]):
            return None
        stairs = np.searchsorted(seqs, self._ends).tolist()  # rows, which are in the order of seq, up to each end
        visible = np.empty(len(seqs), np.bool_)
        for limit, first, end in zip(self._limits.tolist(), [0, *stairs], [*stairs, len(seqs)], strict=True):
            np.less_equal(steps[first:end], limit, out=visible[first:end])
        return visible
