"""What the store has of a run, and which of it was pulled: what was recorded or edited here is never overwritten."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mltrack.errors import NotFoundError
from mltrack.storage.runs.local_facts import LocalFacts
from mltrack_sync.mlflow.plan.batches import NS_PER_MS
from mltrack_sync.mlflow.plan.reconcile import ROW, point_rows
from mltrack_sync.mlflow.pull.spools import RowSpool

if TYPE_CHECKING:
    import numpy.typing as npt

    from mltrack.errors import CorruptionError
    from mltrack.storage.runs.point_sources import PointSource
    from mltrack.store import Store

    Rows = npt.NDArray[np.void]
    Columns = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]

__all__ = ["Latest", "LocalMetric", "LocalRun"]

LONG_POINTS = 500_000
"""Histories of more points are read in pieces, which takes longer where a run has many of them."""


class Latest(NamedTuple):
    """A metric's latest point: step, ms, and the value as MLflow compares it."""

    step: int
    time: int
    value: int


@dataclass(frozen=True, slots=True)
class LocalMetric:
    """A metric as the store has it. ``own``: some of its points were not pulled but recorded here."""

    latest: Latest
    count: int
    own: bool


class LocalRun(LocalFacts):
    """A run of the store, or one that it does not have yet; as of when this was made."""

    def __init__(self, store: Store, run_id: str) -> None:
        """Read it.

        Raises:
            StoreError, CorruptionError: it exists and can't be read.
        """
        try:
            run = store.run(run_id)
        except NotFoundError:
            super().__init__(run_id, None)
        else:
            super().__init__(run_id, run)

    # --- points ---

    def metrics(self) -> dict[str, LocalMetric]:
        """Each metric; all points are read."""
        if self.run is None:
            return {}
        found: dict[str, LocalMetric] = {}
        for writer, points in self.run.read_points(rewinds=()):
            own = writer not in self.origins
            order = np.argsort(points.codes, kind="stable")
            starts = np.flatnonzero(np.diff(points.codes[order], prepend=-1))
            for index in np.split(order, starts[1:]):
                key = points.keys[int(points.codes[index[0]])]
                latest = _latest(rows_of(points.steps[index], points.times[index], points.values[index]))
                known = found.get(key)
                if known is not None:
                    latest = max(latest, known.latest)
                    own = own or known.own
                found[key] = LocalMetric(latest, len(index) + (known.count if known is not None else 0), own)
        return found

    def rows(self, key: str, count: int = 0) -> RowSpool:
        """All points of a metric in the form that compares; those pulled in the order in which they came.

        ``count`` is about how many there are: of many, not all are held at once.
        """
        spool = RowSpool(ROW)
        if self.run is None:
            return spool
        try:
            for columns in self._streamed(key) if count > LONG_POINTS else self._columns(key):
                spool.append(rows_of(*columns))
        except BaseException:
            spool.close()
            raise
        return spool

    def _streamed(self, key: str) -> Iterator[Columns]:
        """The same for a metric too long to be held at once: all points of the run are read, some at a time."""
        for source in self._by_age():
            for points in source.read(0, self._damage()):
                codes = [code for code, name in enumerate(points.keys) if name == key]
                mine = np.isin(points.codes, codes)
                yield points.steps[mine], points.times[mine], points.values[mine]

    def _columns(self, key: str) -> Iterator[Columns]:
        for source in self._by_age():
            for table in source.read_key(key, self._damage()):
                times = table.column("time").cast("int64").to_numpy()
                yield table.column("step").to_numpy(), times, table.column("value").to_numpy()

    def _by_age(self) -> list[PointSource]:
        """Where the run's points are, those that a rewind hides too: the remote may have them."""
        assert self.run is not None
        return sorted(self.run.point_sources(rewinds=()), key=lambda each: (each.of.opened, each.writer))

    def _damage(self) -> list[CorruptionError]:
        assert self.run is not None
        return self.run.damage


def rows_of(steps: npt.NDArray[np.int64], times: npt.NDArray[np.int64], values: npt.NDArray[np.float64]) -> Rows:
    """Points of the store in the form that compares."""
    return point_rows(steps, times // NS_PER_MS, values)


def _latest(rows: Rows) -> Latest:
    """The one with the greatest step, then time, then value."""
    rows = rows[rows["step"] == rows["step"].max()]
    rows = rows[rows["time"] == rows["time"].max()]
    values = np.sort(np.ascontiguousarray(rows["value"]).view(np.float64))  # NaN comes last
    last = max(0, int(np.count_nonzero(~np.isnan(values))) - 1)
    return Latest(int(rows["step"][0]), int(rows["time"][0]), int(values[last : last + 1].view(np.int64)[0]))
