"""tail and metrics."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from functools import partial

import pytest

from mltrack.cli.metrics import Point, follow
from mltrack.recording import current_store, fluent
from mltrack.store import Store
from tests.support.command_line import Cli
from tests.support.terminal import in_terminal


def test_tail_prints_the_last_points_in_order(cli: Cli) -> None:
    lines = [line.split("\t") for line in cli("tail", "spirals-1", "-n", "3").out.splitlines()]
    assert [line[1:] for line in lines] == [
        ["18", "loss", repr(1 / 19)],
        ["19", "loss", repr(1 / 20)],
        ["0", "accuracy", "0.25"],
    ]


def test_tail_of_given_metrics_prints_only_these(cli: Cli) -> None:
    points = [json.loads(line) for line in cli("tail", "spirals-1", "-m", "loss", "-n", "2", "--json").out.splitlines()]
    assert [(point["step"], point["metric"]) for point in points] == [(18, "loss"), (19, "loss")]


def test_tail_follows_an_ended_run_to_its_end_at_once(cli: Cli) -> None:
    assert len(cli("tail", "-f", "spirals-1", "-n", "100").out.splitlines()) == 21


def test_tail_follows_a_live_run_through_a_new_writer_and_a_seal_to_its_end(small_store: Store) -> None:
    current_store.set_store(small_store.path)
    run = fluent.start_run(run_name="live")
    run.log_metric("loss", 1.0, 0)
    steps: list[Callable[[], None]] = [
        partial(run.log_metric, "loss", 2.0, 1),
        lambda: _resume_elsewhere(small_store, run.run_id),
        partial(run.log_series, "many", range(5_000)),
        run.end,
    ]

    def sleep(_: float) -> None:
        steps.pop(0)()

    seen: list[Point] = list(follow(small_store.run(run.run_id), {}, sleep=sleep))
    assert not steps
    assert [point.value for point in seen if point.metric == "loss"] == [1.0, 2.0, 3.0]
    assert [point.step for point in seen if point.metric == "many"] == list(range(5_000))


def _resume_elsewhere(store: Store, run_id: str) -> None:
    code = f"""
        from mltrack.recording import current_store
        from mltrack.recording import fluent
        current_store.set_store({str(store.path)!r})
        with fluent.start_run(run_id={run_id!r}) as run:
            run.log_metric("loss", 3.0, 2)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=60)


def test_metrics_without_a_key_summarises_each(cli: Cli) -> None:
    assert cli("metrics", "spirals-1", "--json").json["loss"]["min"] == 1 / 20
    assert [line.split()[0] for line in cli("metrics", "spirals-1").out.splitlines()] == ["metric", "accuracy", "loss"]


@pytest.mark.parametrize(("args", "count"), [([], 20), (["--last", "5"], 5)])
def test_metrics_with_a_key_prints_its_points(args: list[str], count: int, cli: Cli) -> None:
    points = cli("metrics", "spirals-1", "loss", "--json", *args).json["loss"]
    assert len(points) == count
    assert points[-1]["step"] == 19
    assert len(cli("metrics", "spirals-1", "loss", *args).out.splitlines()) == count + 1


@pytest.mark.slow
def test_metrics_in_a_terminal_draws_a_chart(small_store: Store) -> None:
    shown = in_terminal(small_store.path, "metrics", "spirals-1", "loss", width=60)
    assert "┤" in shown
    assert "points 20" in shown
    assert "▁" in in_terminal(small_store.path, "metrics", "spirals-1")


@pytest.mark.slow
def test_values_that_are_not_finite_are_strict_json(cli: Cli, small_store: Store) -> None:
    current_store.set_store(small_store.path)
    with fluent.start_run(run_name="odd") as run:
        run.log_series("loss", [float("nan"), float("inf"), float("-inf"), 1.0])
    values = [point["value"] for point in cli("metrics", "odd", "loss", "--json").json["loss"]]
    assert values == ["NaN", "Infinity", "-Infinity", 1.0]
    assert cli("ls", "--json").code == 0
    assert "no finite" not in in_terminal(small_store.path, "metrics", "odd", "loss")
