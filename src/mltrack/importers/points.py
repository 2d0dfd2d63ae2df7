"""The points of one run that the store lacks, found while the source is read once, in memory that stays small.

A source gives a metric's points in the order in which they were logged, so what the store has of it is the beginning:
as many points as the store has are hashed and compared by their sum, and those that follow are new. Only where the sums
differ (a metric was changed in the source, or here) the points of that metric are read again and compared one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from mltrack.errors import InvalidMetricError
from mltrack.importers.batches import Columns, columns_of, make_batch
from mltrack.importers.digests import Digest, Digests, added, all_rows, groups_of, missing_rows, point_hashes, rows_of
from mltrack.values.scalars import check_key

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt
    import pyarrow as pa

    from mltrack.importers.findings import Findings
    from mltrack.importers.source import SourceRun, SourceValue
    from mltrack.storage.runs.local_facts import LocalFacts

__all__ = ["NewPoints", "of_key", "source_points", "stored_digests", "stored_points", "timed"]

NS_PER_MS = 1_000_000


def timed(run: SourceRun, local: LocalFacts) -> SourceRun:
    """The run; where times of points are not known, they are when the run began, as the store says if it has the run.

    A file's time changes when the file grows, and points must be the same each time.
    """
    if not run.untimed:
        return run
    start = run.start_time // NS_PER_MS if local.run is None else local.run.state.info().start_time
    start *= NS_PER_MS
    return replace(run, points=partial(_with_start, run, start), values=partial(_values_with_start, run, start))


def _values_with_start(run: SourceRun, start: int) -> Iterator[SourceValue]:
    return (replace(value, time=value.time or start) for value in run.values())


def _with_start(run: SourceRun, start: int) -> Iterator[pa.RecordBatch]:
    for batch in run.points():
        points = columns_of(batch)
        times = np.where(points.times == 0, start, points.times)
        yield make_batch(points.keys, points.codes, points.steps, times, points.values)


def source_points(run: SourceRun, findings: Findings) -> Iterator[Columns]:
    """The points of a run of the source; those of metrics that have no name are left out and named.

    Raises:
        SourceError: they can't be read.
    """
    checked: dict[str, bool] = {}

    def is_name(key: str) -> bool:
        try:
            check_key(key)
        except InvalidMetricError as error:
            findings.problem(run.where, str(error))
            return False
        return True

    for batch in run.points():
        points = columns_of(batch)
        for key in points.keys:
            if key not in checked:
                checked[key] = is_name(key)
        usable = np.array([checked[key] for key in points.keys], np.bool_)
        yield points if usable.all() else _with_keys(points, usable)


def _with_keys(points: Columns, wanted: npt.NDArray[np.bool_]) -> Columns:
    """The points of these of their keys, and no other key: a writer refuses a batch with one that is not a name."""
    part = points.take(wanted[points.codes])
    codes = (np.cumsum(wanted) - 1)[part.codes]
    keys = [points.keys[at] for at in np.flatnonzero(wanted).tolist()]
    return Columns(keys, codes, part.steps, part.times, part.values)


def stored_points(local: LocalFacts, *, whole: bool = False) -> Iterator[Columns]:
    """The points of a run here that came from elsewhere, in the order in which they came; ``whole``: all points.

    Of a run that was recorded by mltrack and is imported from where it was sent to, these are all.
    """
    if local.run is None:
        return
    for writer, points in local.run.read_points(rewinds=()):
        if whole or local.is_own or writer in local.origins:
            yield Columns(points.keys, points.codes, points.steps, points.times, points.values)


def stored_digests(local: LocalFacts, time_unit: int, *, whole: bool = False) -> dict[str, Digest]:
    """The same, as a digest for each metric."""
    digests = Digests()
    for points in stored_points(local, whole=whole):
        digests.add(points, time_unit)
    return digests.by_key


class NewPoints:
    """Finds them."""

    def __init__(self, run: SourceRun, local: LocalFacts, findings: Findings) -> None:
        self._run = run
        self._local = local
        self._findings = findings
        self._stored = stored_digests(local, run.time_unit)
        self._seen: dict[str, Digest] = {}
        self._changed: set[str] = set()
        self.read = 0
        """Points of the source that were read."""

    def find(self) -> Iterator[Columns]:
        """The new points, in the order of the source; then those of metrics that were changed.

        Raises:
            SourceError: the source can't be read further.
            CorruptionError: what is stored of the run is damaged.
        """
        if self._local.run is not None and self._local.run.damage:
            raise self._local.run.damage[0]
        for points in source_points(self._run, self._findings):
            self.read += len(points)
            yield self._new_of(points) if self._stored else points
        short = {key for key, have in self._stored.items() if self._seen.get(key, Digest(0, 0)).points < have.points}
        for key in sorted((self._changed | short) & self._seen.keys()):
            yield from self._missing(key)

    def _new_of(self, points: Columns) -> Columns:
        """Those after what is stored; the others are added to what was seen."""
        hashes: npt.NDArray[np.uint64] | None = None
        fresh = np.ones(len(points), np.bool_)
        for code, index in groups_of(points.codes):
            key = points.keys[code]
            have, seen = self._stored.get(key), self._seen.get(key, Digest(0, 0))
            if have is None:
                continue
            if hashes is None:
                hashes = point_hashes(points, self._run.time_unit)
            mine = np.arange(len(points)) if isinstance(index, slice) else index
            old = mine[: max(0, have.points - seen.points)]
            after = added(seen, hashes[old])
            self._seen[key] = after
            if after.points == have.points and after.total != have.total:
                self._changed.add(key)
            fresh[mine if key in self._changed else old] = False
        return points if fresh.all() else points.take(fresh)

    def _missing(self, key: str) -> Iterator[Columns]:
        """The points of one metric that the store lacks, compared one by one."""
        stored = all_rows(of_key(lambda: stored_points(self._local), key), self._run.time_unit)
        parts = list(of_key(lambda: source_points(self._run, self._findings), key))
        rows = [rows_of(part, self._run.time_unit) for part in parts]
        if not rows:
            return
        missing = missing_rows(np.concatenate(rows), stored)
        at = 0
        for part in parts:
            yield part.take(missing[at : at + len(part)])
            at += len(part)


def of_key(parts: Callable[[], Iterator[Columns]], key: str) -> Iterator[Columns]:
    """The points of one metric."""
    for part in parts():
        codes = [code for code, name in enumerate(part.keys) if name == key]
        if codes:
            mine = np.isin(part.codes, codes)
            if mine.any():
                yield part.take(mine)
