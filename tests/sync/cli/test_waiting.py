"""Commands say what they wait for, and that an interrupt is safe."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import mltrack
from mltrack.store import Store
from mltrack_sync.cli.waiting import WaitWords
from mltrack_sync.http.under_way import RequestsUnderWay
from tests.support.command_line import Cli
from tests.support.server import MlflowServer


def test_a_wait_is_said_within_two_seconds_and_again_as_it_grows() -> None:
    now = [0.0]
    requests = RequestsUnderWay(lambda: now[0])
    words = WaitWords(requests)
    said = []
    with requests.waiting("lab, for an answer to POST runs/search"):
        for quarter in range(200):
            now[0] = quarter / 4
            line = words.next()
            if line:
                said.append((now[0], line))
    assert said[0] == (1.5, "waiting for lab, for an answer to POST runs/search (2 s so far)")
    assert [when for when, _ in said] == [1.5, 6.0, 24.0]
    assert words.next() == ""


def test_quick_answers_and_bytes_of_files_are_not_waits() -> None:
    now = [0.0]
    requests = RequestsUnderWay(lambda: now[0])
    words = WaitWords(requests)
    for _ in range(50):
        with requests.waiting("quick"):
            now[0] += 1.0
            assert words.next() == ""
    with requests.waiting(""):
        now[0] += 100.0
        assert words.next() == ""


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections, and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as server:
        yield server.getsockname()[1]


@pytest.mark.slow
@pytest.mark.parametrize("command", ["sync", "pull", "verify"])
def test_a_stalled_server_is_named_and_an_interrupt_says_what_is_safe(store: Store, silent: int, command: str) -> None:
    with mltrack.start_run():
        mltrack.log_metric("m", 1.0)
    argv = [sys.executable, "-m", "mltrack", "--store", str(store.path), command, f"http://127.0.0.1:{silent}"]
    process = subprocess.Popen(argv, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        assert process.stderr is not None
        said = process.stderr.readline()
        assert said.startswith(f"waiting for http://127.0.0.1:{silent}, for its first answer ("), said
        os.kill(process.pid, signal.SIGINT)
        rest = process.communicate(timeout=60)[1]
    finally:
        process.kill()
    assert process.returncode == 130
    assert "interrupted: " in rest
    assert "Traceback" not in rest


@pytest.mark.slow
def test_watch_shows_its_first_cycle_and_names_runs_with_the_time(
    store: Store, server: MlflowServer, tmp_path: Path
) -> None:
    argv = [sys.executable, "-m", "mltrack", "--store", str(store.path), "sync", server.url, "--watch"]
    process = subprocess.Popen([*argv, "--interval", "0.5"], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ", first)
        assert "nothing to send; watching for more" in first
        with mltrack.start_run(run_name="größe"):
            mltrack.log_metric("m", 1.0)
        second = process.stdout.readline()
        assert ": run 'größe', 1 point, 0 artifacts in " in second
        os.kill(process.pid, signal.SIGINT)
        process.communicate(timeout=60)
    finally:
        process.kill()


def test_a_remote_is_renamed_and_moved_with_what_it_acknowledged(cli: Cli, store: Store, tmp_path: Path) -> None:
    with mltrack.start_run():
        mltrack.log_metric("m", 1.0)
    (tmp_path / "usb").mkdir()
    assert cli("remote", "add", "disk", str(tmp_path / "usb" / ".mltrack")).code == 0
    assert cli("sync", "disk").code == 0
    assert cli("remote", "rename", "disk", "usb").code == 0
    assert "nothing to send" in cli("sync", "usb").out
    assert cli("sync", "disk").code == 4
    (tmp_path / "usb").rename(tmp_path / "moved")
    assert cli("remote", "set-url", "usb", str(tmp_path / "moved" / ".mltrack"), "--moved").code == 0
    assert "nothing to send" in cli("sync", "usb").out
    assert cli("remote", "set-url", "usb", "http://127.0.0.1:1").code == 2
    assert cli("remote", "add", "other", "http://h/").code == 0
    assert cli("remote", "rename", "usb", "other").code == 2
    assert cli("remote", "add", "other", "http://H:80").out == "other: http://h\n"
    assert [line.split()[0] for line in cli("remote", "ls").out.splitlines()] == ["name", "usb", "other"]


def test_a_server_at_another_address_is_compared_unless_it_moved(cli: Cli, store: Store, server: MlflowServer) -> None:
    with mltrack.start_run():
        mltrack.log_metric("m", 1.0)
    assert cli("remote", "add", "lab", server.url).code == 0
    assert cli("sync", "lab").code == 0
    other = server.url.replace("127.0.0.1", "localhost")
    assert cli("remote", "set-url", "lab", other, "--moved").code == 0
    assert "nothing to send" in cli("sync", "lab").out
    assert cli("remote", "set-url", "lab", server.url).code == 0
    said = cli("sync", "lab").out
    assert "(0 new)" in said, said  # found by its tag, compared, and nothing sent twice
    assert "found on remote" in said, said
    assert cli("verify", "lab").code == 0
