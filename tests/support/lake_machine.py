"""A machine that pushes to a lake on object storage by the command line, and may die at any request that it makes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import mltrack
from mltrack.store import Store
from mltrack_sync import Remotes
from tests.support.object_store import S3Proxy
from tests.support.proxy import Cut, Fault, LoseAnswer, Seen

STARTS_S_MAX = 60.0


def free_port() -> int:
    """A port on loopback that nobody uses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def served(command: Sequence[str], port: int, env: Mapping[str, str] | None = None) -> Iterator[str]:
    """A server in a process of its own, by its URL; it must listen on the port."""
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, env=env, **quiet)  # type: ignore[call-overload]
    try:
        end = time.monotonic() + STARTS_S_MAX
        while time.monotonic() < end and process.poll() is None:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


class Machine:
    """A store with one run of 50 points and a file, and the lake as its remote ``lake``."""

    def __init__(self, path: Path, env: Mapping[str, str], place: str) -> None:
        """``env`` says where object storage is."""
        self.path = path
        self._env = os.environ | env
        self.record()
        Remotes(Store.open(path)).add("lake", place)

    def record(self, points: int = 50) -> None:
        """One more run."""
        mltrack.set_store(self.path)
        with mltrack.start_run(run_name="far away"):
            mltrack.log_param("lr", 0.1)
            for step in range(points):
                mltrack.log_metric("loss", 1 / (step + 1), step=step)
            mltrack.log_text(f"notes {points}", "notes.txt")
        mltrack.set_store(None)

    def start(self, *args: str) -> subprocess.Popen[str]:
        """A command."""
        command = [sys.executable, "-m", "mltrack", "--store", str(self.path), *args, "--json"]
        return subprocess.Popen(command, env=self._env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *args: str) -> Any:
        """What a command prints as JSON."""
        process = self.start(*args)
        out, said = process.communicate(timeout=120)
        assert process.returncode == 0, said + out
        return json.loads(out)

    def push_and_die(self, proxy: S3Proxy, number: int, *, arrives: bool) -> bool:
        """A push that is killed at its request of that number, and whether it was: it may have ended before."""
        left, started = number, threading.Event()
        victims: list[subprocess.Popen[str]] = []

        def kill(seen: Seen) -> Fault:
            nonlocal left
            left -= 1
            if left:
                return None
            started.wait()
            victims[0].send_signal(signal.SIGKILL)
            return LoseAnswer() if arrives else Cut()

        proxy.fault = kill
        victims.append(self.start("sync", "lake"))
        started.set()
        victims[0].communicate(timeout=120)
        proxy.fault = lambda seen: None
        proxy.wait_idle()
        return victims[0].returncode == -signal.SIGKILL
