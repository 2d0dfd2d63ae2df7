"""The numbers of one of aim's sequences in the order of their times, in memory that does not grow with them.

aim keeps values, steps and times as three lists in the same order, which is that of hashes. They are read next to each
other, some at a time; what belongs together is sorted a million points at a time into a temporary file, and merged.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from mltrack.importers.aim.rocks import NumberArray
from mltrack.importers.aim.sequences import HASHED, ns_of_seconds
from mltrack.importers.batches import Columns
from mltrack.importers.source import SourceError

if TYPE_CHECKING:
    import numpy.typing as npt

    from mltrack.importers.aim.sequences import Sequence

__all__ = ["Lists", "Points", "SortedPoints", "numbers_of"]

SORTED_ROWS = 1 << 20
MERGED_ROWS = 1 << 14
"""So many rows of each sorted part are in memory while they are merged."""

_ROW = np.dtype([("time", "<i8"), ("step", "<i8"), ("value", "<f8")])


class Points(NamedTuple):
    """Points: times in ns, steps, values; all of shape (n,)."""

    times: npt.NDArray[np.int64]
    steps: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]


class Lists(Protocol):
    """Where aim's lists of numbers are read from."""

    def number_pieces(self, prefix: bytes) -> Iterator[NumberArray]:
        """A list, some numbers at a time, in the order of their places as bytes."""


def numbers_of(lists: Lists, sequence: Sequence, on_lost: Callable[[int], None]) -> Iterator[Columns]:
    """The points of a sequence in the order of time.

    Args:
        lists: Where they are.
        sequence: The sequence.
        on_lost: Called with how many can't be taken, if any, as their step is missing or not a whole number.

    Raises:
        SourceError: they can't be read, or not be sorted.
    """
    with SortedPoints() as kept:
        lost = 0
        try:
            for values, steps, times in _side_by_side(lists, sequence):
                points = _points(values, steps, times)
                lost += len(values.places) - len(points.steps)
                kept.add(points)
            if lost:
                on_lost(lost)
            for part in kept.merged():
                codes = np.zeros(len(part.steps), np.int64)
                yield Columns([sequence.key], codes, part.steps, part.times, part.values)
        except OSError as error:
            raise SourceError(f"a temporary file can't be used: {error.strerror or error}") from error


def _side_by_side(lists: Lists, sequence: Sequence) -> Iterator[tuple[NumberArray, NumberArray | None, NumberArray]]:
    """Values, steps (None where the places are the steps) and times, of the same range of places each time."""
    names = ("val", "step", "time") if sequence.version == HASHED else ("val", "time")
    scans = [lists.number_pieces(sequence.prefix(name)) for name in names]
    held = [NumberArray([], []) for _ in names]
    more = [True] * len(names)
    while any(more) or any(len(each.places) for each in held):
        for at, scan in enumerate(scans):
            while more[at] and not len(held[at].places):
                piece = next(scan, None)
                more[at] = piece is not None
                held[at] = held[at] if piece is None else piece
        ends = [each.order[-1] for each, is_more in zip(held, more, strict=True) if is_more and len(each.places)]
        counts = [int(np.searchsorted(each.order, min(ends), "right")) if ends else len(each.places) for each in held]
        now = [each.take(slice(count)) for each, count in zip(held, counts, strict=True)]
        held = [each.take(slice(count, None)) for each, count in zip(held, counts, strict=True)]
        yield now[0], now[1] if len(now) == 3 else None, now[-1]


def _points(values: NumberArray, steps: NumberArray | None, times: NumberArray) -> Points:
    """Those that have a whole step; without a time it is 0."""
    if steps is None:
        places, mine, numbers = values.places, np.arange(len(values.places)), values.places
    else:
        places, mine, theirs = np.intersect1d(values.places, steps.places, assume_unique=True, return_indices=True)
        whole = steps.whole[theirs]
        places, mine, numbers = places[whole], mine[whole], steps.integers[theirs][whole]
    moments = np.zeros(len(places), np.int64)
    _, timed, known = np.intersect1d(places, times.places, assume_unique=True, return_indices=True)
    moments[timed] = ns_of_seconds(times.floats[known])
    return Points(moments, numbers, values.floats[mine])


class SortedPoints:
    """Takes points in any order and gives them by time, then step; most of them are in a temporary file meanwhile.

    Close it, as a context manager.
    """

    def __init__(self, sorted_rows: int = SORTED_ROWS, merged_rows: int = MERGED_ROWS) -> None:
        self._sorted_rows, self._merged_rows = sorted_rows, merged_rows
        self._waiting: list[Points] = []
        self._count = 0
        self._parts: list[tuple[int, int]] = []
        """The first row of each sorted part in the file, and the row after its last."""
        self._file: IO[bytes] | None = None
        self._open = ExitStack()

    def __enter__(self) -> SortedPoints:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def add(self, points: Points) -> None:
        """Take some.

        Raises:
            OSError: the file can't be written.
        """
        self._waiting.append(points)
        self._count += len(points.steps)
        if self._count >= self._sorted_rows:
            self._spill()

    def _taken(self) -> Points:
        """Those in memory, sorted."""
        times, steps, values = map(np.concatenate, zip(*self._waiting, strict=True))
        self._waiting, self._count = [], 0
        order = np.lexsort((steps, times))
        return Points(times[order], steps[order], values[order])

    def _spill(self) -> None:
        if self._file is None:
            self._file = self._open.enter_context(tempfile.TemporaryFile(prefix="mltrack-import-"))  # noqa: SIM115
        points = self._taken()
        rows = np.empty(len(points.steps), _ROW)
        rows["time"], rows["step"], rows["value"] = points
        first = self._parts[-1][1] if self._parts else 0
        self._file.write(rows.tobytes())
        self._parts.append((first, first + len(rows)))

    def merged(self) -> Iterator[Points]:
        """All of them, in order, some at a time.

        Raises:
            OSError: the file can't be written.
        """
        if self._file is None:
            return iter([self._taken()] if self._waiting else [])
        if self._waiting:
            self._spill()
        return self._merge(self._file)

    def _merge(self, file: IO[bytes]) -> Iterator[Points]:
        unread = list(self._parts)
        held: list[npt.NDArray[Any]] = [np.empty(0, _ROW) for _ in unread]
        while True:
            for at, (first, end) in enumerate(unread):
                if not len(held[at]) and first < end:
                    count = min(self._merged_rows, end - first)
                    file.seek(first * _ROW.itemsize)
                    held[at] = np.frombuffer(file.read(count * _ROW.itemsize), _ROW)
                    unread[at] = (first + count, end)
            if not any(map(len, held)):
                return
            lasts = [
                (int(rows["time"][-1]), int(rows["step"][-1]))
                for rows, (first, end) in zip(held, unread, strict=True)
                if first < end
            ]
            counts = [_up_to(rows, min(lasts)) if lasts else len(rows) for rows in held]
            now = np.concatenate([rows[:count] for rows, count in zip(held, counts, strict=True)])
            held = [rows[count:] for rows, count in zip(held, counts, strict=True)]
            now = now[np.lexsort((now["step"], now["time"]))]
            yield Points(now["time"].copy(), now["step"].copy(), now["value"].copy())


def _up_to(rows: npt.NDArray[Any], last: tuple[int, int]) -> int:
    """How many of the sorted rows come before these, a time and a step, or are equal."""
    first, end = (int(np.searchsorted(rows["time"], last[0], side)) for side in ("left", "right"))
    return first + int(np.searchsorted(rows["step"][first:end], last[1], "right"))
