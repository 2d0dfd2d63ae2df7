"""The commands: what they print, and how they end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import click
import pytest
from both_sides import assert_equal
from click.testing import CliRunner, Result
from faulty_proxy import FaultyProxy
from mlflow_server import MlflowServer, free_port

import mltrack
from mltrack.errors import NotFoundError, UsageError
from mltrack.reading import Store
from mltrack_sync import PushReport, Remote, Remotes
from mltrack_sync.commands import commands
from mltrack_sync.errors import RemoteUnavailableError
from mltrack_sync.watch import Waker, watch


@click.group()
@click.pass_context
def cli(ctx: click.Context) -> None:
    pass


for each in commands:
    cli.add_command(each)


def run(store: Store, *args: str) -> Result:
    result = CliRunner().invoke(cli, args, obj={"store": str(store.path)})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


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
    Remotes(store).add("other", "http://other")
    with pytest.raises(UsageError, match="2 remotes"):
        run(store, "sync")
    with pytest.raises(NotFoundError):
        run(store, "sync", "unknown")


def test_status_says_what_waits_what_was_refused_and_what_went_wrong(store: Store, remote: Remote) -> None:
    run_id = record()
    (waiting,) = json.loads(run(store, "status", "--json").output)
    assert (waiting["pending_runs"], waiting["pending_points"], waiting["pending_artifacts"]) == (1, 20, 1)
    assert waiting["last_sync"] == 0
    with mltrack.start_run(run_id=run_id):
        mltrack.log_metric("bad 😀", 1.0)
    partial = run(store, "sync")
    assert partial.exit_code == 3
    assert "bad 😀" in partial.output
    assert run(store, "sync").exit_code == 3
    (done,) = json.loads(run(store, "status", "--json").output)
    assert (done["pending_runs"], done["rejected"][0]["key"]) == (0, "bad 😀")
    assert done["last_sync"] > 0
    assert "bad 😀" in run(store, "status").output
    nowhere = f"http://127.0.0.1:{free_port()}"
    run(store, "remote", "add", "nowhere", nowhere)
    with pytest.raises(RemoteUnavailableError):
        run(store, "sync", "nowhere")
    assert "can't be reached" in run(store, "status").output


def test_every_help_ends_with_an_example(store: Store) -> None:
    def leaves(command: click.Command, path: list[str]) -> list[list[str]]:
        if isinstance(command, click.Group):
            return [path, *(leaf for name, sub in command.commands.items() for leaf in leaves(sub, [*path, name]))]
        return [path]

    for path in [leaf for command in commands for leaf in leaves(command, [str(command.name)])]:
        text = run(store, *path, "--help").output
        assert "mltrack " in text.strip().splitlines()[-1]


WATCHING = "import sys; from mltrack_sync.commands import commands; commands[0](sys.argv[1:], standalone_mode=True)"


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
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert_equal(store, server, experiment)


def test_watching_waits_for_a_remote_that_is_away_and_says_so(store: Store, tmp_path: Path) -> None:
    waker = Waker()
    told: list[str] = []
    passes: list[PushReport] = []

    def one_pass(stop: threading.Event) -> PushReport:
        if len(told) < 3:
            raise RemoteUnavailableError("away", in_doubt=False)
        return PushReport("r", "http://h")

    def on_pass(report: PushReport) -> None:
        passes.append(report)
        waker.end()

    watch(
        store,
        one_pass,
        on_pass=on_pass,
        on_trouble=lambda error: told.append(str(error)),
        interval_s=0.01,
        waker=waker,
    )
    assert (told, len(passes)) == (["away"] * 3, 1)


def test_watching_is_woken_by_a_run_that_begins(store: Store) -> None:
    waker = Waker()
    counts: list[int] = []

    def one_pass(stop: threading.Event) -> PushReport:
        counts.append(len(store.run_ids()))
        if counts == [0]:
            record()  # from here on only a file event ends the hour's wait
        else:
            waker.end()
        return PushReport("r", "http://h")

    watch(store, one_pass, on_pass=lambda r: None, on_trouble=lambda e: None, interval_s=3600, waker=waker)
    assert counts == [0, 1]
