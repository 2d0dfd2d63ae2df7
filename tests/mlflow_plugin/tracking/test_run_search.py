"""Runs searched through MLflow's interface: filters, orders, views and pages give the same on both stores."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelOutput,
    Metric,
    Param,
    RunStatus,
    RunTag,
    ViewType,
)

from tests.support.plugin.codes import raises
from tests.support.plugin.opening import opened

# name, metrics, params, tags, datasets, status
RUNS: tuple[tuple[str, dict[str, float], dict[str, str], dict[str, str], tuple[tuple[str, str], ...], str], ...] = (
    (
        "one",
        {"loss": 0.1, "acc": 0.9},
        {"opt": "adam", "lr": "0.1"},
        {"team": "x"},
        (("train", "training"),),
        "FINISHED",
    ),
    ("two", {"loss": 0.5}, {"opt": "sgd"}, {"team": "y"}, (("train", "training"), ("test", "eval")), "FAILED"),
    ("Three", {"loss": math.nan, "acc": 0.5}, {"opt": "Adam"}, {}, (), "RUNNING"),
    ("four", {}, {}, {"team": "x", "note": "it's"}, (("test", "eval"),), "KILLED"),
    ("five", {"loss": -2.0}, {"opt": "adam", "lr": ""}, {"mlflow.user": "ada"}, (), "FINISHED"),
)


@pytest.fixture
def several(tracking: Any) -> Any:
    return filled(tracking)


@pytest.fixture(scope="module", params=["mltrack", "sql"])
def standing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The same, for tests that change nothing."""
    folder = tmp_path_factory.mktemp("standing")
    with opened(request.param, folder, request) as tracking:
        yield filled(tracking)


def filled(tracking: Any) -> Any:
    for number, (name, metrics, params, tags, datasets, status) in enumerate(RUNS):
        start = 1_700_000_000_000 + 1_000 * number
        run_id = tracking.create_run(
            "0", f"user{number}", start, [RunTag(*tag) for tag in tags.items()], name
        ).info.run_id
        tracking.log_batch(
            run_id,
            [Metric(key, value, start, number) for key, value in metrics.items()],
            [Param(*param) for param in params.items()],
            [],
        )
        tracking.log_inputs(
            run_id,
            [
                DatasetInput(Dataset(name, "d1", "http", "{}"), [InputTag("mlflow.data.context", context)])
                for name, context in datasets
            ],
        )
        if status != "RUNNING":
            tracking.update_run_info(run_id, RunStatus.from_string(status), start + 500 * number, None)
    return tracking


def search(
    tracking: Any, text: str = "", order_by: list[str] | None = None, view: int = ViewType.ACTIVE_ONLY, **more: Any
) -> list[str]:
    found = tracking.search_runs(["0"], text, view, order_by=order_by, **more)
    return [run.info.run_name for run in found]


@pytest.mark.parametrize(
    ("filter_string", "expected"),
    [
        ("", ["five", "four", "Three", "two", "one"]),
        ("metrics.loss < 0.5", ["five", "one"]),
        ("metrics.loss >= 0.5", ["two"]),
        ("metrics.loss != 0.5", ["five", "Three", "one"]),
        ("metrics.acc > 0 and metrics.loss = 0.1", ["one"]),
        ("params.opt = 'adam'", ["five", "one"]),
        ("params.opt != 'adam'", ["Three", "two"]),
        ("params.opt LIKE 'a%'", ["five", "one"]),
        ("params.opt ILIKE 'a%'", ["five", "Three", "one"]),
        ("params.lr = ''", ["five"]),
        ("params.lr IS NULL", ["four", "Three", "two"]),
        ("params.lr IS NOT NULL", ["five", "one"]),
        ("tags.team = 'x' and params.opt = 'adam'", ["one"]),
        ("tags.team != 'x'", ["two"]),
        ('tags.note = "it\'s"', ["four"]),
        ("attributes.status = 'FINISHED'", ["five", "one"]),
        ("status != 'FINISHED'", ["four", "Three", "two"]),
        ("run_name ILIKE 't%'", ["Three", "two"]),
        ("start_time > 1700000002000", ["five", "four"]),
        ("end_time = 1700000001500", ["two"]),
        ("user_id = 'user3'", ["four"]),
        ("datasets.name = 'train'", ["two", "one"]),
        ("dataset.context = 'eval'", ["four", "two"]),
        ("datasets.name LIKE 't%' and datasets.digest = 'd1'", ["four", "two", "one"]),
        ("datasets.name = 'nothing'", []),
    ],
)
def test_a_filter_finds_the_expected(standing: Any, filter_string: str, expected: list[str]) -> None:
    assert search(standing, filter_string) == expected


@pytest.mark.parametrize(
    "filter_string",
    [
        "metrics.loss = 'a'",
        "params.opt > 'a'",
        "nothing = 'a'",
        "loss < 1 and",
        "metrics.loss LIKE 'a'",
        "status = 1",
        "= 3",
    ],
)
def test_an_invalid_filter_is_refused(standing: Any, filter_string: str) -> None:
    with raises("INVALID_PARAMETER_VALUE"):
        search(standing, filter_string)


@pytest.mark.parametrize(
    ("order_by", "expected"),
    [
        (["start_time"], ["one", "two", "Three", "four", "five"]),
        (["start_time DESC"], ["five", "four", "Three", "two", "one"]),
        (["metrics.loss"], ["five", "one", "two", "Three", "four"]),
        (["metrics.loss DESC"], ["two", "one", "five", "Three", "four"]),
        (["params.opt", "start_time"], ["Three", "one", "five", "two", "four"]),
        (["params.opt DESC", "start_time DESC"], ["two", "five", "one", "Three", "four"]),
        (["tags.team", "start_time"], ["one", "four", "two", "Three", "five"]),
        (["status", "start_time"], ["two", "one", "five", "four", "Three"]),
        (["run_name"], ["Three", "five", "four", "one", "two"]),
        (["attributes.end_time DESC", "start_time"], ["five", "four", "two", "one", "Three"]),
    ],
)
def test_an_order_is_applied(standing: Any, order_by: list[str], expected: list[str]) -> None:
    assert search(standing, order_by=order_by) == expected


def test_an_invalid_order_is_refused(standing: Any) -> None:
    for order_by in (["nothing.x"], ["metrics.loss SIDEWAYS"], ["attributes.nothing"]):
        with raises("INVALID_PARAMETER_VALUE"):
            search(standing, order_by=order_by)


def test_a_found_run_equals_the_run(several: Any) -> None:
    run_id = several.search_runs(["0"], "attributes.run_name = 'two'", ViewType.ALL)[0].info.run_id
    several.log_outputs(run_id, [LoggedModelOutput("m-" + "1" * 32, 3)])
    (found,) = several.search_runs(["0"], "attributes.run_name = 'two'", ViewType.ALL)
    run = several.get_run(run_id)
    assert found.info == run.info
    assert (found.data.params, found.data.tags) == (run.data.params, run.data.tags)
    assert {m.key: (m.value, m.timestamp, m.step) for m in found.data._metric_objs} == {
        "loss": (0.5, 1_700_000_001_000, 1)
    }
    assert {d.dataset.name for d in found.inputs.dataset_inputs} == {"train", "test"}
    assert [(model.model_id, model.step) for model in found.outputs.model_outputs] == [("m-" + "1" * 32, 3)]


def test_views_distinguish_active_from_deleted(several: Any) -> None:
    several.delete_run(several.search_runs(["0"], "run_name = 'two'", ViewType.ALL)[0].info.run_id)
    assert search(several) == ["five", "four", "Three", "one"]
    assert search(several, view=ViewType.DELETED_ONLY) == ["two"]
    assert len(search(several, view=ViewType.ALL)) == 5


def test_only_the_requested_experiments_are_searched(several: Any) -> None:
    other = several.create_experiment("other")
    run_id = several.create_run(other, "me", 0, [], "elsewhere").info.run_id
    assert [run.info.run_id for run in several.search_runs([other], "", ViewType.ALL)] == [run_id]
    assert len(several.search_runs(["0", other], "", ViewType.ALL)) == 6
    assert several.search_runs([], "", ViewType.ALL) == []
    assert several.search_runs(["777"], "", ViewType.ALL) == []
    with raises("INVALID_PARAMETER_VALUE"):
        several.search_runs(["abc"], "", ViewType.ALL)


@pytest.mark.parametrize("order_by", [None, ["metrics.loss"], ["params.opt DESC"]])
def test_pages_are_consecutive(standing: Any, order_by: list[str] | None) -> None:
    found: list[str] = []
    token, sizes = None, []
    while True:
        page = standing.search_runs(["0"], "", ViewType.ALL, max_results=2, order_by=order_by, page_token=token)
        found += [run.info.run_name for run in page]
        sizes.append(len(page))
        token = page.token
        if not token:
            break
    assert sizes == [2, 2, 1]
    assert found == search(standing, order_by=order_by)


@pytest.mark.parametrize("max_results", [0, -1, 50_001])
def test_a_page_has_one_to_fifty_thousand_entries(standing: Any, max_results: int) -> None:
    with raises("INVALID_PARAMETER_VALUE"):
        standing.search_runs(["0"], "", ViewType.ALL, max_results=max_results)


def test_without_a_page_size_all_runs_are_returned(standing: Any) -> None:
    assert len(standing.search_runs(["0"], "", ViewType.ALL, max_results=None)) == 5


def test_values_that_are_not_text_become_text_and_do_not_break_a_search(several: Any) -> None:
    made = several.create_run("0", "me", 5, [RunTag("number", 5)], 7)  # type: ignore[arg-type]
    several.update_run_info(made.info.run_id, None, None, 8)
    (found,) = several.search_runs(["0"], "tags.number = '5'", 1, 10, None, None)
    assert (found.info.run_name, found.data.tags["number"], found.data.tags["mlflow.runName"]) == ("8", "5", "8")


def test_what_is_logged_is_found_immediately(several: Any) -> None:
    run_id = several.search_runs(["0"], "run_name = 'Three'", ViewType.ALL)[0].info.run_id
    several.log_metric(run_id, Metric("loss", 77.0, 1_800_000_000_000, 99))
    assert search(several, "metrics.loss = 77") == ["Three"]
    several.set_tag(run_id, RunTag("mlflow.runName", "renamed"))
    assert search(several, "metrics.loss = 77") == ["renamed"]
    several.delete_run(run_id)
    assert search(several, "metrics.loss = 77") == []
