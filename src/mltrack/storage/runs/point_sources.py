"""Where a run's points are: with its own writers and, of a fork, with writers of other runs; only those that count.

This is the one place where points are read for an answer: what a rewind hides leaves no other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from mltrack.disk.layout import RunFolder
from mltrack.disk.segment import BLOCK_ROWS
from mltrack.entities import Position, WriterInfo
from mltrack.errors import CorruptionError
from mltrack.journal.reader import read_key, read_key_bounds, read_points, segments_of
from mltrack.storage.runs.state import RunState, WriterState
from mltrack.storage.runs.visibility import SYSTEM_METRICS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from mltrack.disk.segment import PointColumns
    from mltrack.disk.segment_metric import GroupBounds
    from mltrack.storage.runs.visibility import Inherited, PointRule

__all__ = ["INHERITED", "PointSource", "PointSources"]

INHERITED = "inherited"
"""The role of another run's writer in a fork."""


class _OfJournals(TypedDict):
    whole: bool
    named_only: bool


@dataclass(frozen=True, slots=True)
class PointSource:
    """One writer's points: the run that has its files, the writer, and what of it counts (None: all)."""

    state: RunState
    writer: str
    rule: PointRule | None = None

    @property
    def of(self) -> WriterState:
        """What the run's events say of the writer; of another run they are read when this is first asked for."""
        if self.writer not in self.state.writers:
            self.state.update()
        return self.state.writers[self.writer]

    @property
    def folder(self) -> RunFolder:
        """The folder of the run that has its files."""
        return self.state.folder

    def read(self, first: int, damage: list[CorruptionError], rows_max: int = BLOCK_ROWS) -> Iterator[PointColumns]:
        """Its points that count, with a seq of at least ``first``, in the order of logging.

        Args:
            first: The seq to start from.
            damage: Gets the damage found.
            rows_max: Pieces hold up to so many points.
        """
        pieces = read_points(
            self.folder,
            self.writer,
            self._keys,
            first=first,
            **self._of_journals(),
            damage=damage,
            rows_max=rows_max,
            end=None if self.rule is None else self.rule.end,
            needless=None if self.rule is None else self.rule.hides_all,
        )
        return pieces if self.rule is None else _counting(pieces, self.rule)

    def read_key(self, key: str, damage: list[CorruptionError], *, with_seqs: bool = False) -> list[pa.Table]:
        """Its points of one metric that count, in the order of logging.

        Args:
            key: The metric's name.
            damage: Gets the damage found.
            with_seqs: Whether the tables have the columns ``seq, step, time, value``, or only the last three.
        """
        rule = self.rule
        if rule is not None and key.startswith(SYSTEM_METRICS):
            if rule.end is not None:
                return []
            rule = None
        return read_key(
            self.folder,
            self.writer,
            key,
            self._keys,
            **self._of_journals(),
            damage=damage,
            rule=rule,
            with_seqs=with_seqs,
        )

    def read_bounds(self, key: str, damage: list[CorruptionError]) -> list[GroupBounds] | None:
        """The bounds of its points of one metric, from summaries on disk; None where these do not tell."""
        if self.rule is not None:
            return None
        return read_key_bounds(self.folder, self.writer, key, damage=damage)

    def _of_journals(self) -> _OfJournals:
        """How its journals are to be read: so no events need be read of another run whose points are in segments."""
        end = None if self.rule is None else self.rule.end
        if end is not None and any(name.last + 1 >= end for name, _ in segments_of(self.folder, self.writer)):
            return {"whole": True, "named_only": False}  # what counts was logged before the fork, and is sealed
        return {"whole": not self.of.alive, "named_only": not self.of.damaged}

    def _keys(self, number: int) -> Sequence[str]:
        if number >= len(self.of.keys):
            self.state.update()  # a name is stored before its first point
        return self.of.keys


class PointSources:
    """The sources of one run, as its events say."""

    def __init__(self, state: RunState, damage: list[CorruptionError]) -> None:
        """``damage`` gets what is missing of other runs."""
        self._state = state
        self._damage = damage
        self._others: dict[str, RunState] = {}
        self._missing: set[tuple[str, str]] = set()

    def all(
        self, damage: list[CorruptionError] | None = None, *, rewinds: Collection[str] | None = None
    ) -> list[PointSource]:
        """All sources, those of other runs first; ``damage`` gets what is missing, instead of the run's own list.

        ``rewinds``: as if these were in force, and no others.
        """
        visibility = self._state.visibility
        if visibility is None:
            return [PointSource(self._state, writer) for writer in self._state.writers]
        if rewinds is not None:
            visibility = visibility.with_rewinds(rewinds)
        found = [(self._other(one, damage), one.writer) for one in self._inherited()]
        found += [(self._state, writer) for writer in self._state.writers]
        return [PointSource(state, writer, visibility.points_of(writer)) for state, writer in found if state]

    def inherited_writers(self) -> list[WriterInfo]:
        """The writers of other runs, as far as they count for this one."""
        found = []
        for one in self._inherited():
            state = self._other(one, None)
            of = None if state is None else PointSource(state, one.writer).of
            host, pid, opened = (of.host, of.pid, of.opened) if of else ("", 0, 0)
            found.append(WriterInfo(one.writer, INHERITED, host, pid, opened, True, False, Position(0, one.points)))
        return found

    def _inherited(self) -> list[Inherited]:
        visibility = self._state.visibility
        if visibility is None:
            return []
        own = self._state.writers
        return [one for one in visibility.inherited.values() if one.points and one.writer not in own]

    def _other(self, one: Inherited, damage: list[CorruptionError] | None) -> RunState | None:
        """The state of another run, whose events may not be read yet; None if the store does not have the writer."""
        folder = RunFolder(self._state.folder.path.with_name(one.run_id))
        if (folder.events / f"{one.writer}.jsonl").exists():
            state = self._others.get(one.run_id)
            if state is None:
                state = self._others[one.run_id] = RunState(folder)
            return state
        error = _missing(self._state.folder.run_id, folder, one)
        if damage is not None:
            damage.append(error)
        elif (one.run_id, one.writer) not in self._missing:
            self._missing.add((one.run_id, one.writer))
            self._damage.append(error)
        return None


def _missing(run_id: str, other: RunFolder, one: Inherited) -> CorruptionError:
    """The error for another run, or its writer, that a fork needs and the store does not have."""
    path = other.events / f"{one.writer}.jsonl" if other.path.exists() else other.path
    return CorruptionError(
        f"{path}: is missing; run {run_id} was forked from it",
        path=str(path),
        hint=f"copy run {one.run_id} into this store: what was logged before the fork is with it",
    )


def _counting(pieces: Iterator[PointColumns], rule: PointRule) -> Iterator[PointColumns]:
    for points in pieces:
        visible = rule.visible(points)
        kept = points if visible is None else points.take(_one_range(visible))
        if len(kept):
            yield kept


def _one_range(visible: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_] | slice:
    """As a slice, which takes no copy, where it is one range; so it is where a training went on past a fork's step."""
    count, first = int(visible.sum()), int(visible.argmax())
    return slice(first, first + count) if visible[first : first + count].all() else visible
