"""Rewinds and forks between stores: the events go along, and a fork takes the runs that it was forked from with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import mltrack
from mltrack.store import Store
from mltrack_sync import Remotes, Selection, push
from mltrack_sync.engine.verify import verify
from mltrack_sync.stores.bundles import BundleOptions, bundle, pull_bundle


def recorded(count: int) -> str:
    with mltrack.start_run() as run:
        for step in range(count):
            run.log_metric("loss", step / 8, step)
    return run.run_id


def steps(store: Store, run_id: str) -> list[int]:
    found: list[int] = store.run(run_id).metrics("loss").column("step").to_pylist()
    return found


@pytest.fixture
def far(store: Store, tmp_path: Path) -> Any:
    (tmp_path / "far").mkdir()
    return Remotes(store).add("far", str(tmp_path / "far" / ".mltrack"))


def test_a_rewind_and_its_undoing_arrive(store: Store, far: Any, tmp_path: Path) -> None:
    run_id = recorded(10)
    assert push(store, far).complete
    there = Store.open(tmp_path / "far" / ".mltrack")
    store.rewind_run(run_id, 4)
    assert push(store, far).complete
    assert steps(there, run_id) == [0, 1, 2, 3, 4]
    assert there.search_runs()[0].data.metrics == {"loss": 0.5}
    store.undo_rewind(run_id)
    assert push(store, far).complete
    assert steps(there, run_id) == list(range(10))
    assert verify(store, far).differences == ()


def test_rewinds_on_both_sides_add_up(store: Store, far: Any, tmp_path: Path) -> None:
    from mltrack_sync.engine.pull import pull

    run_id = recorded(10)
    assert push(store, far).complete
    there = Store.open(tmp_path / "far" / ".mltrack")
    there.rewind_run(run_id, 4)
    store.rewind_run(run_id, 6)
    assert push(store, far).complete
    assert pull(store, far).complete
    assert steps(store, run_id) == steps(there, run_id) == [0, 1, 2, 3, 4]
    store.undo_rewind(run_id)
    assert push(store, far).complete
    assert steps(there, run_id) == steps(store, run_id)


def test_a_fork_that_is_copied_alone_takes_its_parents_with_it(store: Store, far: Any, tmp_path: Path) -> None:
    parent, other = recorded(10), recorded(3)
    with mltrack.fork_run(parent, 5) as fork:
        fork.log({"loss": 7.0})
    with mltrack.fork_run(fork.run_id, 6) as second:
        second.log({"loss": 8.0})
    assert push(store, far, selection=Selection(runs=(second.run_id,))).complete
    there = Store.open(tmp_path / "far" / ".mltrack")
    assert steps(there, second.run_id) == [0, 1, 2, 3, 4, 5, 6, 7]
    assert set(there.run_ids()) == {parent, fork.run_id, second.run_id}
    assert other not in there.run_ids()
    assert verify(store, far, selection=Selection(runs=(second.run_id,))).differences == ()


def test_a_bundle_of_a_fork_has_its_parents(store: Store, tmp_path: Path) -> None:
    parent = recorded(10)
    with mltrack.fork_run(parent, 5) as fork:
        fork.log({"loss": 7.0})
    store.rewind_run(fork.run_id, 3)
    bundle(store, tmp_path / "runs.mltb", BundleOptions(selection=Selection(runs=(fork.run_id,))))
    there = Store.create(tmp_path / "other" / ".mltrack")
    pull_bundle(there, tmp_path / "runs.mltb")
    assert steps(there, fork.run_id) == [0, 1, 2, 3]
    assert set(there.run_ids()) == {parent, fork.run_id}
