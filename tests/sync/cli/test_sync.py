"""The commands: what they print, and how they end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest

import mltrack
from mltrack.errors import NotFoundError, UsageError
from mltrack.store import Store
from mltrack_sync import PushReport, Remote, Remotes
from mltrack_sync.cli.remote import commands as remote_commands
from mltrack_sync.cli.sync import commands as sync_commands
from mltrack_sync.cli.sync import ended_by_signals
from mltrack_sync.daemon.loop import Trigger, watch
from mltrack_sync.errors import RemoteUnavailableError
from tests.support.both_sides import LARGEST, assert_equal
from tests.support.command_line import run
from tests.support.proxy import Answer, Fault, FaultyProxy, Seen
from tests.support.server import MlflowServer, free_port, params_of, tags_of

commands = [*sync_commands, *remote_commands]


def record(points: int = 20) -> str:
    with mltrack.start_run(run_name="cli") as made:
        mltrack.log_param("a", 1)
        for step in range(points):
            mltrack.log_metric("m", 1.0, step=step)
        mltrack.log_text("x", "f.txt")
        return made.run_id


def test_a_url_is_remembered_as_a_remote_and_is_then_the_default(
    store: Store, server: MlflowServer, experiment: str
) -> None:
    record()
    first = run(store, "sync", server.url)
    assert first.exit_code == 0
    assert "20" in first.output
    assert run(store, "sync").output.endswith("nothing to send\n")
    record()
    fields = json.loads(run(store, "sync", f"127.0.0.1-{server.port}", "--json").output)
    assert (fields["runs"], fields["points"], fields["complete"]) == (1, 20, True)
    assert json.loads(run(store, "remote", "ls", "--json").output)[0]["url"] == server.url
    assert_equal(store, server, experiment)


def test_the_tracking_uri_of_the_environment_serves_when_there_is_no_remote(
    store: Store, server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="no remote yet"):
        run(store, "sync")
    record()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    assert "would go to" in run(store, "sync", "--dry-run").output.lower()
    assert run(store, "sync").exit_code == 0
    Remotes(store).add("other", "http://other")
    with pytest.raises(UsageError, match="2 remotes"):
        run(store, "sync")
    with pytest.raises(NotFoundError):
        run(store, "sync", "unknown")


def test_status_says_what_is_pending_what_was_refused_and_what_failed(store: Store, remote: Remote) -> None:
    run_id = record()
    (waiting,) = json.loads(run(store, "status", "--json").output)
    assert (waiting["pending_runs"], waiting["pending_points"], waiting["pending_artifacts"]) == (1, 20, 1)
    assert waiting["last_sync"] is None
    with mltrack.start_run(run_id=run_id):
        mltrack.log_metric("bad 😀", 1.0)
    partial = run(store, "sync")
    assert partial.exit_code == 3
    assert "bad 😀" in partial.output
    assert run(store, "sync").exit_code == 3
    (done,) = json.loads(run(store, "status", "--json").output)
    assert (done["pending_runs"], done["rejected"][0]["key"]) == (0, "bad 😀")
    assert "bad 😀" in run(store, "status").output
    sent = datetime.fromisoformat(done["last_sync"])
    assert sent.utcoffset() == timedelta(0)
    assert f"{sent:%Y-%m-%dT%H:%M:%SZ}" in run(store, "status").output, "in UTC where it is not a terminal"
    nowhere = f"http://127.0.0.1:{free_port()}"
    run(store, "remote", "add", "nowhere", nowhere)
    with pytest.raises(RemoteUnavailableError):
        run(store, "sync", "nowhere")
    assert "can't be reached" in run(store, "status").output


@pytest.mark.parametrize("command", [["sync"], ["verify"], ["gc", "--synced"]])
def test_a_url_that_does_not_answer_is_not_remembered(store: Store, remote: Remote, command: list[str]) -> None:
    record()
    with pytest.raises(RemoteUnavailableError):
        run(store, *command, f"http://127.0.0.1:{free_port()}")
    assert Remotes(store).all() == [remote]
    assert run(store, "sync").exit_code == 0  # there is but one


@pytest.mark.parametrize(
    ("command", "place"),
    [
        ("sync", "file"),
        ("sync", "store"),
        ("sync", "no/folder"),
        ("sync", "delta:no/lake"),
        ("pull", "nothing"),
        ("pull", "delta:nothing"),
        ("verify", "nothing"),
    ],
)
def test_a_path_where_nothing_can_be_is_not_remembered(store: Store, tmp_path: Path, command: str, place: str) -> None:
    (tmp_path / "file").touch()
    kind, colon, path = place.rpartition(":")
    with pytest.raises((UsageError, RemoteUnavailableError)):
        run(store, command, str(store.path) if place == "store" else f"{kind}{colon}{tmp_path / path}")
    assert Remotes(store).all() == []


@pytest.mark.parametrize("command", [["verify"], ["gc", "--synced", "--yes"]])
def test_a_url_that_answers_is_remembered_by_any_command(
    store: Store, server: MlflowServer, command: list[str]
) -> None:
    run(store, *command, server.url)
    assert [remote.url for remote in Remotes(store).all()] == [server.url]


def test_a_dry_run_remembers_no_url(store: Store) -> None:
    record()
    assert "would go to" in run(store, "sync", "--dry-run", "http://127.0.0.1:1").output.lower()
    assert Remotes(store).all() == []


def test_a_url_whose_name_is_taken_is_reported(store: Store) -> None:
    Remotes(store).add("127.0.0.1-1", "http://other")
    with pytest.raises(UsageError, match=r"'127\.0\.0\.1-1' is http://other already"):
        run(store, "sync", "--dry-run", "http://127.0.0.1:1")


def test_all_remotes_are_pushed_to_even_if_one_is_unreachable(
    store: Store, server: MlflowServer, proxy: FaultyProxy, experiment: str
) -> None:
    record()
    nowhere = f"http://127.0.0.1:{free_port()}"
    for name, url in (("one", server.url), ("away", nowhere), ("two", proxy.url)):
        Remotes(store).add(name, url)
    with pytest.raises(UsageError, match="can't be combined with a remote or --watch"):
        run(store, "sync", "one", "--all-remotes")
    foreseen = json.loads(run(store, "sync", "--all-remotes", "--dry-run", "--json").output)
    assert [(report["remote"], report["points"]) for report in foreseen] == [("one", 20), ("away", 20), ("two", 20)]
    with pytest.raises(RemoteUnavailableError, match=nowhere):
        run(store, "sync", "--all-remotes")
    assert_equal(store, server, experiment)  # both lead to one server, which has the run once
    states = json.loads(run(store, "status", "--json").output)
    assert [(state["remote"], state["pending_runs"]) for state in states] == [("one", 0), ("away", 1), ("two", 0)]
    Remotes(store).remove("away")
    done = run(store, "sync", "--all-remotes")
    assert (done.exit_code, done.output.count("nothing to send")) == (0, 2)
    with mltrack.start_run():
        mltrack.log_param("long", "x" * 6001)
    partial = run(store, "sync", "--all-remotes", "--json")
    assert partial.exit_code == 3
    assert [(report["remote"], report["complete"]) for report in json.loads(partial.output)] == [
        ("one", False),
        ("two", False),
    ]


def test_the_rate_limit_applies_to_what_is_sent(
    store: Store, server: MlflowServer, remote: Remote, experiment: str
) -> None:
    with mltrack.start_run():
        mltrack.log_text("x" * 60_000, "f.txt")
    with pytest.raises(UsageError, match="'fast' is not a rate"):
        run(store, "sync", "--limit-rate", "fast")
    report = json.loads(run(store, "sync", "--limit-rate", "100k", "--json").output)
    assert report["complete"]
    assert report["bytes"] > 60_000
    assert report["seconds"] > (report["bytes"] - 25_000) / 100_000  # a quarter second's worth goes at once
    assert_equal(store, server, experiment)


ODD = "odd 😀"


def record_what_no_server_takes() -> str:
    with mltrack.start_run() as made:
        mltrack.log_params({"good": 1, "long": "x" * 6001, f"p{ODD}": 1})
        mltrack.set_tags({"good": "x", "long": "x" * 8001, f"t{ODD}": "x", "half": "\ud800"})
        for step, value in enumerate([1.0, float("nan"), float("inf"), float("-inf")]):
            mltrack.log_metric("good", value, step=step, timestamp=1_700_000_000_000)
        for step in (-(2**63), 2**63 - 1):
            mltrack.log_metric("far", 1.0, step=step)
        mltrack.log_metric(f"m{ODD}", 1.0)
        mltrack.log_metric("k" * 251, 1.0)
        mltrack.log_metric("../up", 1.0)
        mltrack.log_metric("early", 1.0, timestamp=-1)
        mltrack.log_metric("early", 2.0, timestamp=1)
        return made.run_id


REFUSED = {
    ("param", "long"): "param value of 6001 characters: the remote would cut it to 6000",
    ("param", f"p{ODD}"): "name holds '😀'",
    ("tag", "long"): "tag value of 8001 characters: the remote would cut it to 8000",
    ("tag", f"t{ODD}"): "name holds '😀'",
    ("tag", "half"): "tag value holds half a character",
    ("metric", f"m{ODD}"): "name holds '😀'",
    ("metric", "k" * 251): "name of 251 characters: the remote takes 250",
    ("metric", "../up"): "name is not a clean path",
    ("point", "early"): "time before 1970",
}


@pytest.mark.slow
def test_what_a_server_would_refuse_or_truncate_is_announced_and_rejected_and_the_rest_arrives(
    store: Store, server: MlflowServer, proxy: FaultyProxy, spoiled: Remote, experiment: str
) -> None:
    run_id = record_what_no_server_takes()
    foreseen = json.loads(run(store, "sync", "--dry-run", "--json").output)
    told = {(item["kind"], item["key"]) for item in foreseen["rejected"]}
    assert told == REFUSED.keys() - {("point", "early")}  # which point that is shows when they are read
    assert proxy.seen == []
    done = run(store, "sync")
    assert done.exit_code == 3
    assert all(words in done.output for words in REFUSED.values())
    assert all(b"\\ud83d" not in seen.body and b"x" * 6001 not in seen.body for seen in proxy.seen)
    (state,) = json.loads(run(store, "status", "--json").output)
    rejected = {(item["kind"], item["key"]): item for item in state["rejected"]}
    assert rejected.keys() == REFUSED.keys()
    assert all(rejected[item]["reason"].startswith(words) for item, words in REFUSED.items())
    assert (rejected["point", "early"]["points"], state["pending_runs"]) == (1, 0)
    assert all(words in run(store, "status").output for words in REFUSED.values())

    there = server.runs(experiment)[run_id]
    remote_id = there["info"]["run_id"]
    assert params_of(there) == {"good": "1"}
    assert tags_of(there).keys() & {"good", "long", "half"} == {"good"}
    good = [(step, repr(value)) for step, _, value in server.history(remote_id, "good")]
    assert sorted(good) == [(0, "1.0"), (1, "nan"), (2, str(LARGEST)), (3, str(-LARGEST))]
    assert {step for step, _, _ in server.history(remote_id, "far")} == {-(2**63), 2**63 - 1}
    assert [value for _, _, value in server.history(remote_id, "early")] == [2.0]


@pytest.mark.slow
def test_what_was_rejected_is_retried_on_request_and_the_rest_is_sent_meanwhile(
    store: Store, server: MlflowServer, proxy: FaultyProxy, spoiled: Remote, experiment: str
) -> None:
    with mltrack.start_run() as made:
        mltrack.log_param("p", 1)
        for step in range(50):
            mltrack.log_metric("bad", 1.0, step=step)
            mltrack.log_metric("good", 1.0, step=step)

    def no_bad(seen: Seen) -> Fault:
        words = b'{"error_code":"INVALID_PARAMETER_VALUE","message":"no such metric here"}'
        return Answer(400, words) if b'"bad"' in seen.body else None

    proxy.fault = no_bad
    assert run(store, "sync").exit_code == 3
    with mltrack.start_run(run_id=made.run_id):
        mltrack.log_metric("good", 2.0, step=50)
        mltrack.log_metric("bad", 2.0, step=50)
    assert run(store, "sync").exit_code == 3
    assert run(store, "sync", "--retry-rejected").exit_code == 3
    (state,) = json.loads(run(store, "status", "--json").output)
    (rejected,) = state["rejected"]
    assert (rejected["key"], rejected["points"], rejected["reason"]) == ("bad", 51, "no such metric here")
    there = server.runs(experiment)[made.run_id]["info"]["run_id"]
    assert (len(list(server.history(there, "good"))), len(list(server.history(there, "bad")))) == (51, 0)
    proxy.fault = lambda seen: None
    sent = proxy.points_taken
    assert run(store, "sync", "--retry-rejected").exit_code == 0
    assert proxy.points_taken - sent == 51
    assert_equal(store, server, experiment)
    assert json.loads(run(store, "status", "--json").output)[0]["rejected"] == []
    assert run(store, "sync").exit_code == 0


def test_a_refused_point_holds_back_no_other_of_its_metric(
    store: Store, server: MlflowServer, proxy: FaultyProxy, spoiled: Remote, experiment: str
) -> None:
    with mltrack.start_run() as made:
        for step in range(20):
            mltrack.log_metric("m", float(step), step=step)
        mltrack.log_metric("early", 1.0, step=0, timestamp=-5)
    proxy.fault = lambda seen: Answer(400, b'{"message":"not this one"}') if b'"step":7}' in seen.body else None
    assert run(store, "sync").exit_code == 3
    proxy.fault = lambda seen: None
    with mltrack.start_run(run_id=made.run_id):
        mltrack.log_metric("m", 20.0, step=20)
        mltrack.log_metric("early", 2.0, step=1, timestamp=5)
    assert run(store, "sync").exit_code == 3
    there = server.runs(experiment)[made.run_id]["info"]["run_id"]
    assert {step for step, _, _ in server.history(there, "m")} == set(range(21)) - {7}
    assert {step for step, _, _ in server.history(there, "early")} == {1}
    assert run(store, "sync", "--retry-rejected").exit_code == 3
    assert {step for step, _, _ in server.history(there, "m")} == set(range(21))
    (state,) = json.loads(run(store, "status", "--json").output)
    assert [(item["kind"], item["key"], item["points"]) for item in state["rejected"]] == [("point", "early", 1)]
    assert "(rejected: time before 1970" in run(store, "verify").output


def test_every_help_ends_with_an_example(store: Store) -> None:
    def leaves(command: click.Command, path: list[str]) -> list[list[str]]:
        if isinstance(command, click.Group):
            return [path, *(leaf for name, sub in command.commands.items() for leaf in leaves(sub, [*path, name]))]
        return [path]

    for path in [leaf for command in commands for leaf in leaves(command, [str(command.name)])]:
        text = run(store, *path, "--help").output
        assert "mltrack " in text.strip().splitlines()[-1]


WATCHING = "import sys; from mltrack_sync.cli.sync import commands; commands[0](sys.argv[1:], standalone_mode=True)"


@pytest.mark.slow
def test_watch_pushes_while_a_run_grows_and_ends_on_interrupt(
    store: Store, server: MlflowServer, proxy: FaultyProxy, spoiled: Remote, experiment: str
) -> None:
    environ = {**os.environ, "MLTRACK_STORE": str(store.path)}
    command = [sys.executable, "-c", WATCHING, "spoiled", "--watch", "--interval", "0.1", "--json"]
    process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    reports: list[dict[str, Any]] = []
    try:
        live = mltrack.start_run(run_name="watched")
        for step in range(300):
            live.log_metric("m", 1.0, step=step)
        while sum(report["points"] for report in reports) < 300:
            reports.append(json.loads(process.stdout.readline()))
        live.log_metric("m", 2.0, step=300)
        while sum(report["points"] for report in reports) < 301:
            reports.append(json.loads(process.stdout.readline()))
        mltrack.end_run()
        while server.runs(experiment)[live.run_id]["info"]["status"] != "FINISHED":
            reports.append(json.loads(process.stdout.readline()))
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert_equal(store, server, experiment)


def test_an_interrupt_that_comes_while_the_loop_holds_a_lock_ends_it() -> None:
    held = threading.Lock()

    class Locked(Trigger):
        def end(self) -> None:
            with held:
                super().end()

    trigger = Locked()
    before = signal.getsignal(signal.SIGINT)
    with ended_by_signals(trigger):
        with held:
            signal.raise_signal(signal.SIGINT)
        trigger.stop.wait()
        assert signal.getsignal(signal.SIGINT) == before
    assert signal.getsignal(signal.SIGINT) == before


def test_watching_waits_for_an_unreachable_remote_and_says_so(store: Store, tmp_path: Path) -> None:
    trigger = Trigger()
    told: list[str] = []
    passes: list[PushReport] = []

    def one_cycle(stop: threading.Event) -> PushReport:
        if len(told) < 3:
            raise RemoteUnavailableError("away", in_doubt=False)
        return PushReport("r", "http://h")

    def on_cycle(report: PushReport) -> None:
        passes.append(report)
        trigger.end()

    watch(
        store,
        one_cycle,
        on_cycle=on_cycle,
        on_trouble=lambda error: told.append(str(error)),
        interval_s=0.01,
        trigger=trigger,
    )
    assert (told, len(passes)) == (["away"] * 3, 1)


def test_a_starting_run_wakes_the_watcher(store: Store) -> None:
    trigger = Trigger()
    counts: list[int] = []

    def one_cycle(stop: threading.Event) -> PushReport:
        counts.append(len(store.run_ids()))
        if counts == [0]:
            record()  # from here on only a file event ends the hour's wait
        else:
            trigger.end()
        return PushReport("r", "http://h")

    watch(store, one_cycle, on_cycle=lambda r: None, on_trouble=lambda e: None, interval_s=3600, trigger=trigger)
    assert counts == [0, 1]
