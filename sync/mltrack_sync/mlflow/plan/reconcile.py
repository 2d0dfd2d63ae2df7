"""What is in doubt is compared with what the remote has: only points that it does not have are sent again.

MLflow keeps the points of a metric as a set of (step, ms, value). Its latest point is the one with the greatest step,
then time; points in doubt that are later than that did not arrive, and the history need not be read for them. For the
others it is read until all of them are found: the order of the pages is not specified (an MLflow server gives the
oldest first), so only at the end is it known that one is missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mltrack_sync.mlflow.plan.batches import NS_PER_MS, comparable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import numpy.typing as npt

    from mltrack.disk.segment import PointColumns
    from mltrack_sync.mlflow.api.client import History

__all__ = ["ROW", "RemotePoints", "missing", "point_rows"]

ROW = np.dtype([("step", "<i8"), ("time", "<i8"), ("value", "<i8")])
"""A point in a form that compares."""


class RemotePoints:
    """The points a remote run has, asked for metric by metric, no further than needed, and remembered."""

    def __init__(self, latest: Mapping[str, tuple[int, int]], history: Callable[[str], Iterable[History]]) -> None:
        """``latest`` is (step, ms) of each metric's latest point; ``history(key)`` gives all its points in pages."""
        self.latest = latest
        self._history = history
        self._known: dict[str, npt.NDArray[np.void]] = {}
        self._left: dict[str, Iterator[History]] = {}

    def has(self, key: str, rows: npt.NDArray[np.void]) -> npt.NDArray[np.bool_]:
        """Which of these points of a metric the remote has. Pages are read until all were found, in whatever order."""
        found = np.isin(rows, self._known.get(key, rows[:0]))
        while not found.all():
            more = self._read_on(key, len(rows))
            if not len(more):
                break
            found[~found] = np.isin(rows[~found], more)
        return found

    def _read_on(self, key: str, count: int) -> npt.NDArray[np.void]:
        """Read so many more points, if there are any; at least a page."""
        left = self._left.setdefault(key, iter(self._history(key)))
        pages: list[npt.NDArray[np.void]] = []
        for page in left:
            pages.append(point_rows(page.steps, page.times, page.values))
            count -= len(pages[-1])
            if count <= 0:
                break
        more = np.concatenate(pages) if pages else np.empty(0, ROW)
        self._known[key] = np.concatenate([self._known.get(key, more[:0]), more])
        return more


def point_rows(
    steps: npt.NDArray[np.int64], times_ms: npt.NDArray[np.int64], values: npt.NDArray[np.float64]
) -> npt.NDArray[np.void]:
    """Points in a comparable form: equal exactly when MLflow keeps them as one."""
    rows = np.empty(len(values), ROW)
    rows["step"], rows["time"], rows["value"] = steps, times_ms, comparable(values)
    return rows


def missing(points: PointColumns, remote: RemotePoints) -> npt.NDArray[np.bool_]:
    """Which of these points the remote does not have."""
    absent = np.ones(len(points), np.bool_)
    order = np.argsort(points.codes, kind="stable")
    starts = np.flatnonzero(np.diff(points.codes[order], prepend=-1))
    for index in np.split(order, starts[1:]) if len(order) else ():
        key = points.keys[int(points.codes[index[0]])]
        latest = remote.latest.get(key)
        if latest is None:
            continue
        steps, times = points.steps[index], points.times[index] // NS_PER_MS
        later = (steps > latest[0]) | ((steps == latest[0]) & (times > latest[1]))
        asked = index[~later]
        if len(asked):
            mine = point_rows(points.steps[asked], points.times[asked] // NS_PER_MS, points.values[asked])
            absent[asked] = ~remote.has(key, mine)
    return absent
