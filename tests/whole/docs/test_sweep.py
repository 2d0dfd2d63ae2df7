"""The page on sweeps: 200 processes that record at once, and the best of them found in three ways."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from mltrack import Store
from tests.support.pages import Page

pytestmark = pytest.mark.slow


def test_two_hundred_concurrent_jobs_are_two_hundred_runs_and_each_query_finds_the_best(tmp_path: Path) -> None:
    page = Page("sweep.md", tmp_path)
    page.run(page.commands("xargs"))
    runs = {run.info.run_name: run for run in Store.open(page.store).runs()}
    assert sorted(runs) == sorted(f"trial-{n}" for n in range(1, 201))
    for run in runs.values():
        assert run.info.status == "FINISHED"
        assert sorted(run.params) == ["lr", "momentum"]
        assert run.metrics("loss").column("step").to_pylist() == list(range(100))
    ordered = sorted(runs, key=lambda name: runs[name].data.metrics["loss"])

    listed = page.run(page.commands("mltrack ls")).splitlines()
    assert [line.split()[1] for line in listed[1:]] == ordered[:5]

    said = page.run(page.commands("best.py"))
    best = runs[ordered[0]]
    assert said == f"{ordered[0]} {best.data.metrics['loss']} {best.params}\n"

    by_sql = list(csv.DictReader(page.run(page.commands("arg_max")).splitlines()))
    assert [row["run_name"] for row in by_sql] == ordered[:5]
    assert float(by_sql[0]["early"]) == best.metrics("loss").column("value").to_pylist()[10]

    groups = list(csv.DictReader(page.run(page.commands("log10")).splitlines()))
    assert [float(row["loss"]) for row in groups] == sorted(float(row["loss"]) for row in groups)
    assert all(-3 <= float(row["log_lr"]) <= -1 for row in groups)
