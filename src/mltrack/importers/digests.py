"""Points compared without keeping them: for each metric a count and a sum of hashes, equal for equal points.

The sum does not depend on the order. Where it differs, the points of that metric are compared one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mltrack.importers.batches import Columns

if TYPE_CHECKING:
    import numpy.typing as npt

    Hashes = npt.NDArray[np.uint64]

__all__ = ["Digest", "Digests", "added", "all_rows", "groups_of", "missing_rows", "point_hashes", "rows_of"]

_NAN = np.array([np.nan]).view(np.uint64)[0]
ROW = np.dtype([("step", "<i8"), ("time", "<i8"), ("value", "<u8")])


class Digest(NamedTuple):
    """Of the points of a metric: how many, and the sum of their hashes."""

    points: int
    total: int


class Digests:
    """The digest of each metric, of all points that were added."""

    def __init__(self) -> None:
        self.by_key: dict[str, Digest] = {}

    def add(self, points: Columns, time_unit: int = 1) -> None:
        """Add points, with their times cut to this unit, in ns."""
        if not len(points):
            return
        hashes = point_hashes(points, time_unit)
        for code, index in groups_of(points.codes):
            key = points.keys[code]
            known = self.by_key.get(key, Digest(0, 0))
            self.by_key[key] = added(known, hashes[index])


def added(digest: Digest, hashes: Hashes) -> Digest:
    """The digest of these points too."""
    return Digest(digest.points + len(hashes), (digest.total + int(hashes.sum(dtype=np.uint64))) % (1 << 64))


def groups_of(codes: npt.NDArray[np.int64]) -> Iterator[tuple[int, slice | npt.NDArray[np.int64]]]:
    """Each code with the places where it is, in order."""
    if not len(codes):
        return
    if codes[0] == codes[-1] and (codes == codes[0]).all():
        yield int(codes[0]), slice(None)
        return
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    for index in np.split(order, starts[1:]):
        yield int(codes[index[0]]), index


def point_hashes(points: Columns, time_unit: int = 1) -> Hashes:
    """A hash of each point: step, time and the bits of the value, where every NaN is the same."""
    rows = rows_of(points, time_unit)
    found: Hashes = np.zeros(len(points), np.uint64)
    for name in ("step", "time", "value"):
        found ^= np.ascontiguousarray(rows[name]).view(np.uint64)
        found += np.uint64(0x9E3779B97F4A7C15)
        found ^= found >> np.uint64(30)
        found *= np.uint64(0xBF58476D1CE4E5B9)
        found ^= found >> np.uint64(27)
        found *= np.uint64(0x94D049BB133111EB)
        found ^= found >> np.uint64(31)
    return found


def rows_of(points: Columns, time_unit: int = 1) -> npt.NDArray[np.void]:
    """Points in a form that compares."""
    rows = np.empty(len(points), ROW)
    rows["step"] = points.steps
    rows["time"] = points.times if time_unit == 1 else points.times // time_unit * time_unit
    bits = np.ascontiguousarray(points.values).view(np.uint64)
    rows["value"] = np.where(np.isnan(points.values), _NAN, bits)
    return rows


def missing_rows(rows: npt.NDArray[np.void], others: npt.NDArray[np.void]) -> npt.NDArray[np.bool_]:
    """Which of these points the others are without; of equal ones as many as are more than in the others."""
    both = np.concatenate([rows, others])
    order = np.lexsort((both["value"], both["time"], both["step"]))
    ordered = both[order]
    is_first = np.ones(len(both), np.bool_)
    is_first[1:] = ordered[1:] != ordered[:-1]
    starts = np.flatnonzero(is_first)
    group = np.cumsum(is_first) - 1
    mine = order < len(rows)  # within a group these come first, as the sort is stable
    have = np.bincount(group[~mine], minlength=len(starts))
    nth = np.arange(len(both)) - starts[group]
    found = np.zeros(len(rows), np.bool_)
    found[order[mine]] = (nth >= have[group])[mine]
    return found


def all_rows(parts: Iterable[Columns], time_unit: int = 1) -> npt.NDArray[np.void]:
    """The points of some parts, in a form that compares."""
    pieces = [rows_of(part, time_unit) for part in parts]
    return np.concatenate(pieces) if pieces else np.empty(0, ROW)
