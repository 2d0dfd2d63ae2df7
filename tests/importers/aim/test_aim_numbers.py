"""Numbers of aim's: as three lists in the order of hashes, in pieces of any size, sorted by time."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
import pytest

from mltrack.importers.aim.numbers import Points, SortedPoints, numbers_of
from mltrack.importers.aim.rocks import NumberArray
from mltrack.importers.aim.sequences import HASHED, Sequence

FLOAT, INTEGER = b"\3", b"\2"


class Pieces:
    """Lists by the prefixes of their keys, given some numbers at a time."""

    def __init__(self, sizes: dict[bytes, int], lists: dict[bytes, dict[int, bytes]]) -> None:
        self._sizes, self._lists = sizes, lists

    def number_pieces(self, prefix: bytes) -> Iterator[NumberArray]:
        """Some of a list."""
        found = sorted((struct.pack(">q", place), value) for place, value in self._lists[prefix].items())
        for at in range(0, len(found), self._sizes[prefix]):
            part = found[at : at + self._sizes[prefix]]
            yield NumberArray([place for place, _ in part], [value for _, value in part])


@pytest.mark.parametrize("version", [1, HASHED])
def test_what_belongs_together_is_found_in_lists_with_gaps(version: int) -> None:
    sequence = Sequence("run", 1, "loss", "loss", "float", version)
    random = np.random.default_rng(0)
    places = [int(place) for place in random.choice(np.arange(-500, 500) << 40, 300, replace=False)]
    values = {place: FLOAT + struct.pack("<d", number) for number, place in enumerate(places)}
    times = {place: FLOAT + struct.pack("<d", 1e6 + number % 40) for number, place in enumerate(places) if number % 7}
    steps = {place: INTEGER + struct.pack("<q", number) for number, place in enumerate(places) if number % 5}
    steps[places[1]] = FLOAT + struct.pack("<d", 1.5)
    steps[1] = INTEGER + struct.pack("<q", 7)  # of no value
    names = [sequence.prefix(name) for name in ("val", "step", "time")]
    lists = Pieces(dict(zip(names, (7, 11, 300), strict=True)), dict(zip(names, (values, steps, times), strict=True)))
    lost: list[int] = []
    found = [
        (int(time), int(step), int(value))
        for part in numbers_of(lists, sequence, lost.append)
        for time, step, value in zip(part.times, part.steps, part.values, strict=True)
    ]
    known = [number for number in range(300) if version != HASHED or (number % 5 and number != 1)]
    expected = [
        ((10**6 + number % 40) * 10**9 if number % 7 else 0, number if version == HASHED else places[number], number)
        for number in known
    ]
    assert found == sorted(expected)
    assert lost == ([300 - len(known)] if version == HASHED else [])


@pytest.mark.parametrize("count", [0, 5, 1_000, 20_000])
def test_more_points_than_are_held_come_in_order(count: int) -> None:
    random = np.random.default_rng(0)
    times, steps = random.integers(0, count // 3 + 1, count), random.permutation(count)
    with SortedPoints(sorted_rows=1_000, merged_rows=64) as kept:
        for at in range(0, count, 170):
            part = slice(at, at + 170)
            kept.add(Points(times[part], steps[part], steps[part].astype(float)))
        parts = list(kept.merged())
    order = np.lexsort((steps, times))
    assert [int(step) for part in parts for step in part.steps] == steps[order].tolist()
    assert [int(time) for part in parts for time in part.times] == times[order].tolist()
    assert [int(value) for part in parts for value in part.values] == steps[order].tolist()
