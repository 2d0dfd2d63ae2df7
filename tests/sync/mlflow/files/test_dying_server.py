"""A real server that is killed in each cycle with a file on its way: it is not the file's fault."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

import mltrack
from mltrack.store import Store
from mltrack_sync import Remotes, push
from mltrack_sync.engine.verify import verify
from mltrack_sync.errors import RemoteUnavailableError
from mltrack_sync.http.rate_limit import RateLimiter
from mltrack_sync.http.retry import RetryPolicy
from mltrack_sync.progress import NoProgress
from mltrack_sync.report import PushReport
from tests.support.forked_server import ForkedServer

FILE_BYTES = 3_000_000
CYCLES = 5
"""More than after which a file that fails by itself has to wait."""


class KillsOnTheWay(NoProgress):
    """Kills the server when so many bytes of files were sent."""

    def __init__(self, server: ForkedServer, after: int) -> None:
        self._server, self._after, self._sent = server, after, 0
        self._lock = threading.Lock()
        self.killed = False

    def files(self, *, total: int = 0, sent: int = 0) -> None:
        with self._lock:
            self._sent += sent
            if self._sent >= self._after and not self.killed:
                self.killed = True
                self._server.kill()


def cycle(store: Store, name: str, progress: NoProgress) -> PushReport | None:
    """A sync cycle; None where the server could not be reached any more."""
    policy = RetryPolicy(attempts_max=2, wait_first_s=0.05, wait_max_s=0.1)
    try:
        return push(store, Remotes(store).get(name), policy=policy, progress=progress, pace=RateLimiter(20e6))
    except RemoteUnavailableError:
        return None


@pytest.mark.slow
def test_a_server_killed_in_each_cycle_with_a_file_on_its_way_gets_it_at_once_when_it_stays(
    store: Store, tmp_path: Path
) -> None:
    (tmp_path / "server").mkdir()
    server = ForkedServer(tmp_path / "server")
    try:
        Remotes(store).add("lab", server.url)
        with mltrack.start_run():
            mltrack.log_metric("m", 1.0)
            (tmp_path / "large.bin").write_bytes(os.urandom(FILE_BYTES))
            mltrack.log_artifact(tmp_path / "large.bin")
        for n in range(CYCLES):
            server.start()
            progress = KillsOnTheWay(server, FILE_BYTES * (n + 1) // (CYCLES + 1))
            report = cycle(store, "lab", progress)
            assert progress.killed
            assert report is None or not report.complete
        server.start()
        report = cycle(store, "lab", NoProgress())
        assert report is not None
        assert report.complete, report.problems
        assert report.artifacts == 1
        assert verify(store, Remotes(store).get("lab")).same
    finally:
        server.close()
