"""The page on ranks: four processes with the environment that torchrun gives, in one run."""

from __future__ import annotations

from pathlib import Path

import pytest

from mltrack import Store
from tests.support.pages import Page

pytestmark = pytest.mark.slow

RANKS = range(4)


def test_four_ranks_record_into_one_run(tmp_path: Path) -> None:
    page = Page("ddp.md", tmp_path)
    page.run(page.commands("ranks.py"))
    (run,) = Store.open(page.store).runs()
    assert (run.info.run_name, run.info.experiment_name, run.info.status) == ("four-ranks", "ddp", "FINISHED")
    assert run.params == {"lr": "0.1", "world_size": "4"}
    for rank in RANKS:
        points = run.metrics(f"rank{rank}/loss")
        assert points.column("step").to_pylist() == list(range(100))
        assert points.column("value").to_pylist() == [(1 + rank) / (1 + step) for step in range(100)]
    assert len(run.metrics("loss")) == 100
    assert page.run(page.commands("read.py")) == "".join(f"{rank} 100 {(1 + rank) / 100}\n" for rank in RANKS)


def test_a_rank_that_dies_fails_the_run(tmp_path: Path) -> None:
    page = Page("ddp.md", tmp_path)
    train = tmp_path / "train.py"
    train.write_text(train.read_text() + "    if rank == 2:\n        raise ValueError('no such rank')\n")
    with page.started(page.commands("ranks.py").splitlines()[0]) as launched:
        assert launched.wait() == 1
    (run,) = Store.open(page.store).runs()
    assert run.info.status == "FAILED"
    assert run.tags["mltrack.error"].endswith("ValueError: no such rank")
    assert len(run.metrics("rank1/loss")) == 100
