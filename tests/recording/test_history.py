"""``start_run(history=)``: how many points of a metric go to servers is a tag of the run."""

from __future__ import annotations

import pytest

import mltrack
from mltrack.errors import UsageError
from mltrack.store import Store


def test_the_history_is_a_tag_of_the_run(store: Store) -> None:
    mltrack.set_store(store.path)
    with mltrack.start_run(history=500) as run:
        pass
    assert store.run(run.run_id).tags["mltrack.history"] == "500"
    with mltrack.start_run(history=0) as run:
        pass
    assert store.run(run.run_id).tags["mltrack.history"] == "0"


@pytest.mark.parametrize("history", [-1, 1, 99, 1_000_001])
def test_a_history_out_of_bounds_is_refused_before_a_run_starts(store: Store, history: int) -> None:
    mltrack.set_store(store.path)
    with pytest.raises(UsageError, match="not a number of points"):
        mltrack.start_run(history=history)
    assert store.run_ids() == []
