"""Which points of a metric go to a remote that gets a sample of its history, and when each is due.

The points of one metric by one writer are numbered k = 0, 1, 2... in the order of logging. With ``history`` = N go

- the first N/8 points, each as soon as it was logged;
- of the points after these, cut into *windows*, the minimum, the maximum and the last point of each window, as soon as
  the window's last point was logged. A window begins after the last point of the one before, which is its first point
  for the one who draws it, and is as long as 130/N of the points before it. So what has become due is never taken back,
  however long the run goes on, and the server is behind by 130/N of the points so far at most (6.5% for N = 2000);
- when the writer has ended, and the number of points L is known: of *buckets* of equal length (the least power of two
  that makes N/2 of them at most) the minimum, the maximum and the last point, and the latest point of all (the greatest
  step, then ms, then value). Buckets of two points give both, so a metric of up to N points goes whole.

The windows crowd at the beginning, as they must: the end is not known while they are decided. The buckets are most of
the points in the end, for MLflow's charts take 320 of the points by their number, not by their step: where most of the
points lie close together, a chart shows little else.

Minimum and maximum are those of the finite values, the first where several are equal. NaN and both infinities go in
addition: the first and the last of each in each window and bucket.

Nothing but the stored points decides, so it does not matter in how many pieces they were looked at, nor where a push
was broken off; ``due`` is the seq of the point whose arrival decided it, which is the order in which chosen points go.

**How many points.** N/8 at first; three for each of the windows, of which there are ``windows_of(N, L)``, about
N/130 ln(8 L/N); three for each of at most N/2 buckets; one latest. For N >= 1000 that is less than 2N for L up to
10^9, and each further thousandfold of L adds N/6. Values that are not finite can add six points for each window
and bucket that has some.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from mltrack.disk.segment import PointColumns

    Ints = npt.NDArray[np.int64]
    Mask = npt.NDArray[np.bool_]

__all__ = ["Chosen", "Sampler", "bucket_size", "points_max", "windows_of"]

FIRST_SHARE = 8
"""N divided by this is the number of points that go as soon as they were logged."""

WINDOW_SHARE = 130
"""A window is as long as this many N-ths of the points before it."""

COUNT_MAX = 1 << 62
PAST_ROWS_MIN = 1 << 18
NS_PER_MS = 1_000_000


class Chosen(NamedTuple):
    """Points that are to go, ordered by ``due``: the seq of the point with whose arrival each was decided.

    Several may be due at once. Those that are due only when the writer has ended have the seq after its last point.
    """

    points: PointColumns
    due: Ints


@functools.lru_cache(maxsize=8)
def _window_ends(history: int) -> Ints:
    """The last k of each window, ascending; the first entry is that of the last point that goes anyway."""
    ends = [history // FIRST_SHARE - 1]
    while ends[-1] < COUNT_MAX:
        ends.append(ends[-1] + max(1, (ends[-1] + 1) * WINDOW_SHARE // history))
    return np.array(ends, np.int64)


def windows_of(history: int, count: int) -> int:
    """How many windows have closed once a metric has so many points."""
    return max(0, int(np.searchsorted(_window_ends(history), count - 1, side="right")) - 1)


def bucket_size(history: int, count: int) -> int:
    """How many points a bucket of a metric with so many points has: a power of two."""
    return 1 << max(0, (max(1, -(-count // buckets_max(history))) - 1).bit_length())


def buckets_max(history: int) -> int:
    """The most buckets of a metric."""
    return -(-history // 2)


def points_max(history: int, count: int) -> int:
    """The most points that go of a metric of one writer with so many finite points."""
    if count <= history:
        return count
    in_buckets = 3 * -(-count // bucket_size(history, count))
    return min(count, history // FIRST_SHARE + 3 * windows_of(history, count) + in_buckets + 1)


# --- rows --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Points as columns: metric, number k in the metric, seq, step, time, value, whether it is among those that go."""

    codes: Ints
    ks: Ints
    seqs: Ints
    steps: Ints
    times: Ints
    values: npt.NDArray[np.float64]
    gone: Mask

    def __len__(self) -> int:
        return len(self.ks)

    def columns(self) -> tuple[npt.NDArray[Any], ...]:
        """All of them."""
        return self.codes, self.ks, self.seqs, self.steps, self.times, self.values, self.gone

    def take(self, index: Any) -> _Rows:
        """The rows at ``index``."""
        return _Rows(*(column[index] for column in self.columns()))

    @classmethod
    def of(cls, tables: Sequence[_Rows]) -> _Rows:
        """All rows, by metric, within each in the order of the tables."""
        if len(tables) == 1:
            return tables[0]
        joined = cls(*(np.concatenate(parts) for parts in zip(*(t.columns() for t in tables), strict=True)))
        return joined.take(_by_code(joined.codes))

    @classmethod
    def none(cls) -> _Rows:
        """No row."""
        ints: Ints = np.empty(0, np.int64)
        return cls(ints, ints, ints, ints, ints, np.empty(0, np.float64), np.empty(0, np.bool_))


def _by_code(codes: Ints) -> Ints:
    """The order by metric, in which points of one metric stay in order. (Sixteen bits are sorted in linear time.)"""
    narrow = codes.astype(np.uint16) if len(codes) and int(codes.max()) < 1 << 16 else codes
    return np.argsort(narrow, kind="stable")


class _Groups:
    """Rows cut into runs that belong together; there is one row at least."""

    def __init__(self, starts: Ints, count: int) -> None:
        """``starts`` are the first rows of the groups, of ``count`` rows."""
        self.starts = starts
        self._lengths = np.diff(starts, append=count)

    @classmethod
    def by(cls, *ids: Ints) -> _Groups:
        """A group ends where one of these columns changes."""
        new = np.zeros(len(ids[0]), np.bool_)
        new[0] = True
        for column in ids:
            new[1:] |= column[1:] != column[:-1]
        return cls(np.flatnonzero(new), len(new))

    def lasts(self) -> Ints:
        """The last row of each group."""
        return self.starts + self._lengths - 1

    def spread(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """What is known of each group, for each row."""
        return np.repeat(values, self._lengths)

    def first_greatest(self, values: npt.NDArray[Any], among: Mask | None = None) -> Ints:
        """The first row of each group with the greatest value among some rows; nothing for groups without such."""
        hits = values == self.spread(np.maximum.reduceat(values, self.starts))
        return self.firsts(np.flatnonzero(hits if among is None else hits & among))

    def firsts(self, rows: Ints) -> Ints:
        """The first of these rows in each group."""
        found: Ints = rows[np.diff(self._of(rows), prepend=-1) != 0]
        return found

    def ends_of(self, rows: Ints) -> Ints:
        """The first and the last of these rows in each group."""
        of = self._of(rows)
        return np.concatenate([rows[np.diff(of, prepend=-1) != 0], rows[np.diff(of, append=-1) != 0]])

    def _of(self, rows: Ints) -> Ints:
        groups: Ints = np.searchsorted(self.starts, rows, side="right")
        return groups

    def extremes(self, values: npt.NDArray[np.float64]) -> Mask:
        """Of each group the last row, minimum and maximum, and the first and last NaN and infinity of each kind."""
        kept = np.zeros(len(values), np.bool_)
        kept[self.lasts()] = True
        finite = np.isfinite(values)
        if finite.all():
            kept[self.first_greatest(values)] = True
            kept[self.first_greatest(-values)] = True
            return kept
        for signed in (values, -values):
            kept[self.first_greatest(np.where(finite, signed, -np.inf), finite)] = True
        for odd in (np.isnan(values), values == np.inf, values == -np.inf):
            kept[self.ends_of(np.flatnonzero(odd))] = True
        return kept


def _latest(rows: _Rows) -> Ints:
    """Of each metric the row with the greatest step, then ms, then value, NaN being the least."""
    groups = _Groups.by(rows.codes)
    if bool(((rows.steps[1:] > rows.steps[:-1]) | (rows.codes[1:] != rows.codes[:-1])).all()):
        return groups.lasts()
    left = np.ones(len(rows), np.bool_)
    least = np.iinfo(np.int64).min
    for column in (rows.steps, rows.times // NS_PER_MS):
        values = np.where(left, column, least)
        left &= values == groups.spread(np.maximum.reduceat(values, groups.starts))
    ranked = np.where(left & ~np.isnan(rows.values), rows.values, -np.inf)
    return groups.first_greatest(ranked, left)


# --- the choice --------------------------------------------------------------------------------------------------


class Sampler:
    """Chooses of one writer's points, which are given in the order of logging, in pieces of any size."""

    def __init__(self, history: int) -> None:
        """``history`` is N, at least 8."""
        self.history = history
        self.end = 0
        """The seq after the last point that was looked at."""
        self._keys: list[str] = []
        self._codes: dict[str, int] = {}
        self._counts: Ints = np.zeros(0, np.int64)
        self._open = _Rows.none()
        self._past: list[_Rows] = []
        self._thinned = 0

    def add(self, points: PointColumns) -> Chosen:
        """Take in the next points; returns all that is decided by now and was not before."""
        if not len(points):
            return self._chosen(_Rows.none(), np.empty(0, np.int64))
        self.end = int(points.seqs[-1]) + 1
        new = self._worth_keeping(self._numbered(points))
        rows = _Rows.of([self._open, new]) if len(self._open) else new
        windows = np.searchsorted(_window_ends(self.history), rows.ks)  # 0: goes in any case
        closed = _window_ends(self.history)[windows] < self._counts[rows.codes]
        closed |= windows == 0
        decided, due = self._decided(rows, windows, closed)
        rows.gone[decided] = True
        chosen = self._chosen(rows.take(decided), due)
        self._keep(rows, windows, closed)
        return chosen

    def finish(self) -> Chosen:
        """What goes in addition once the writer has ended. It may still be added to: then it had not ended."""
        rows = self._everything()
        if not len(rows):
            return self._chosen(rows, np.empty(0, np.int64))
        kept = _Groups.by(rows.codes, self._buckets(rows)).extremes(rows.values)
        kept[_latest(rows)] = True
        kept &= ~rows.gone
        left = rows.take(kept)
        left = left.take(np.argsort(left.seqs))
        return self._chosen(left, np.full(len(left), self.end, np.int64))

    @property
    def rows(self) -> int:
        """How many points are kept."""
        return sum(map(len, self._past)) + len(self._open)

    # --- steps ---

    def _numbered(self, points: PointColumns) -> _Rows:
        """The points by metric, each with its number."""
        codes = self._own_codes(points.keys)[points.codes]
        order = slice(None) if bool((codes[1:] >= codes[:-1]).all()) else _by_code(codes)
        codes = codes[order]
        new = np.bincount(codes, minlength=len(self._counts))
        first = np.cumsum(new) - new
        ks = np.arange(len(codes)) - first[codes] + self._counts[codes]
        self._counts = self._counts + new
        times, gone = points.times[order], np.zeros(len(codes), np.bool_)
        return _Rows(codes, ks, points.seqs[order], points.steps[order], times, points.values[order], gone)

    def _worth_keeping(self, rows: _Rows) -> _Rows:
        """Those of new points that can be chosen now or later: everything else is done with these few."""
        starts = self._starts(rows)
        kept = _Groups(starts, len(rows)).extremes(rows.values)
        kept[_latest(rows)] = True
        kept |= rows.ks < self.history // FIRST_SHARE
        return rows.take(np.flatnonzero(kept))

    def _starts(self, rows: _Rows) -> Ints:
        """Where a metric, a window or a bucket begins among the rows, which are all points of these metrics in turn."""
        ends = _window_ends(self.history)
        bounds = np.append(np.flatnonzero(np.diff(rows.codes, prepend=-1)), len(rows))
        found: list[Ints] = [bounds[:-1]]
        for start, end in pairwise(bounds.tolist()):
            first = int(rows.ks[start])
            size = bucket_size(self.history, int(self._counts[rows.codes[start]]))
            low, high = np.searchsorted(ends, [first, first + end - start - 1])
            found.append(ends[low:high] + (start + 1 - first))
            found.append(np.arange(-(-first // size) * size, first + end - start, size) + (start - first))
        return np.unique(np.concatenate(found))

    def _own_codes(self, keys: Sequence[str]) -> Ints:
        """The number here of each metric of a piece."""
        found = [self._codes.setdefault(key, len(self._codes)) for key in keys]
        if len(self._codes) > len(self._keys):
            self._keys = list(self._codes)  # a list of its own: earlier pieces keep theirs
            self._counts = np.concatenate([self._counts, np.zeros(len(self._keys) - len(self._counts), np.int64)])
        return np.array(found, np.int64)

    def _decided(self, rows: _Rows, windows: Ints, closed: Mask) -> tuple[Ints, Ints]:
        """Rows that go by now and have not gone before, and the seq at which each was due."""
        whole = np.flatnonzero((windows == 0) & ~rows.gone)
        some = np.flatnonzero(closed & (windows > 0))
        if not len(some):
            return whole, rows.seqs[whole]
        groups = _Groups.by(rows.codes[some], windows[some])
        kept = groups.extremes(rows.values[some])
        due = groups.spread(rows.seqs[some][groups.lasts()])[kept]
        return np.concatenate([whole, some[kept]]), np.concatenate([rows.seqs[whole], due])

    def _keep(self, rows: _Rows, windows: Ints, closed: Mask) -> None:
        """Keep what may be chosen later: of windows that are open, and for the buckets at the end."""
        self._open = self._thin(rows.take(~closed), windows[~closed])
        done = self._thin(rows.take(closed), windows[closed])
        if len(done):
            self._past.append(done)
        if sum(map(len, self._past)) > PAST_ROWS_MIN + 2 * self._thinned:
            past = _Rows.of(self._past)
            self._past = [self._thin(past, np.zeros(len(past), np.int64))]
            self._thinned = len(self._past[0])

    def _thin(self, rows: _Rows, windows: Ints) -> _Rows:
        """Only rows that can be chosen of any window or bucket that is made of whole groups."""
        if not len(rows):
            return rows
        kept = _Groups.by(rows.codes, windows, self._buckets(rows)).extremes(rows.values)
        kept[_latest(rows)] = True
        return rows.take(kept)

    def _buckets(self, rows: _Rows) -> Ints:
        """Which bucket each row is in, by the number of points its metric has now."""
        shifts = np.array([bucket_size(self.history, count).bit_length() - 1 for count in self._counts.tolist()])
        buckets: Ints = rows.ks >> shifts[rows.codes]
        return buckets

    def _everything(self) -> _Rows:
        tables = [*self._past, *([self._open] if len(self._open) else [])]
        return _Rows.of(tables) if tables else _Rows.none()

    def _chosen(self, rows: _Rows, due: Ints) -> Chosen:
        from mltrack.disk.segment import PointColumns  # here: it imports Arrow

        order = np.lexsort((rows.seqs, due))
        rows = rows.take(order)
        points = PointColumns(self._keys, rows.codes, rows.seqs, rows.steps, rows.times, rows.values)
        return Chosen(points, due[order])
