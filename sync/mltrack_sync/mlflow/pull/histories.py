"""Whole histories of one run's metrics: read page by page, several metrics at a time, and what is new of each.

A server gives the points of a metric in one order, and new ones at its end: so what is stored of it is the beginning,
and a pull goes on with the last page that it knows. Where a page is not what is stored at its place (a point came late,
with an earlier time; somebody deleted some), all of the history is compared with the store, as a multiset: bucket by
bucket, so that it takes little memory however long it is.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mltrack_sync.errors import NotMlflowError
from mltrack_sync.mlflow.api.client import History
from mltrack_sync.mlflow.plan.batches import NS_PER_MS
from mltrack_sync.mlflow.plan.reconcile import ROW, point_rows
from mltrack_sync.mlflow.pull.spools import Buckets

if TYPE_CHECKING:
    import numpy.typing as npt

    from mltrack.storage.runs.imported import RunImport
    from mltrack_sync.ledger.pulled import Page
    from mltrack_sync.mlflow.pull.session import PullSession
    from mltrack_sync.mlflow.pull.spools import RowSpool

    Rows = npt.NDArray[np.void]
    Fetched = Future[tuple[History, str]]

__all__ = ["Histories", "Wanted", "new_rows"]

TIME_MS_MAX = (2**63 - 1) // NS_PER_MS
PAGES_MAX = 1_000_000
_FETCHED = np.dtype([*ROW.descr, ("raw", "<f8")])
"""A point in the form that compares, with the value as the server gave it."""

NOTED_PAGES = 8
"""After so many pages the ledger says where to go on, should the pull be killed."""


@dataclass(slots=True)
class Wanted:
    """A metric to read.

    Attributes:
        key: Its name.
        stored: Gives what the store has of it now, in the order of the server where all of it was pulled.
        start: Where to begin.
        compare: Not all of it was pulled: points that are equal to a stored one are left out.
    """

    key: str
    stored: Callable[[], RowSpool]
    start: Page = (0, "")
    compare: bool = False


@dataclass(slots=True)
class _Reading:
    """One metric on its way: ``at`` points are before the page that is awaited, ``token`` asks for it."""

    key: str
    stored: RowSpool
    at: int
    token: str
    whole: Buckets | None = None  # all pages, where they are compared with all that is stored
    once: bool = False  # of equal points one is enough
    repeats: bool = False  # a page had equal points
    seen: set[str] = field(default_factory=set)
    last: Rows | None = None

    def add(self, page: History) -> None:
        """Keep a page, to be compared with all that is stored."""
        assert self.whole is not None
        rows = point_rows(page.steps, page.times, page.values)
        self.repeats = self.repeats or len(np.unique(rows)) < len(rows)
        fetched = np.empty(len(rows), _FETCHED)
        for name in ("step", "time", "value"):
            fetched[name] = rows[name]
        fetched["raw"] = page.values
        self.whole.append(fetched)

    def close(self) -> None:
        """Remove what is in temporary files."""
        self.stored.close()
        if self.whole is not None:
            self.whole.close()


class Histories:
    """Reads the histories of one run and writes what is new. Used by one thread; pages are fetched by others."""

    def __init__(self, session: PullSession, remote_id: str, writer: RunImport) -> None:
        self._session = session
        self._remote_id = remote_id
        self._writer = writer
        self._rows = session.limits.history_page_rows
        self._reload: dict[str, Callable[[], RowSpool]] = {}
        self._unnoted = 0
        self.pages: dict[str, Page] = {}
        """Where to go on with those metrics that have more than one page."""

    def pull(self, wanted: Iterable[Wanted]) -> None:
        """Bring what is new of each metric.

        Raises:
            RemoteError: see mltrack_sync.errors.
            StoreError, UsageError: it can't be stored.
        """
        left = deque(wanted)
        fetching: dict[Fetched, _Reading] = {}
        try:
            while left or fetching:
                self._session.check()
                while left and len(fetching) < self._session.options.jobs:
                    reading = self._begin(left.popleft())
                    fetching[self._fetch(reading)] = reading
                done, _ = wait(fetching, return_when=FIRST_COMPLETED)
                for future in done:
                    following = self._taken(fetching[future], future)
                    reading = fetching.pop(future)
                    if following is not None:
                        fetching[following] = reading
                    else:
                        reading.close()
        finally:
            for future, reading in fetching.items():
                future.cancel()
                reading.close()

    def _taken(self, reading: _Reading, future: Fetched) -> Fetched | None:
        """As ``_take``, of a page that has come."""
        page, token = future.result()
        return self._take(reading, self._storable(reading.key, page), token)

    def _begin(self, wanted: Wanted) -> _Reading:
        stored = wanted.stored()
        self._reload[wanted.key] = wanted.stored
        at, token = wanted.start if wanted.start[0] <= len(stored) else (0, "")
        if wanted.compare:
            return _Reading(wanted.key, stored, 0, "", whole=Buckets(_FETCHED), once=True)
        return _Reading(wanted.key, stored, at, token)

    def _fetch(self, reading: _Reading) -> Fetched:
        ask, key, token = self._session.client.history_page, reading.key, reading.token
        return self._session.reader.submit(ask, self._remote_id, key, self._rows, token)

    def _take(self, reading: _Reading, page: History, token: str) -> Fetched | None:
        """Write what is new of a page; the next page is asked for before, and returned."""
        self._check(reading, page, token)
        at, was = reading.at, reading.token
        if reading.whole is None and not _continues(reading, page):
            reading.whole, reading.at, reading.token = Buckets(_FETCHED), 0, ""  # all of it, from its beginning
            reading.seen.clear()
            reading.stored.close()
            reading.stored = self._reload[reading.key]()
            return self._fetch(reading)
        following: Fetched | None = None
        if token:
            reading.at, reading.token = at + len(page.values), token
            following = self._fetch(reading)
        if reading.whole is not None:
            reading.add(page)
            if not token:
                self._write_missing(reading, reading.whole)
        else:
            self._write(reading.key, page, slice(max(0, len(reading.stored) - at), None))
            if at:
                self._note(reading.key, (at, was))
        return following

    def _note(self, key: str, page: Page) -> None:
        """Remember where to go on, and now and then have the ledger say so: what is before is on the disk."""
        self.pages[key] = page
        self._unnoted += 1
        if self._unnoted >= NOTED_PAGES:
            self._unnoted = 0
            self._session.ledger.pages_pulled(self._remote_id, self._writer.run_id, self.pages)

    def _check(self, reading: _Reading, page: History, token: str) -> None:
        url, key = self._session.client.url, reading.key
        if token in reading.seen or len(reading.seen) > PAGES_MAX or (token and not len(page.times)):
            raise NotMlflowError(f"{url} gives pages of {key[:100]!r} that come to no end")
        if token:
            reading.seen.add(token)

    def _storable(self, key: str, page: History) -> History:
        """The page, with times that ns can express: some clients log times in other units than ms."""
        times = np.clip(page.times, -TIME_MS_MAX, TIME_MS_MAX)
        if not np.array_equal(times, page.times):
            what = f"metric {key[:100]!r} of run {self._remote_id}"
            self._session.note(f"{what} has points at times beyond the year 2262, which are kept as of then")
        return History(page.steps, times, page.values)

    def _write(self, key: str, page: History, which: slice | npt.NDArray[np.bool_]) -> None:
        values = page.values[which]
        if len(values):
            self._writer.log(key, values, page.steps[which], page.times[which] * NS_PER_MS)
            self._session.count(points=len(values))

    def _write_missing(self, reading: _Reading, whole: Buckets) -> None:
        """Those of all points that are not stored, in the server's order.

        Points that came in between may have moved others to the page that follows, where they were read once more. So
        on a server that keeps no point twice, as its pages show, none counts twice.
        """
        once = reading.once or not reading.repeats
        buckets = Buckets(ROW)
        with contextlib.closing(buckets):
            for block in reading.stored.blocks():
                buckets.append(block)
            missing = [_missing(fetched, stored, once) for fetched, stored in zip(whole, buckets, strict=True)]
        rows = np.concatenate(missing)
        rows = rows[np.lexsort((rows["step"], rows["time"]))]
        page = History(rows["step"].copy(), rows["time"].copy(), rows["raw"].copy())
        self._write(reading.key, page, slice(None))


def _missing(fetched: Rows, stored: Rows, once: bool) -> Rows:
    """Those of a bucket that are not stored; ``once``: of equal ones, one is enough."""
    rows = np.empty(len(fetched), ROW)
    for name in ("step", "time", "value"):
        rows[name] = fetched[name]
    missing = new_rows(rows, np.unique(stored) if once else stored)
    if once:
        first = np.zeros(len(rows), np.bool_)
        first[np.unique(rows, return_index=True)[1]] = True
        missing &= first
    return fetched[missing]


def _continues(reading: _Reading, page: History) -> bool:
    """Whether a page begins with what is stored at its place, and follows the page before."""
    rows = point_rows(page.steps, page.times, page.values)
    before, reading.last = reading.last, rows
    if before is not None and len(rows) and bool((before == rows[0]).any()):
        return False  # points came in between and moved this one here, or it is there twice
    stored = reading.stored.read(reading.at, reading.at + len(rows))
    return bool(np.array_equal(rows[: len(stored)], stored))


def new_rows(rows: Rows, stored: Rows) -> npt.NDArray[np.bool_]:
    """Which of these points are not stored; of equal ones as many as are more than those stored."""
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    starts = np.searchsorted(ordered, ordered, side="left")
    nth = np.arange(len(ordered)) - starts  # 0 for the first of equal points
    have = np.sort(stored)
    count = np.searchsorted(have, ordered, side="right") - np.searchsorted(have, ordered, side="left")
    found = np.empty(len(rows), np.bool_)
    found[order] = nth >= count
    return found
