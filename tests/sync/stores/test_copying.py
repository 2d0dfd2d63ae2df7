"""Copying runs between two stores in folders: everything arrives, once, and what arrives is a valid store."""

from __future__ import annotations

from pathlib import Path

import pytest

from mltrack.recording import current_store, fluent
from mltrack.store import Store
from mltrack.values.rich import Histogram
from tests.support.store_copies import assert_same_runs, copy


def record(root: Path, name: str, points: int) -> str:
    """A run with points, an artifact and a histogram."""
    current_store.set_store(root)
    with fluent.start_run(run_name=name) as run:
        run.log_param("lr", 0.1)
        for step in range(points):
            run.log_metric("loss" if step % 2 else "accuracy", step / 7, step)
        run.log_text(f"the text of {name}", "notes/text.txt")
        run.log({"weights": Histogram([1.0, 2.0, 3.0])}, step=1)
        run_id: str = run.run_id
    current_store.set_store(None)
    return run_id


@pytest.fixture
def stores(tmp_path: Path) -> tuple[Store, Store]:
    """Two empty stores."""
    return Store.create(tmp_path / "a"), Store.create(tmp_path / "b")


def test_runs_arrive_whole_and_a_second_sync_moves_nothing(stores: tuple[Store, Store]) -> None:
    here, there = stores
    record(here.path, "short", 20)
    record(here.path, "sealed", 5_000)
    first = copy(here, there)
    assert first.problems == []
    assert len(first.units) == 2
    assert first.bytes > 0
    assert_same_runs(here, there)
    second = copy(here, there)
    assert (second.unchanged, second.units) == (2, [])


def test_a_store_without_its_ledger_compares_copies_and_copies_nothing(stores: tuple[Store, Store]) -> None:
    here, there = stores
    record(here.path, "short", 20)
    copy(here, there)
    for path in (there.path / "copied").glob("*.jsonl"):
        path.unlink()
    again = copy(here, there)
    assert (len(again.units), again.bytes, again.problems) == (1, 0, [])
    assert copy(here, there).unchanged == 1


def test_only_what_was_logged_since_is_copied_later(stores: tuple[Store, Store]) -> None:
    here, there = stores
    run_id = record(here.path, "first", 5_000)
    copy(here, there)
    current_store.set_store(here.path)
    with fluent.start_run(run_id=run_id) as run:
        run.log_metric("loss", 3.0, 9_999)
    current_store.set_store(None)
    more = copy(here, there)
    assert more.problems == []
    assert 0 < more.bytes < 20_000
    assert_same_runs(here, there)
    assert [found.info.run_id for found in there.search_runs(filter_string="metrics.loss = 3.0")] == [run_id]
