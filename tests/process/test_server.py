"""Servers as child processes: waited for as long as they live, ended with the body."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import httpx
import pytest

from mltrack.errors import RemoteError
from mltrack.process.server import LOOPBACK, check_port, free_port, running_server
from mltrack.process.shutdown import ShutdownRequested, ShutdownSignal

SLOW = """
import http.server, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
time.sleep(0.5)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def test_a_slow_server_is_waited_for_with_a_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    url = f"http://{LOOPBACK}:{port}"
    log = tmp_path / "log"
    with running_server(["-c", SLOW, str(port)], url, log, what="the toy", said_every_s=0.1) as process:
        assert httpx.get(f"{url}/health", trust_env=False).status_code == 200
        assert process.poll() is None
    assert process.poll() is not None
    said = capsys.readouterr().err
    assert "waiting for the toy to start" in said
    assert str(log) in said


def test_a_server_that_ends_is_not_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = "import sys; sys.exit('no port \\x1b[2J')"
    with (
        pytest.raises(RemoteError, match="the toy ended with code 1"),
        running_server(["-c", code], f"http://{LOOPBACK}:{free_port()}", tmp_path / "log", what="the toy"),
    ):
        pass
    assert "no port \\x1b[2J" in capsys.readouterr().err


MUTE = """
import signal, socket, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
connection, _ = listener.accept()
print("asked", flush=True)
time.sleep(3600)
"""


def test_a_server_that_accepts_connections_but_never_answers_is_ended_on_request(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"

    def request_twice() -> None:
        while not log.exists() or "asked" not in log.read_text():
            ended.wait(0.01)
        signal.raise_signal(signal.SIGTERM)  # ends the wait for its start
        while not ended.wait(0.05):
            signal.raise_signal(signal.SIGTERM)  # kills it: it ignores the one it got

    ended = threading.Event()
    asking = threading.Thread(target=request_twice)
    with ShutdownSignal() as shutdown:
        asking.start()
        try:
            with (
                pytest.raises(ShutdownRequested),
                running_server(["-c", MUTE, str(port)], f"http://{LOOPBACK}:{port}", log, shutdown=shutdown),
            ):
                pass
        finally:
            ended.set()
            asking.join()
    check_port(LOOPBACK, port)  # nobody listens there


def test_a_shutdown_request_while_the_process_is_created_counts(tmp_path: Path) -> None:
    """It would leave a server behind if it took effect there."""
    reaction = []

    def take(number: int, _: object) -> None:
        reaction.append(number)
        raise ShutdownRequested(number)

    class Words(list[str]):
        def __iter__(self):  # type: ignore[no-untyped-def]
            signal.raise_signal(signal.SIGTERM)
            assert not reaction
            return super().__iter__()

    before = signal.signal(signal.SIGTERM, take)
    try:
        with (
            pytest.raises(ShutdownRequested),
            running_server(Words(["-c", SLOW, "0"]), f"http://{LOOPBACK}:{free_port()}", tmp_path / "log"),
        ):
            pass
    finally:
        signal.signal(signal.SIGTERM, before)
    assert reaction == [signal.SIGTERM]
