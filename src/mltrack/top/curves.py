"""The points of runs for charts: read once, then only what is new; of many millions first their bounds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mltrack.disk.arrow_columns import column_array

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from mltrack.disk.segment import PointColumns
    from mltrack.disk.segment_metric import GroupBounds
    from mltrack.errors import CorruptionError
    from mltrack.storage.runs.stored_run import StoredRun

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

__all__ = ["Bounds", "Curve", "RunCurves"]

SMALL_POINTS = 200_000
"""A run with no more points is read at once, with all its metrics."""

LARGE_POINTS = 500_000
"""A run with more points has its bounds read first."""


class Bounds(NamedTuple):
    """Pieces of a curve: where each begins and ends by step and by time (ns), its least and its greatest value."""

    points: int
    step_min: Floats
    step_max: Floats
    time_min: Floats
    time_max: Floats
    low: Floats
    high: Floats

    @classmethod
    def of(cls, groups: Sequence[GroupBounds]) -> Bounds:
        """From those of row groups."""
        columns = np.array([group[1:] for group in groups], np.float64).reshape(-1, 6).T
        return cls(sum(group.points for group in groups), *columns)


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One metric of one run: its points, times in ns, in the order of logging; or only the bounds of pieces of it.

    ``memo`` keeps what was computed from it.
    """

    steps: Ints
    times: Ints
    values: Floats
    bounds: Bounds | None = None
    memo: dict[object, object] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many points it has."""
        return len(self.values) if self.bounds is None else self.bounds.points


_NO_INTS, _NO_FLOATS = np.empty(0, np.int64), np.empty(0, np.float64)


class _Growing:
    """Points that more are added to; what was handed out stays as it is."""

    def __init__(self) -> None:
        self._length = 0
        self._steps, self._times, self._values = _NO_INTS, _NO_INTS, _NO_FLOATS
        self._curve: Curve | None = None

    def add(self, steps: Ints, times: Ints, values: Floats) -> None:
        """Add points at the end."""
        end = self._length + len(steps)
        if end > len(self._steps):
            room = max(end, 2 * len(self._steps), 1024) if self._length else end
            self._steps, self._times, self._values = (
                np.concatenate([old[: self._length], np.empty(room - self._length, old.dtype)])
                for old in (self._steps, self._times, self._values)
            )
        new = slice(self._length, end)
        self._steps[new], self._times[new], self._values[new] = steps, times, values
        self._length = end
        self._curve = None

    def curve(self) -> Curve:
        """The points so far."""
        if self._curve is None:
            held = slice(self._length)
            self._curve = Curve(self._steps[held], self._times[held], self._values[held])
        return self._curve


class RunCurves:
    """The curves of one run that are on the screen. One thread polls; what it hands out any thread may read."""

    def __init__(self, run: StoredRun, *, small_points: int = SMALL_POINTS, large_points: int = LARGE_POINTS) -> None:
        """Nothing is read until it is wanted.

        Args:
            run: the run.
            small_points: with no more points it is read at once, with all its metrics.
            large_points: with more, bounds are read first.
        """
        self.run = run
        self._small_points = small_points
        self._large_points = large_points
        self._keys: list[str] = []
        self._named = 0
        self._forget()
        self._counts_as = self._token()

    def _forget(self) -> None:
        self._growing: dict[str, _Growing] = {}
        self._bounds: dict[str, Curve] = {}
        self._positions: dict[str, int] = {}
        self._has_all = False  # of all metrics the points up to these positions; else only of those in _growing

    def _token(self) -> str:
        visibility = self.run.visibility
        return "" if visibility is None else visibility.token

    @property
    def points(self) -> int:
        """How many points it holds in memory."""
        return sum(growing.curve().count for growing in self._growing.values())

    def keys(self) -> list[str]:
        """The names of the metrics it has, sorted."""
        sources = self.run.point_sources()
        named = sum(len(source.of.keys) for source in sources)  # names are only ever added
        if named != self._named:
            self._keys = sorted({key for source in sources for key in source.of.keys})
            self._named = named
        return self._keys

    def poll(self) -> bool:
        """Read what was written since the last time; whether a curve changed."""
        self.run.refresh()
        if self._token() != self._counts_as:  # rewound: what counted may not count any more
            self._counts_as = self._token()
            self._forget()
            return True
        changed = False
        if self._bounds and self.run.state.live:  # resumed: it gets points that the bounds do not know
            self._bounds, changed = {}, True
        if self._growing or self._has_all:
            for writer, piece in self.run.read_points(self._positions):
                self._positions[writer] = int(piece.seqs[-1]) + 1
                changed |= self._take(piece)
        return changed

    def _take(self, piece: PointColumns) -> bool:
        """Add points to their curves; whether any was wanted."""
        order = np.argsort(piece.codes, kind="stable")
        changed = False
        for part in np.split(order, np.flatnonzero(np.diff(piece.codes[order])) + 1):
            key = piece.keys[piece.codes[part[0]]]
            growing = self._growing.get(key)
            if growing is None and self._has_all:
                growing = self._growing[key] = _Growing()
            if growing is not None:
                growing.add(piece.steps[part], piece.times[part], piece.values[part])
                changed = True
        return changed

    def curve(self, key: str, *, exact: bool = False) -> Curve | None:
        """One metric; of many points their bounds, unless it must be ``exact``. None if it has none."""
        if key not in self._growing and not self._has_all:
            self._read(key, exact=exact)
        growing = self._growing.get(key)
        found = self._bounds.get(key) if growing is None else growing.curve()
        return found if found is not None and found.count else None

    def _read(self, key: str, *, exact: bool) -> None:
        points = self.run.head().points
        if not self._growing and points <= self._small_points:
            self._has_all = True
            self.poll()
            return
        if not exact and key in self._bounds:
            return
        if not exact and points >= self._large_points and not self.run.state.live:
            groups = self.run.metric_bounds(key)
            if groups is not None and sum(group.points for group in groups) >= self._large_points:
                self._bounds[key] = Curve(_NO_INTS, _NO_INTS, _NO_FLOATS, Bounds.of(groups))
                return
        if not self._growing:
            self._positions = {writer.writer: writer.position.points for writer in self.run.writers()}
        self._growing[key] = self._read_points(key)

    def _read_points(self, key: str) -> _Growing:
        """All points of a metric up to the positions that polls continue from."""
        import pyarrow as pa

        damage: list[CorruptionError] = []
        growing = _Growing()
        for source in self.run.point_sources():
            for table in source.read_key(key, damage, with_seqs=True):
                seqs, steps, times = (
                    column_array(table.column(name).cast(pa.int64()), np.int64) for name in ("seq", "step", "time")
                )
                values = column_array(table.column("value"), np.float64)
                old = slice(int(np.searchsorted(seqs, self._positions.get(source.writer, 0))))
                growing.add(steps[old], times[old], values[old])
        self.run.damage.extend(damage)
        return growing
