"""`mltrack top --once`: what a screen shows, as text and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mltrack.store import Store
from tests.support.command_line import Cli
from tests.support.terminal import in_terminal


def test_once_prints_the_tree_the_charts_and_the_details_as_json(cli: Cli) -> None:
    found = cli("top", "--once", "--json", "--filter", "/spirals-[13]/ and metrics.loss > 0").json
    assert [row.get("name", row.get("group")) for row in found["rows"]] == ["spirals", "spirals-3", "spirals-1"]
    charts = {chart["metric"]: chart for chart in found["charts"]}
    first = charts["loss"]["lines"][-1]
    assert (first["name"], first["points"], first["high"], first["last"]) == ("spirals-1", 20, 1.0, 1 / 20)
    assert first["columns"][0] == [0, 1.0, 1.0]
    assert found["params"] == {"layers": "3", "lr": "0.2"}
    assert found["log"] == "step 1\nstep 2\n"
    assert found["sync"] == []


def test_the_remotes_are_listed_with_what_waits(cli: Cli) -> None:
    assert cli("remote", "add", "lab", "http://127.0.0.1:9").code == 0
    (state,) = cli("top", "--once", "--json").json["sync"]
    assert (state["name"], state["runs"], state["points"]) == ("lab", 3, 63)


@pytest.mark.slow
def test_a_terminal_gets_a_table_and_charts(small_store: Store) -> None:
    shown = in_terminal(small_store.path, "top", "--once", "-g", "params.lr", "-m", "loss", width=80)
    assert "0.1 (2)" in shown
    assert "● spirals-2" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_without_a_terminal_the_hint_says_what_to_do(cli: Cli) -> None:
    said = cli("top")
    assert said.code == 2
    assert "--once" in said.err


def test_a_mistake_in_an_option_is_named(cli: Cli) -> None:
    for option, value in (("--filter", "metrics.loss <"), ("--group-by", "nothing"), ("--metrics", "(")):
        said = cli("top", "--once", option, value)
        assert said.code == 2
        assert value in said.err
    assert cli("top", "--once", "--run", "nosuch").code == 4


def test_what_was_remembered_does_not_change_what_once_prints(cli: Cli, tmp_path: Path) -> None:
    before = cli("top", "--once", "--json").json
    assert not list(tmp_path.rglob("top.json"))
    assert json.dumps(before["rows"]) == json.dumps(cli("top", "--once", "--json").json["rows"])


def test_a_misspelled_x_axis_is_answered_with_the_metrics(cli: Cli) -> None:
    said = cli("top", "--once", "-x", "los")
    assert (said.code, "did you mean loss?" in said.err) == (2, True)
    assert "no metric is like 'nosuch'" in cli("top", "--once", "-m", "nosuch").err


def test_curves_can_be_distinguished_without_colours(cli: Cli) -> None:
    shown = cli("top", "--once", "-g", "params.lr", "-m", "loss").out
    assert "a spirals-2" in shown and "b spirals-1" in shown
    assert "●" not in shown
    assert any(line.count("a") and "│" in line for line in shown.splitlines())
    alone = cli("top", "--once", "-m", "loss", "-f", "/spirals-1/", "-r", "spirals-1").out
    assert "● spirals-1" in alone
