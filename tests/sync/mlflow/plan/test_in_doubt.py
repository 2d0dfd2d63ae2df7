"""What is in doubt of a run: which points are compared, and what the ledger says while a request is on its way."""

from __future__ import annotations

import numpy as np
import pytest

from mltrack.disk.segment import PointColumns
from mltrack_sync.ledger.runs import EVERYTHING, RunEntry
from mltrack_sync.mlflow.plan.batches import Request
from mltrack_sync.mlflow.plan.in_doubt import InDoubt


def points(first: int, count: int) -> PointColumns:
    zeros = np.zeros(count, np.int64)
    return PointColumns(["m"], zeros, np.arange(first, first + count), zeros, zeros, zeros.astype(np.float64))


def test_points_before_the_end_of_a_lost_request_are_in_doubt_and_later_ones_are_not() -> None:
    doubt = InDoubt.of(RunEntry(points={"w": 2}, doubt={"w": 5}))
    assert doubt.mask("w", points(3, 4)).tolist() == [True, True, False, False]
    assert doubt.mask("other", points(0, 2)).tolist() == [False, False]


def test_every_point_of_a_run_that_was_found_on_the_remote_is_in_doubt() -> None:
    doubt = InDoubt.of(RunEntry(doubt_all=True))
    assert doubt.mask("w", points(0, 3)).all()
    assert doubt.after({"w": 10**9})
    assert doubt.and_next(Request(ends={"w": 3})) == EVERYTHING


def test_what_is_acknowledged_is_not_in_doubt_any_more() -> None:
    doubt = InDoubt(ends={"a": 5, "b": 3})
    assert doubt.after({"a": 5, "b": 2}).ends == {"b": 3}
    assert not doubt.after({"a": 5, "b": 3})


@pytest.mark.parametrize("everything", [True, False])
def test_if_no_later_request_follows_nothing_is_in_doubt(everything: bool) -> None:
    assert InDoubt(everything, {"a": 5}).and_next(None) == {}


def test_the_ledger_records_what_was_in_doubt_together_with_the_next_request() -> None:
    doubt = InDoubt(ends={"a": 5, "b": 3})
    assert doubt.and_next(Request(ends={"b": 2, "c": 7})) == {"a": 5, "b": 3, "c": 7}
