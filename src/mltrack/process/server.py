"""An MLflow server as a child process: started, waited for until it answers, ended with its workers."""

from __future__ import annotations

import contextlib
import errno
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mltrack.errors import RemoteError, UsageError
from mltrack.process.shutdown import ShutdownSignal
from mltrack.text.printing import say

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["LOOPBACK", "check_port", "free_port", "mlflow_environment", "running_server", "server_environment"]

LOOPBACK = "127.0.0.1"
SAID_EVERY_S = 20.0
STOP_TIMEOUT_S = 10.0
POLL_S = 0.1
HEALTH_TIMEOUT_S = 5.0
"""Timeout of one health request: a server may accept connections long before it answers."""

LOG_LINES_SHOWN = 15


def free_port(host: str = LOOPBACK) -> int:
    """A port that no process listens on now."""
    with socket.socket(_family(host)) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def check_port(host: str, port: int) -> None:
    """Check that the port can be listened on.

    Raises:
        UsageError: a process listens already, or this machine does not have that address.
    """
    try:
        with socket.socket(_family(host)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UsageError(f"port {port} is already in use on {host}", hint="choose another port") from error
        words = f"{host}:{port} can't be listened on: {error.strerror}"
        raise UsageError(words, hint="choose another port, or an address of this machine") from error


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def mlflow_environment(given: Mapping[str, str] = os.environ) -> dict[str, str]:
    """A server's environment: no variables that point MLflow elsewhere, telemetry and job runners off.

    MLflow starts programs such as uvicorn by name: those of this interpreter's environment are found first, even where
    it is not activated.
    """
    kept = {key: value for key, value in given.items() if not key.startswith(("MLFLOW_", "_MLFLOW_"))}
    return {
        **kept,
        "PATH": os.pathsep.join([os.path.dirname(sys.executable), kept.get("PATH", os.defpath)]),
        "DO_NOT_TRACK": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "PYTHONWARNINGS": "ignore",
    }


_CHOSEN_HERE = re.compile(
    r"_MLFLOW_.*|MLFLOW_("
    r"TRACKING_URI|REGISTRY_URI|RUN_ID|EXPERIMENT_(ID|NAME)|ACTIVE_MODEL_ID"
    r"|(READ_REPLICA_)?BACKEND_STORE_URI|REGISTRY_STORE_URI|(ENABLE_)?WORKSPACES?(_STORE_URI)?"
    r"|(DEFAULT_)?ARTIFACT_ROOT|ARTIFACTS_DESTINATION|ARTIFACTS_ONLY|SERVE_ARTIFACTS"
    r"|HOST|PORT|WORKERS|APP_NAME|STATIC_PREFIX|(GUNICORN|UVICORN|WAITRESS)_OPTS)"
)
"""MLflow's variables that say what a server serves, where, and for whom: the command line says that here."""


def server_environment(given: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of a server for the user: `mlflow_environment`, and the other variables of MLflow as they are."""
    kept = {key: value for key, value in given.items() if key.startswith("MLFLOW_") and not _CHOSEN_HERE.fullmatch(key)}
    return kept | mlflow_environment(given)


@contextlib.contextmanager
def running_server(
    command: Sequence[str],
    url: str,
    log: Path,
    *,
    what: str = "the MLflow server",
    health: str = "/health",
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    said_every_s: float = SAID_EVERY_S,
    shutdown: ShutdownSignal | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run this interpreter with ``command`` for the body, which begins once ``url`` answers.

    Args:
        command: The interpreter's arguments.
        url: Where the server will answer.
        log: The file it prints to.
        what: What messages call it.
        health: The path that is asked until it answers 200.
        environment: The server's environment; by default ``mlflow_environment()``.
        cwd: The folder it runs in.
        said_every_s: How often, in seconds, a message says that the server is still starting.
        shutdown: What ends the wait for a start; another signal while the server ends kills it.

    Raises:
        RemoteError: it does not start; the end of its log goes to stderr.
        ShutdownRequested: as ``shutdown`` has it.
    """
    process: subprocess.Popen[bytes] | None = None
    try:
        with open(log, "ab") as output, _undisturbed():
            process = subprocess.Popen(
                [sys.executable, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=dict(mlflow_environment() if environment is None else environment),
                start_new_session=True,
            )
        _Start(process, url + health, log, what, said_every_s, shutdown).wait()
        yield process
    finally:
        if process is not None:
            _stop(process, shutdown)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Delay Ctrl-C and the like until the body is done: right after a start they would leave a server behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held = ShutdownSignal()
    try:
        with held:
            yield
    finally:
        for number in held.received:
            signal.raise_signal(number)


class _Start:
    """Waits for a server as long as its process lives: a start on a busy machine may take any time."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        url: str,
        log: Path,
        what: str,
        said_every_s: float,
        shutdown: ShutdownSignal | None,
    ) -> None:
        self._process = process
        self._url = urlsplit(url)
        self._log = log
        self._what = what
        self._said_every_s = said_every_s
        self._shutdown = shutdown
        self._began = self._said = time.monotonic()

    def wait(self) -> None:
        """Return once it answers.

        Raises:
            RemoteError: it ended.
            ShutdownRequested: this process was asked to end.
        """
        while not self._is_healthy():
            time.sleep(POLL_S)
            self._check_process()

    def _is_healthy(self) -> bool:
        """Send one health request, watching the process and signals meanwhile."""
        connection = http.client.HTTPConnection(self._url.hostname or "", self._url.port, timeout=HEALTH_TIMEOUT_S)
        try:
            connection.request("GET", self._url.path)
            until = time.monotonic() + HEALTH_TIMEOUT_S
            while not _has_answer(connection.sock):
                self._check_process()
                if time.monotonic() > until:
                    return False
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _check_process(self) -> None:
        if self._shutdown is not None:
            self._shutdown.check()
        if self._process.poll() is not None:
            raise _failed(f"{self._what} ended with code {self._process.returncode}", self._log)
        now = time.monotonic()
        if now - self._said >= self._said_every_s:
            self._said = now
            waited = f"{now - self._began:.0f} s so far"
            say(f"waiting for {self._what} to start, {waited} (its log: {self._log})", err=True)


def _has_answer(connection: socket.socket) -> bool:
    """Wait a moment for the first byte, without consuming it."""
    connection.settimeout(POLL_S)
    try:
        connection.recv(1, socket.MSG_PEEK)
    except TimeoutError:
        return False
    finally:
        connection.settimeout(HEALTH_TIMEOUT_S)
    return True


def _failed(what: str, log: Path) -> RemoteError:
    said = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES_SHOWN:]
    for line in said:
        say(f"  | {line}", err=True)
    return RemoteError(what, hint=f"see {log}")


def _stop(process: subprocess.Popen[bytes], shutdown: ShutdownSignal | None) -> None:
    """End the server and the workers it started: they have their own process group.

    Another Ctrl-C while they end kills them.
    """
    seen = len(shutdown.received) if shutdown is not None else 0
    try:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        until = time.monotonic() + STOP_TIMEOUT_S
        while process.poll() is None and time.monotonic() < until:
            if shutdown is not None and len(shutdown.received) > seen:
                break
            time.sleep(POLL_S / 4)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the server, or a worker that outlived it
        process.wait()
