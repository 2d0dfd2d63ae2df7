"""Live push by real processes: while a training runs, past its end, and never in its way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

import mltrack
from mltrack.errors import NotFoundError, UsageError
from mltrack.recording.background_sync import SyncRequest, is_served, request_sync, requested_sync
from mltrack.store import Store
from mltrack_sync import Remote, Remotes, push
from mltrack_sync.daemon.daemon import PollConfig, StopSignal, serve
from mltrack_sync.daemon.heartbeat import read_heartbeat
from tests.support import ROOT
from tests.support.both_sides import assert_equal, remote_points
from tests.support.proxy import Cut, Fault, FaultyProxy, LoseAnswer, Seen
from tests.support.server import MlflowServer, tags_of

pytestmark = pytest.mark.slow

TRAINING = (sys.executable, "-m", "tests.support.training")
SECRET = "pass-word-that-nobody-may-see"
SYNC = "from mltrack_sync.cli.sync import sync; sync()"


def until(what: Callable[[], object]) -> None:
    """Return when ``what()`` holds; the test's own limit ends it otherwise."""
    while not what():
        time.sleep(0.05)


class Training:
    """A training process that does what it is told."""

    def __init__(self, store: Store, experiment: str, **environ: str) -> None:
        self.process = subprocess.Popen(
            [*TRAINING, str(store.path), experiment],
            cwd=ROOT,
            env={**os.environ, **environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def tell(self, *what: Any) -> Any:
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(what) + "\n")
        stdin.flush()
        return json.loads(stdout.readline())

    def end(self) -> None:
        self.process.communicate()
        assert self.process.returncode == 0

    def kill(self) -> None:
        """With all that is in its process group, as a batch system does."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()


def syncers(store: Store) -> list[psutil.Process]:
    """The background processes of a store."""
    found = []
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
        except psutil.Error:
            continue
        if command[-2:] == ["mltrack_sync.daemon.daemon", str(store.path)] and "python" in command[0]:
            found.append(process)
    return found


@pytest.fixture(autouse=True)
def _live(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("MLTRACK_SYNC_INTERVAL", "0.1")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "user")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", SECRET)
    yield
    left = syncers(store)
    for process in left:
        process.kill()


@pytest.fixture
def training(store: Store, experiment: str) -> Iterator[Training]:
    training = Training(store, experiment)
    yield training
    training.kill()


def remote_run(server: MlflowServer, experiment: str, run_id: str) -> dict[str, Any]:
    """Nothing as long as the experiment is not there, or the server."""
    try:
        found: dict[str, Any] = server.runs(experiment).get(run_id, {})
    except httpx.HTTPError:
        return {}
    return found


def status(server: MlflowServer, experiment: str, run_id: str) -> str:
    return str(remote_run(server, experiment, run_id).get("info", {}).get("status"))


def points_there(server: MlflowServer, experiment: str, run_id: str, key: str = "m") -> int:
    run = remote_run(server, experiment, run_id)
    return len(remote_points(server, run, {key})) if run else 0


def log_of(store: Store, remote: Remote) -> str:
    path = store.layout.remote(remote.name) / "sync.log"
    return path.read_text() if path.exists() else ""


def test_points_appear_while_training_runs_and_a_resumed_run_stays_the_same_run(
    store: Store, server: MlflowServer, remote: Remote, experiment: str, training: Training
) -> None:
    run_id = training.tell("start", {"sync": "there"})
    training.tell("log", 50)
    until(lambda: points_there(server, experiment, run_id) == 50)
    assert status(server, experiment, run_id) == "RUNNING"
    until(lambda: read_heartbeat(store.layout.remote("there")))
    shown = read_heartbeat(store.layout.remote("there"))
    assert shown is not None
    assert [process.pid for process in syncers(store)] == [shown.pid]
    syncer = psutil.Process(shown.pid)
    assert syncer.ppid() != training.process.pid
    assert syncer.nice() > min(18, psutil.Process(training.process.pid).nice())  # the training comes first
    training.tell("log", 1)
    until(lambda: points_there(server, experiment, run_id) == 51)
    training.tell("end")
    until(lambda: status(server, experiment, run_id) == "FINISHED")
    until(lambda: not syncers(store))
    assert read_heartbeat(store.layout.remote("there")) is None
    training.tell("start", {"run_id": run_id, "sync": True})
    until(lambda: status(server, experiment, run_id) == "RUNNING")
    training.tell("log", 9)
    training.end()
    until(lambda: not syncers(store))
    assert_equal(store, server, experiment)
    assert push(store, remote).points == 0
    assert SECRET not in "".join(path.read_text() for path in store.layout.remote("there").iterdir())


def test_a_training_ends_at_once_although_the_server_hangs(
    store: Store, server: MlflowServer, proxy: FaultyProxy, spoiled: Remote, experiment: str
) -> None:
    go_on, asked = threading.Event(), threading.Event()

    def stuck(seen: Seen) -> Fault:
        asked.set()
        go_on.wait()
        return None

    proxy.fault = stuck
    said = [["start", {"sync": "spoiled"}], ["log", 30], ["end"]]
    done = subprocess.run(
        [*TRAINING, str(store.path), experiment],
        cwd=ROOT,
        input="".join(json.dumps(line) + "\n" for line in said),
        capture_output=True,
        text=True,
        check=True,
    )  # returns: nobody else holds its pipes
    run_id = json.loads(done.stdout.splitlines()[0])
    asked.wait()
    assert syncers(store)
    go_on.set()
    until(lambda: status(server, experiment, run_id) == "FINISHED")
    until(lambda: not syncers(store))
    assert_equal(store, server, experiment)


def test_a_killed_training_shows_as_failed_and_a_killed_syncer_is_replaced(
    store: Store, server: MlflowServer, proxy: FaultyProxy, spoiled: Remote, experiment: str, training: Training
) -> None:
    killed, sent = threading.Event(), threading.Event()

    def fault(seen: Seen) -> Fault:
        if seen.path.endswith("log-batch") and seen.body.count(b'"step"') and not killed.is_set():
            sent.set()
            killed.wait()
            return LoseAnswer()
        return None

    proxy.fault = fault
    first = training.tell("start", {"sync": "spoiled"})
    training.tell("log", 400)
    sent.wait()
    for process in syncers(store):
        process.kill()
        process.wait()
    killed.set()
    proxy.wait_idle()
    training.tell("log", 400)
    second = training.tell("start", {"nested": True, "sync": "spoiled"})
    training.tell("log", 10)
    until(lambda: points_there(server, experiment, first) == 800)
    assert status(server, experiment, first) == "RUNNING"
    training.kill()
    until(lambda: status(server, experiment, first) == "FAILED")
    until(lambda: not syncers(store))
    there = server.runs(experiment)
    assert [tags_of(there[run_id])["mltrack.crashed"] for run_id in (first, second)] == ["true", "true"]
    assert_equal(store, server, experiment)
    assert proxy.points_taken == 810


def test_four_ranks_share_one_syncer(store: Store, server: MlflowServer, remote: Remote, experiment: str) -> None:
    run_id = mltrack.start_run().run_id
    environ = {"MLTRACK_RUN_ID": run_id, "MLTRACK_SYNC": "1"}
    ranks = [Training(store, experiment, RANK=str(rank), **environ) for rank in range(4)]
    try:
        for rank in ranks:
            rank.tell("start", {})
            rank.tell("log", 20)
        until(lambda: all(points_there(server, experiment, run_id, f"m{rank}") == 20 for rank in range(4)))
        until(lambda: len(syncers(store)) == 1)
        for rank in ranks:
            rank.end()
    finally:
        for rank in ranks:
            rank.kill()
    mltrack.end_run()
    until(lambda: not syncers(store))
    assert_equal(store, server, experiment)
    assert log_of(store, remote).count(" pushes ") == 1


def test_a_run_started_while_the_syncer_is_about_to_end_is_not_missed(store: Store, remote: Remote) -> None:
    folder = store.layout.remote(remote.name)
    followed = []

    def follow(store: Store, remote: Remote, ending: StopSignal, pace: PollConfig) -> bool:
        assert is_served(folder)
        (folder / "wanted").unlink()
        followed.append(remote.name)
        if len(followed) == 1:  # its last look is behind it, and it still holds the lock
            request_sync(store.layout, SyncRequest("", remote.name))
            assert not syncers(store)
            serve(store, remote, ending, pace, follow=follow)  # as one that was started all the same: it ends at once
        return True

    serve(store, remote, StopSignal(), PollConfig(), follow=follow)
    assert (followed, is_served(folder)) == (["there"] * 2, False)


def test_a_syncer_gives_up_on_an_unreachable_remote_and_the_next_sync_continues(
    store: Store, server: MlflowServer, proxy: FaultyProxy, spoiled: Remote, experiment: str, training: Training
) -> None:
    training.kill()
    proxy.fault = lambda seen: Cut()
    training = Training(store, experiment, MLTRACK_SYNC_PATIENCE="0.3")
    run_id = training.tell("start", {"sync": proxy.url})
    training.tell("log", 5)
    training.end()
    until(lambda: "given up" in log_of(store, spoiled))
    until(lambda: not syncers(store))
    proxy.fault = lambda seen: None
    push(store, spoiled)
    assert status(server, experiment, run_id) == "FINISHED"
    assert_equal(store, server, experiment)


def test_only_the_callers_own_mistakes_make_a_start_fail(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for given, error in (("nowhere", NotFoundError), (True, UsageError), ("http://u:geheim@h", UsageError)):
        with pytest.raises(error) as raised:
            mltrack.start_run(sync=given)
        assert "geheim" not in str(raised.value)
    assert store.run_ids() == []
    monkeypatch.setenv("MLTRACK_SYNC", "nowhere")
    mltrack.start_run()
    mltrack.end_run()
    assert "no remote 'nowhere'" in caplog.text
    monkeypatch.setenv("MLTRACK_SYNC", "0")
    assert requested_sync(store.layout, None) is None
    Remotes(store).add("a", "http://h")
    assert requested_sync(store.layout, True) == SyncRequest("", "a")
    Remotes(store).add("b", "http://h:1")
    with pytest.raises(UsageError):
        requested_sync(store.layout, True)


@pytest.fixture
def watching(store: Store, tmp_path: Path) -> Iterator[Callable[[Path, str], subprocess.Popen[str]]]:
    """Starts ``mltrack sync --watch`` over a store."""
    started: list[subprocess.Popen[str]] = []

    def start(path: Path, url: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", SYNC, url, "--watch", "--interval", "0.1"]
        environ = {**os.environ, "MLTRACK_STORE": str(path)}
        with (tmp_path / "watch.log").open("w") as log:
            started.append(subprocess.Popen(command, stdout=log, stderr=log, text=True, env=environ))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_watching_survives_a_restart_of_the_server(
    store: Store,
    server: MlflowServer,
    experiment: str,
    tmp_path: Path,
    watching: Callable[[Path, str], subprocess.Popen[str]],
) -> None:
    process = watching(store.path, server.url)
    run = mltrack.start_run()
    run.log_metric("m", 1.0, step=0)
    until(lambda: points_there(server, experiment, run.run_id) == 1)
    server.kill()
    try:
        run.log_metric("m", 1.0, step=1)
        until(lambda: "waiting: " in (tmp_path / "watch.log").read_text())
    finally:
        server.start()
    until(lambda: points_there(server, experiment, run.run_id) == 2)
    mltrack.end_run()
    until(lambda: status(server, experiment, run.run_id) == "FINISHED")
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 0
    assert (tmp_path / "watch.log").read_text().count("waiting: ") == 1
    assert_equal(store, server, experiment)


def copied(source: Path, target: Path) -> None:
    """As rsync does: each file that differs under a temporary name, then renamed."""
    target.mkdir(parents=True, exist_ok=True)
    for path in source.rglob("*"):
        there = target / path.relative_to(source)
        if path.is_dir():
            there.mkdir(parents=True, exist_ok=True)
        elif not there.exists() or there.read_bytes() != path.read_bytes():
            shutil.copy2(path, there.with_name(f".{there.name}.Xa1"))
            there.with_name(f".{there.name}.Xa1").rename(there)


def test_a_watcher_follows_a_copy_that_grows_in_steps(
    store: Store,
    server: MlflowServer,
    experiment: str,
    tmp_path: Path,
    watching: Callable[[Path, str], subprocess.Popen[str]],
) -> None:
    there = tmp_path / "login-node"
    run = mltrack.start_run()
    for step in range(40):
        run.log_metric("m", 1.0, step=step)
    for name in ("workspace", "runs", "changed"):
        copied(store.path / name, there / name)
    shutil.copy2(store.path / "store.json", there)
    process = watching(there, server.url)
    until(lambda: points_there(server, experiment, run.run_id) == 40)
    for step in range(40, 90):
        run.log_metric("m", 1.0, step=step)
    copied(store.layout.runs, there / "runs")
    until(lambda: points_there(server, experiment, run.run_id) == 90)
    mltrack.end_run()
    copied(store.layout.runs, there / "runs")
    until(lambda: status(server, experiment, run.run_id) == "FINISHED")
    process.send_signal(signal.SIGINT)
    assert process.wait() == 0
    assert_equal(store, server, experiment)
