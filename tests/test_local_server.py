"""Servers as child processes: waited for as long as they live, ended with the body."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from mltrack.errors import RemoteError
from mltrack.local_server import LOOPBACK, free_port, running_server

SLOW = """
import http.server, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
time.sleep(2)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def test_a_server_that_takes_long_is_waited_for_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    url = f"http://{LOOPBACK}:{port}"
    log = tmp_path / "log"
    with running_server(["-c", SLOW, str(port)], url, log, what="the toy", said_every_s=0.2) as process:
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
