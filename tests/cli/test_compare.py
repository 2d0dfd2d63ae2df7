"""compare."""

from __future__ import annotations

import math

import pytest

from mltrack.cli.compare import best_of
from mltrack.recording import fluent
from mltrack.store import Store
from tests.support.command_line import Cli


def test_compare_shows_params_that_differ_and_marks_the_best_metric(cli: Cli, small_store: Store) -> None:
    said = cli("compare", "spirals-1", "spirals-3", "--json").json
    assert said["params"] == {"layers": ["1", "3"], "lr": ["0.1", "0.2"]}
    assert said["best"] == {
        "accuracy": [small_store.run("spirals-3").run_id],
        "loss": [small_store.run("spirals-3").run_id],
    }
    lines = cli("compare", "spirals-1", "spirals-3").out.splitlines()
    assert next(line for line in lines if line.startswith("accuracy")).endswith("0.75 *")


def test_params_that_are_equal_are_shown_with_all(cli: Cli) -> None:
    assert "lr" not in cli("compare", "spirals-1", "spirals-2", "--json").json["params"]
    assert cli("compare", "spirals-1", "spirals-2", "--all", "--json").json["params"]["lr"] == ["0.1", "0.1"]


def test_system_metrics_are_shown_on_request(cli: Cli) -> None:
    cpu, memory = "system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"
    runs = []
    for number in (1, 2):
        with fluent.start_run(run_name=f"measured-{number}") as run:
            run.log({"loss": 1 / number, cpu: 10.0 * number, memory: 100.0 * number})
            runs.append(run.run_id)
    assert sorted(cli("compare", *runs, "--json").json["metrics"]) == ["loss"]
    assert "system/" not in cli("compare", *runs).out
    assert sorted(cli("compare", *runs, "--system", "--json").json["metrics"]) == ["loss", cpu, memory]
    named = cli("compare", *runs, "--least", cpu, "--json").json
    assert sorted(named["metrics"]) == ["loss", cpu]
    assert named["best"][cpu] == [runs[0]]


@pytest.mark.parametrize(
    ("key", "row", "least", "most", "best"),
    [
        ("val_loss", [2.0, 1.0, 1.0], [], [], [1, 2]),
        ("accuracy", [0.5, None, 0.9], [], [], [2]),
        ("throughput", [1.0, 2.0], ["throughput"], [], [0]),
        ("whatever", [1.0, 2.0], [], [], []),
        ("whatever", [1.0, 2.0], [], ["whatever"], [1]),
        ("loss", [1.0, 1.0], [], [], []),
        ("system/system_memory_usage_megabytes", [1.0, 2.0], [], [], []),
        ("system/system_memory_usage_megabytes", [1.0, 2.0], ["system/system_memory_usage_megabytes"], [], [0]),
        ("loss", [math.nan, 1.0, 2.0], [], [], [1]),
        ("loss", [None, 1.0], [], [], []),
    ],
)
def test_the_best_value_is_found_if_its_direction_is_known(
    key: str, row: list[float | None], least: list[str], most: list[str], best: list[int]
) -> None:
    assert best_of(key, row, least, most) == best


def test_compare_with_a_baseline_shows_differences_in_percent_too(cli: Cli) -> None:
    said = cli("compare", "spirals-2", "spirals-3", "--baseline", "spirals-1", "--json").json
    assert [run["run_name"] for run in said["runs"]] == ["spirals-1", "spirals-2", "spirals-3"]
    assert said["baseline"] == said["runs"][0]["run_id"]
    assert said["differences"]["accuracy"] == [
        {"difference": None, "percent": None},
        {"difference": 0.25, "percent": 100.0},
        {"difference": 0.5, "percent": 200.0},
    ]
    lines = cli("compare", "spirals-3", "-b", "spirals-1").out.splitlines()
    assert "difference from spirals-1" in lines
    assert lines[-2].split() == ["accuracy", "+0.5", "(+200.0%)"]
    assert cli("compare", "spirals-1", "-b", "spirals-1").code == 2
