"""Points in doubt compared with what the remote has, asking for no more of it than needed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from mltrack.disk.segment import PointColumns
from mltrack_sync.mlflow.api.client import History
from mltrack_sync.mlflow.plan.reconcile import RemotePoints, missing

PAGE_ROWS = 10


def points(steps: list[int]) -> PointColumns:
    """Points of the metric "m" at these steps, at as many ms."""
    at = np.array(steps, np.int64)
    return PointColumns(["m"], np.zeros(len(at), np.int64), np.arange(len(at)), at, at * 1_000_000, at.astype(float))


class Far:
    """A remote that has points at some steps, and gives them in pages; it counts these."""

    def __init__(self, steps: list[int]) -> None:
        self.steps = steps
        self.pages = 0

    def history(self, key: str) -> Iterator[History]:
        for start in range(0, len(self.steps), PAGE_ROWS):
            self.pages += 1
            at = np.array(self.steps[start : start + PAGE_ROWS], np.int64)
            yield History(at, at, at.astype(float))

    def points(self) -> RemotePoints:
        return RemotePoints({"m": (max(self.steps), max(self.steps))}, self.history)


@pytest.mark.parametrize(
    ("there", "doubtful", "pages"),
    [
        (list(range(100)), [100, 101], 0),  # all later than the latest
        (list(range(100)), [99, 100], 10),
        (list(reversed(range(100))), [95, 99, 100], 1),  # what is later is not looked for
        (list(range(100)), [0, 5], 1),
        (list(range(100)), [5, 25], 3),
        (list(range(0, 100, 2)), [4, 5], 5),  # one is missing: known at the end only
        (list(range(100)), list(range(30)), 3),
    ],
)
def test_history_is_read_until_every_point_in_doubt_is_found(there: list[int], doubtful: list[int], pages: int) -> None:
    far = Far(there)
    absent = missing(points(doubtful), far.points())
    assert absent.tolist() == [step not in there for step in doubtful]
    assert far.pages == pages


def test_reading_a_history_continues_after_what_was_already_read() -> None:
    far = Far(list(range(100)))
    remote = far.points()
    for doubtful, pages in (([12], 2), ([3, 14], 2), ([35], 4), ([98, 7], 10), ([50], 10)):
        assert not missing(points(doubtful), remote).any()
        assert far.pages == pages
    assert missing(points([7, 200]), remote).tolist() == [False, True]


def test_random_remotes_give_the_same_answer_as_reading_everything() -> None:
    chance = np.random.default_rng(4)
    for _ in range(200):
        there = chance.permutation(120)[: int(chance.integers(1, 60))].tolist()
        remote = Far(there).points()
        for _ in range(4):
            doubtful = chance.integers(0, 120, int(chance.integers(1, 20))).tolist()
            assert missing(points(doubtful), remote).tolist() == [step not in there for step in doubtful]
