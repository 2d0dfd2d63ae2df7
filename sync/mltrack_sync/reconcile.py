"""What is in doubt is compared with what the remote has: only points that are not there are sent again.

MLflow keeps the points of a metric as a set of (step, ms, value). Its latest point is the one with the greatest step,
then time; when all points in doubt are later than that, none of them arrived, and the history need not be read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mltrack_sync.plan import NS_PER_MS, comparable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import numpy.typing as npt

    from mltrack.segment import PointColumns
    from mltrack_sync.client import History

__all__ = ["RemotePoints", "missing", "point_rows"]

_ROW = np.dtype([("step", "<i8"), ("time", "<i8"), ("value", "<i8")])


class RemotePoints:
    """The points a remote run has, asked for metric by metric and remembered."""

    def __init__(self, latest: Mapping[str, tuple[int, int]], history: Callable[[str], Iterable[History]]) -> None:
        """``latest`` is (step, ms) of each metric's latest point; ``history(key)`` gives all its points."""
        self.latest = latest
        self._history = history
        self._known: dict[str, npt.NDArray[np.void]] = {}

    def rows(self, key: str) -> npt.NDArray[np.void]:
        """All points of a metric, in a form that compares."""
        if key not in self._known:
            pages = [point_rows(page.steps, page.times, page.values) for page in self._history(key)]
            self._known[key] = np.concatenate(pages) if pages else np.empty(0, _ROW)
        return self._known[key]


def point_rows(
    steps: npt.NDArray[np.int64], times_ms: npt.NDArray[np.int64], values: npt.NDArray[np.float64]
) -> npt.NDArray[np.void]:
    """Points in a form that compares: equal just when MLflow keeps them as one."""
    rows = np.empty(len(values), _ROW)
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
        if not later.all():
            mine = point_rows(steps, times, points.values[index])
            absent[index] = ~np.isin(mine, remote.rows(key))
    return absent
