"""Watching runs: each rule fires once, whoever watches, and what is done about it is recorded."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from mltrack.entities import Alert, RunHead
from mltrack.errors import UsageError
from mltrack.guards.actions import OUTPUT_CHARACTERS_MAX, facts_of, is_undone, post, run_command
from mltrack.guards.process import GuardProcess
from mltrack.guards.rules import Guard, as_guards
from mltrack.guards.store_watch import LIST_EVERY_S, StoreWatch, ask
from mltrack.guards.watcher import RunWatch
from mltrack.recording import current_store, fluent
from mltrack.recording.guarding import UnseenRules
from mltrack.recording.run import Run
from mltrack.storage.runs.alerts import append_alert
from mltrack.storage.runs.edit import set_tag
from mltrack.storage.runs.stop_file import is_stop_requested, stop_reason
from mltrack.store import Store
from mltrack.text.redaction import remember
from tests.support import ROOT
from tests.support.pages import blocks
from tests.support.raw_server import answer, raw_server

S = 1_000_000_000


@pytest.fixture
def run(tmp_path: Path) -> Run:
    current_store.set_store(tmp_path / ".mltrack")
    return fluent.start_run(run_name="watched")


def watching(run: Run, *guards: Guard | str, clock: Callable[[], int] = time.time_ns) -> RunWatch:
    store = Store.open(run.store_folder)
    return RunWatch(
        store.layout,
        run.run_id,
        as_guards(guards),
        query=lambda sql, run_id: ask(store, sql, run_id),
        on_trouble=pytest.fail,
        clock=clock,
    )


def rules_of(run: Run) -> list[str]:
    return [alert.rule for alert in run.alerts()]


def test_a_rule_fires_once_whoever_watches_and_again_when_the_run_is_resumed(run: Run) -> None:
    first = watching(run, Guard("loss is NaN", name="nan", stop=True, tag="bad=yes"))
    assert first.look()
    assert rules_of(run) == []
    run.log_metric("loss", math.nan, 7)
    first.look()
    watching(run, Guard("loss is NaN", name="nan", stop=True)).look()  # another watcher
    run.log_metric("loss", math.nan, 8)
    first.look()
    (alert,) = run.alerts()
    assert (alert.rule, alert.message, alert.metric, alert.step) == ("nan", "loss is NaN at step 7", "loss", 7)
    assert alert.actions == {"stop": "done", "tag": "done"}
    assert run.should_stop
    assert stop_reason(run.folder) == "loss is NaN at step 7"
    assert run.data.tags["bad"] == "yes"
    assert run.data.tags["mltrack.alert.nan"] == alert.message
    run.end()
    again = fluent.start_run(run_id=run.run_id)
    assert not again.should_stop
    watch = watching(again, Guard("loss is NaN", name="nan"))
    watch.look()
    assert len(again.alerts()) == 1
    again.log_metric("loss", math.nan, 9)
    watch.look()
    assert [alert.step for alert in again.alerts()] == [7, 9]


def test_points_that_a_rewind_hides_count_no_more(run: Run) -> None:
    watch = watching(run, "loss > 10 for 3 points")
    run.log_metric("loss", 11, 1)
    run.log_metric("loss", 11, 2)
    watch.look()
    run.rewind(0)
    run.log_metric("loss", 11, 1)
    watch.look()
    assert rules_of(run) == []
    run.log_metric("loss", 11, 2)
    run.log_metric("loss", 11, 3)
    watch.look()
    assert rules_of(run) == ["loss > 10 for 3 points"]


def test_a_run_without_points_is_found_when_the_time_has_passed(run: Run) -> None:
    now = [run.stored().state.episode + 9 * S]
    watch = watching(run, "no point for 10 s", clock=lambda: now[0])
    watch.look()
    assert rules_of(run) == []
    run.log_series("loss", [1.0], times=[5])  # a time long ago: it has come in now
    watch.look()
    now[0] += 9 * S
    watch.look()
    assert rules_of(run) == []
    now[0] += 10 * S
    watch.look()
    assert rules_of(run) == ["no point for 10 s"]


def test_sql_is_asked_about_the_run(run: Run) -> None:
    rule = "SELECT value AS loss FROM latest_metrics WHERE run_id = $run_id AND key = 'loss' AND value > 3"
    run.log_metric("loss", 2)
    watch = watching(run, Guard(rule, name="high"))
    watch.look()
    assert rules_of(run) == []
    run.log_metric("loss", 4, 1)
    run.end()
    watch.look()
    (alert,) = Store.open(run.store_folder).run(run.run_id).alerts()
    assert alert.message.startswith("loss = 4.0 (SELECT")


def test_the_query_of_the_page_finds_a_run_that_overfits(run: Run) -> None:
    (text,) = [block.text for block in blocks(ROOT / "docs" / "guards.md") if block.language == "toml"]
    watch = watching(run, Guard(tomllib.loads(text)["guards"]["overfit"]["sql"], name="overfit"))
    run.log({"loss": 1.0, "val_loss": 1.5})
    watch.look()
    assert rules_of(run) == []
    run.log({"loss": 0.5, "val_loss": 1.5})
    run.end()
    watch.look()
    assert run.stored().alerts()[0].message.startswith("val = 1.5, train = 0.5")


def test_a_query_that_fails_is_an_alert_without_actions(run: Run) -> None:
    watching(run, Guard("SELECT nothing FROM nowhere", name="wrong", stop=True)).look()
    (alert,) = run.alerts()
    assert alert.message.startswith("the rule can't be asked: Catalog Error")
    assert alert.actions == {}
    assert not run.should_stop


def test_a_command_gets_the_alert_and_its_outcome_is_recorded(run: Run, tmp_path: Path) -> None:
    script = 'import json, os, sys; open("seen.json", "w").write(os.environ["MLTRACK_ALERT_RULE"] + sys.stdin.read())'
    guards = [
        Guard(
            "loss is NaN",
            name="ok",
            command=[sys.executable, "-c", f"import os; os.chdir({str(tmp_path)!r}); {script}"],
        ),
        Guard("loss is NaN", name="bad", command=["sh", "-c", "echo no; exit 3"]),
        Guard("loss is NaN", name="none", command=["no-such-program"]),
    ]
    run.log_metric("loss", math.nan)
    watch = watching(run, *guards)
    watch.look()
    watch.close()
    outcomes = {alert.rule: alert.actions["command"] for alert in run.alerts()}
    assert outcomes == {
        "ok": "done",
        "bad": "failed: exit code 3: no",
        "none": "failed: no-such-program: No such file or directory",
    }
    seen = (tmp_path / "seen.json").read_text()
    assert seen.startswith("ok{")
    assert json.loads(seen[2:])["run_id"] == run.run_id


def test_a_secret_that_a_command_prints_is_not_recorded_not_even_its_end(run: Run) -> None:
    secret = "Qx7-secret-of-the-command-9Zk"
    remember(secret)
    command = ("sh", "-c", f"printf '{secret} %0{OUTPUT_CHARACTERS_MAX - 10}d' 0; exit 3")
    facts = facts_of(Alert("1", "nan", "loss is NaN", "found", 0, 0), run.info)
    assert "9Zk" not in run_command(command, facts, run.store_folder)


def test_a_webhook_is_called_again_until_it_answers(run: Run) -> None:
    with raw_server(lambda connection, request: connection.sendall(answer())) as server:
        run.log_metric("loss", math.nan)
        watch = watching(run, Guard("loss is NaN", name="nan", webhook=f"{server.url}/services/secret-part"))
        watch.look()
        watch.close()
        (alert,) = run.alerts()
        assert alert.actions == {"webhook": "done"}
    answers = iter([answer(status="503 Service Unavailable"), answer()])
    with raw_server(lambda connection, request: connection.sendall(next(answers))) as server:
        pauses: list[float] = []
        key = f"{run.run_id}.{alert.alert_id}"
        assert post(f"{server.url}/hook", facts_of(alert, run.info), key, sleep=pauses.append) == "done"
        assert len(server.seen) == 2
        assert pauses == [0.5]
        body = json.loads(server.seen[0].partition(b"\r\n\r\n")[2])
        assert body["text"] == "mltrack: watched: loss is NaN at step 0"
        keys = {line for seen in server.seen for line in seen.split(b"\r\n") if line.lower().startswith(b"idempotency")}
        assert [line.partition(b": ")[2].decode() for line in keys] == [key]


def test_a_webhook_that_refuses_is_not_called_again_and_its_url_is_not_recorded() -> None:
    with raw_server(lambda connection, request: connection.sendall(answer(status="404 Not Found"))) as server:
        url = Guard("loss is NaN", webhook=f"{server.url}/services/secret-part").webhook
        assert post(url, {}, "key") == "failed: 127.0.0.1 answered 404"
        assert len(server.seen) == 1


def test_what_a_killed_watcher_has_left_undone_is_done_by_the_next(run: Run, tmp_path: Path) -> None:
    other = subprocess.Popen(["sleep", "60"])
    guard = Guard("loss is NaN", name="nan", stop=True, command=["touch", str(tmp_path / "done")])
    run.log_metric("loss", math.nan)
    layout, state = Store.open(run.store_folder).layout, run.stored().state
    append_alert(
        layout,
        run.run_id,
        rule="nan",
        condition="loss is NaN",
        message="found",
        episode=state.episode,
        actions=guard.actions,
    )
    for path in run.folder.events.iterdir():  # as if the other process had recorded it
        text = path.read_text()
        if '"type":"alert"' in text:
            lines = [_with_pid(line, other.pid) for line in text.splitlines()]
            path.write_bytes(b"".join(lines))
    watch = watching(run, guard)
    watch.look()
    watch.look()
    assert not is_stop_requested(run.folder)  # while that lives
    other.kill()
    other.wait()
    watch.look()
    watch.close()
    assert is_stop_requested(run.folder)
    assert (tmp_path / "done").exists()
    assert [alert.actions for alert in run.alerts()] == [{"stop": "done", "command": "done"}]


def _with_pid(line: str, pid: int) -> bytes:
    from mltrack.disk.codec import encode_line

    fields = {key: value for key, value in json.loads(line).items() if key != "crc"}
    return encode_line(fields | ({"pid": pid} if fields["type"] == "writer" else {}))


def test_of_two_watchers_that_take_over_one_does_what_is_left(run: Run, tmp_path: Path) -> None:
    guard = Guard("loss is NaN", name="nan", command=["sh", "-c", f"echo ran >> {tmp_path}/ran"])
    layout = Store.open(run.store_folder).layout
    alert = append_alert(
        layout,
        run.run_id,
        rule="nan",
        condition="loss is NaN",
        message="found",
        episode=run.stored().state.episode,
        actions=guard.actions,
    )
    assert alert is not None
    both = [watching(run, guard), watching(run, guard)]
    for watch in both:
        watch._actions.perform(guard, alert)
    for watch in both:
        watch.close()
    assert (tmp_path / "ran").read_text() == "ran\n"


def test_a_webhook_is_left_to_the_process_that_calls_it_while_that_lives() -> None:
    host, dead = socket.gethostname(), subprocess.Popen([sys.executable, "-c", "pass"])
    dead.wait()
    assert not is_undone(f"calling from {host}:{os.getpid()}")
    assert is_undone(f"calling from {host}:{dead.pid}")
    assert not is_undone("calling from another-host:1")
    assert is_undone("")
    assert not is_undone("done")


def test_a_store_is_watched_for_runs_that_start_and_not_for_those_that_have_ended(tmp_path: Path) -> None:
    current_store.set_store(tmp_path / ".mltrack")
    with fluent.start_run() as old:
        old.log_metric("loss", math.nan)
    alerts: list[tuple[str, Alert]] = []
    store = Store.open(tmp_path / ".mltrack")
    watch = StoreWatch(
        store, as_guards(["loss is NaN"]), on_alert=lambda run, alert: alerts.append((run.run_id, alert))
    )
    watch.look()
    assert watch.watched == []
    set_tag(store.layout, old.run_id, "seen", "yes")  # which leaves a mark, as a start does
    watch.look()
    assert watch.watched == [] and alerts == []
    with fluent.start_run() as run:
        run.log_metric("loss", 1.0)
        watch.look()
        assert watch.watched == [run.run_id]
        run.log_metric("loss", math.nan)
    watch.look()
    watch.look()
    assert watch.watched == []
    assert [run_id for run_id, _ in alerts] == [run.run_id]
    rows = store.sql("SELECT run_id, rule, message, key, step FROM alerts").to_pylist()
    assert rows == [
        {
            "run_id": run.run_id,
            "rule": "loss is NaN",
            "message": "loss is NaN at step 0",
            "key": "loss",
            "step": 0,
        }
    ]


def test_a_rule_on_a_metric_that_was_never_logged_says_so_at_the_end_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rules = as_guards(["los > 10", "acc* < 0", "loss is NaN", "any metric is NaN", Guard("x > 1", experiments=["no"])])
    words = "the rule 'los > 10' had nothing to look at, as no metric 'los' was logged; did you mean loss?"
    current_store.set_store(tmp_path / ".mltrack")
    told: list[str] = []
    watch = StoreWatch(Store.create(tmp_path / ".mltrack"), rules, on_trouble=told.append)
    watch.look()
    with fluent.start_run() as run:
        run.attach(UnseenRules(run._recorder, rules))
        run.log({"loss": 1.0, "accuracy": 0.5}, step=0)
        watch.look()
    watch.look()
    watch.look()
    assert told == [f"run {run.name}: {words}"]
    assert [record.getMessage() for record in caplog.records] == told
    with fluent.start_run() as empty:
        empty.attach(UnseenRules(empty._recorder, rules))
    assert len(caplog.records) == 1


class BlinkingStore(Store):
    """Its catalog can't be read for a while."""

    failing = False

    def heads(self) -> dict[str, RunHead]:
        if self.failing:
            raise OSError(errno.ESTALE, "Stale file handle")
        return super().heads()


def test_a_store_that_can_not_be_read_for_a_while_is_watched_on_and_that_is_said_once(tmp_path: Path) -> None:
    current_store.set_store(tmp_path / ".mltrack")
    said: list[str] = []
    alerts: list[Alert] = []
    now = [0.0]
    with fluent.start_run() as run:
        store = BlinkingStore(Store.open(tmp_path / ".mltrack").layout)
        watch = StoreWatch(
            store,
            as_guards(["loss is NaN"]),
            on_alert=lambda run, alert: alerts.append(alert),
            on_trouble=said.append,
            ticks=lambda: now[0],
        )
        watch.look()
        store.failing = True
        for _ in range(3):
            now[0] += LIST_EVERY_S
            watch.look()
        (words,) = said
        assert "is tried again: [Errno" in words
        (tmp_path / ".mltrack").rename(tmp_path / "away")
        watch.look()
        watch.look()
        (tmp_path / "away").rename(tmp_path / ".mltrack")
        assert "is gone; watching goes on once it is back" in said[-1] and len(said) == 2
        run.log_metric("loss", math.nan)
        watch.look()
        assert watch.watched == [run.run_id]
    assert [alert.condition for alert in alerts] == ["loss is NaN"]


def test_only_a_live_run_can_be_stopped(run: Run) -> None:
    store = Store.open(run.store_folder)
    store.stop_run(run.run_id, "enough")
    assert run.should_stop
    assert stop_reason(run.folder) == "enough"
    run.end()
    with pytest.raises(UsageError, match="not being recorded"):
        store.stop_run(run.run_id)


@pytest.mark.slow
def test_guards_given_in_code_are_watched_by_another_process_which_is_started_again_if_it_is_killed(
    tmp_path: Path,
) -> None:
    current_store.set_store(tmp_path / ".mltrack")
    with fluent.start_run(guards=[Guard("loss is NaN", name="nan", stop=True)]) as run:
        (process,) = [one for one in run._attachments if isinstance(one, GuardProcess)]
        killed = process.pid
        os.kill(killed, signal.SIGKILL)
        run.log_metric("loss", math.nan, 3)
        while not run.should_stop:
            pass
        assert process.pid != killed
        assert [alert.step for alert in run.alerts()] == [3]
    assert process._process.wait() == 0


@pytest.mark.slow
def test_a_store_that_is_moved_stays_watched(tmp_path: Path) -> None:
    current_store.set_store(tmp_path / "before" / ".mltrack")
    with fluent.start_run(guards=[Guard("loss is NaN", stop=True)]) as run:
        (tmp_path / "before").rename(tmp_path / "after")
        run.log_metric("loss", math.nan)
        while not run.should_stop:
            pass
    assert Store.open(tmp_path / "after" / ".mltrack").run(run.run_id).alerts()


def test_a_rule_that_is_not_understood_starts_no_run(tmp_path: Path) -> None:
    current_store.set_store(tmp_path / ".mltrack")
    with pytest.raises(UsageError, match="not understood"):
        fluent.start_run(guards=["loss is bad"])
    assert fluent.last_active_run() is None or not (tmp_path / ".mltrack").exists()
