"""watch, stop, and alerts in show, ls and tail."""

from __future__ import annotations

import math

import pytest

from mltrack.recording import current_store, fluent
from mltrack.recording.run import Run
from mltrack.store import Store
from tests.support.command_line import Cli


@pytest.fixture
def live(small_store: Store) -> Run:
    current_store.set_store(small_store.path)
    run = fluent.start_run(run_name="live")
    run.log_metric("loss", math.nan, 3)
    return run


def test_watch_prints_and_records_each_alert_once(cli: Cli, live: Run) -> None:
    said = cli("watch", "--rule", "loss is NaN", "--stop", "--once")
    assert said.code == 0
    assert said.out.split(" ! ")[1] == f"{live.run_id[:8]} live: loss is NaN at step 3 [stop]\n"
    assert "1 rule, 1 live run in" in said.err
    assert live.should_stop
    assert cli("watch", "--rule", "loss is NaN", "--once").out == ""
    found = cli("watch", "live", "--rule", "loss != 1", "--once", "--json").json
    assert (found["run_name"], found["step"], found["value"]) == ("live", 3, "NaN")


def test_alerts_are_shown_by_show_ls_tail_and_sql(cli: Cli, live: Run) -> None:
    cli("watch", "--rule", "loss is NaN", "--once")
    live.end()
    shown = cli("show", "live")
    assert "Alerts" in shown.out
    assert "loss is NaN at step 3" in shown.out
    assert [alert["rule"] for alert in cli("show", "live", "--json").json["alerts"]] == ["loss is NaN"]
    head, first = (line.split() for line in cli("ls").out.splitlines()[:2])
    assert "alerts" in head
    assert "!" in first
    assert "loss is NaN at step 3" in cli("tail", "live").err
    assert cli("sql", "SELECT rule, step FROM alerts", "--json").json == [{"rule": "loss is NaN", "step": 3}]


def test_alerts_are_marked_by_top(cli: Cli, live: Run) -> None:
    cli("watch", "--rule", "loss is NaN", "--once")
    assert "! 1" in next(line for line in cli("top", "--once").out.splitlines() if line.strip().startswith("live"))
    found = cli("top", "--once", "--json").json
    assert [(row["name"], row["alerts"]) for row in found["rows"] if row.get("alerts")] == [("live", 1)]
    assert found["alerts"] in ([], ["loss is NaN at step 3"])


def test_watch_without_rules_says_what_to_write(cli: Cli) -> None:
    said = cli("watch", "--once")
    assert said.code == 2
    assert "there are no rules to watch by" in said.err
    assert "is not understood" in cli("watch", "--rule", "loss", "--once").err


def test_stop_asks_a_live_run_and_refuses_one_that_has_ended(cli: Cli, live: Run, small_store: Store) -> None:
    assert cli("stop", "live", "--reason", "enough").out == f"{live.run_id[:8]} live is asked to stop\n"
    assert live.should_stop
    before = small_store.run("spirals-1").head()
    said = cli("stop", "spirals-1")
    assert said.code == 2
    assert "is not being recorded" in said.err
    assert small_store.run("spirals-1").head() == before
