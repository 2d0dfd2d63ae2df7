"""Aggregates of metrics, and groups of runs."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from mltrack.catalog.aggregates import Aggregate, aggregate_in
from mltrack.catalog.groups import Spread
from mltrack.errors import FilterError, UsageError
from mltrack.recording import current_store, fluent
from mltrack.store import Store
from tests.support.pages import blocks
from tests.support.written_runs import long_run, write_run

CLI_PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


@pytest.fixture
def seeds(tmp_path: Path) -> Store:
    """Two settings with two seeds each, and a run without the param."""
    store = Store.create(tmp_path / ".mltrack")
    for lr, seed, last in (("0.1", "1", 1.0), ("0.1", "2", 3.0), ("0.02", "1", 0.5), ("0.02", "2", 0.5)):
        write_run(store, params={"lr": lr, "seed": seed}, metrics={"loss": [(0, 5.0), (1, math.nan), (2, last)]})
    write_run(store, name="plain", metrics={"acc": [(0, 0.25)]})
    return store


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("min(loss)", Aggregate("min", "loss")),
        (" MAX ( metrics.val/acc ) ", Aggregate("max", "val/acc")),
        ("mean(`a (b)`)", Aggregate("mean", "a (b)")),
        ("last(f(x))", Aggregate("last", "f(x)")),
        ("median(loss)", None),
        ("loss", None),
        ("min()", None),
    ],
)
def test_an_aggregate_is_read_from_its_text(text: str, found: Aggregate | None) -> None:
    assert aggregate_in(text) == found


def test_a_search_gives_aggregates_of_the_points_that_count(seeds: Store) -> None:
    asked = ["min(loss)", "max(loss)", "last(loss)", "mean(loss)", "count(loss)"]
    runs = seeds.search_runs(aggregates=asked, order_by=["last(loss) DESC"])
    assert runs[0].aggregates == {
        "min(loss)": 3.0,
        "max(loss)": 5.0,
        "last(loss)": 3.0,
        "mean(loss)": 4.0,
        "count(loss)": 3,
    }
    assert runs[-1].info.run_name == "plain"
    assert runs[-1].aggregates == {}
    assert seeds.search_runs()[0].aggregates == {}


def test_the_mean_of_a_live_run_and_of_a_sealed_one_is_of_all_points(tmp_path: Path) -> None:
    store = Store.create(tmp_path / ".mltrack")
    sealed = long_run(store, 5_001)
    current_store.set_store(store.path)
    run = fluent.start_run()
    run.log_series("loss", [1.0, 2.0, 6.0])
    found = {one.run_id: one.aggregates["mean(loss)"] for one in store.search_runs(aggregates=["mean(loss)"])}
    assert found == {sealed: 1250.0, run.run_id: 3.0}


def test_a_data_frame_has_a_column_for_each_aggregate(seeds: Store) -> None:
    frame = seeds.search_runs_frame(aggregates=["min(loss)", "mean(loss)"], order_by=["min(loss)"])
    assert list(frame["min(loss)"])[:4] == [0.5, 0.5, 1.0, 3.0]
    assert list(frame["mean(loss)"])[:4] == [2.75, 2.75, 3.0, 4.0]
    assert math.isnan(frame["min(loss)"].iloc[4])


def test_pages_of_runs_ordered_by_an_aggregate_follow_each_other(seeds: Store) -> None:
    token, seen = None, []
    while True:
        page = seeds.search_runs(order_by=["min(loss)"], max_results=2, page_token=token)
        seen += [run.run_id for run in page]
        token = page.token
        if token is None:
            break
    assert seen == [run.run_id for run in seeds.search_runs(order_by=["min(loss)"])]


@pytest.mark.parametrize(
    ("filter_string", "count"),
    [
        ("min(loss) < 1", 2),
        ("max(metrics.loss) = 5 and last(`loss`) > 2", 1),
        ("count(loss) >= 3", 4),
        ("min(acc) > 0 or (MIN(loss) <= 0.5)", 3),
    ],
)
def test_runs_are_filtered_by_aggregates(seeds: Store, filter_string: str, count: int) -> None:
    assert len(seeds.search_runs(filter_string=filter_string)) == count


@pytest.mark.parametrize("filter_string", ["mean(loss) < 1", "min(loss < 1", "min() < 1", "min(loss) = 'a'"])
def test_an_aggregate_that_can_not_be_filtered_by_is_named(seeds: Store, filter_string: str) -> None:
    with pytest.raises(FilterError):
        seeds.search_runs(filter_string=filter_string)


def test_what_is_not_an_aggregate_is_named() -> None:
    with pytest.raises(UsageError, match="'median\\(loss\\)' is not an aggregate"):
        Store.search_runs(Store.__new__(Store), aggregates=["median(loss)"])
    with pytest.raises(FilterError, match="can't be ordered by mean"):
        Store.search_runs(Store.__new__(Store), order_by=["mean(loss)"])


def test_groups_have_mean_and_deviation_and_are_in_the_order_of_their_numbers(seeds: Store) -> None:
    groups = seeds.group_runs(["params.lr"], ["last(loss)", "mean(loss)"])
    assert [(dict(group.keys), len(group.run_ids)) for group in groups] == [
        ({"params.lr": "0.02"}, 2),
        ({"params.lr": "0.1"}, 2),
        ({"params.lr": None}, 1),
    ]
    assert groups[1].values["last(loss)"] == Spread(2.0, math.sqrt(2), 1.0, 3.0, 2)
    assert groups[1].values["mean(loss)"].mean == 3.5
    assert groups[2].values == {}
    assert len(seeds.group_runs(["lr", "seed"], [])) == 5
    assert [len(group.run_ids) for group in seeds.group_runs(["experiment"], [])] == [5]
    with pytest.raises(UsageError, match="grouped by a metric"):
        seeds.group_runs(["metrics.loss"], [])


def test_the_deviation_of_one_run_is_unknown_and_huge_values_overflow_to_infinity() -> None:
    assert Spread.of([2.0]) == Spread(2.0, None, 2.0, 2.0, 1)
    assert Spread.of([1e308, 1.1e308]).mean == math.inf
    equal = 1 - math.exp(-4 / 3)
    assert Spread.of([equal] * 3) == Spread(equal, 0.0, equal, equal, 3)
    assert math.isnan(Spread.of([math.nan] * 2).std or 0)
    assert math.isnan(Spread.of([1.0, math.nan]).mean)
    assert Spread.of([1.0, math.nan]).max == 1.0


def test_the_query_in_the_docs_says_what_group_runs_says(seeds: Store) -> None:
    query = next(block.text for block in blocks(CLI_PAGE) if block.language == "sql" and "stddev_samp" in block.text)
    rows = {row["lr"]: row for row in seeds.sql(query).to_pylist()}
    groups = [group for group in seeds.group_runs(["lr"], ["last(loss)", "min(loss)"]) if group.keys["lr"]]
    assert {group.keys["lr"] for group in groups} == set(rows)
    for group in groups:
        row, last = rows[str(group.keys["lr"])], group.values["last(loss)"]
        assert (row["runs"], row["loss"], row["deviation"], row["least"]) == (
            len(group.run_ids),
            last.mean,
            pytest.approx(last.std),
            group.values["min(loss)"].min,
        )


def test_summaries_of_the_catalog_are_those_of_the_runs(seeds: Store) -> None:
    ids = [run.run_id for run in seeds.search_runs()]
    found = seeds.summaries(ids[:3])
    assert {run_id: set(found[run_id]) for run_id in found} == {i: set(seeds.run(i).summaries) for i in ids[:3]}
    for run_id, by_key in found.items():
        for key, summary in by_key.items():
            assert repr(summary) == repr(seeds.run(run_id).summaries[key])  # a NaN is unequal to itself
