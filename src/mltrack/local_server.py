"""A server of MLflow's as a child process: started, waited for until it answers, ended with its workers."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import httpx

from mltrack.errors import RemoteError, UsageError
from mltrack.printing import say

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["LOOPBACK", "check_port", "free_port", "mlflow_environment", "running_server"]

LOOPBACK = "127.0.0.1"
SAID_EVERY_S = 20.0
STOP_TIMEOUT_S = 10.0
LOG_LINES_SHOWN = 15
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def free_port(host: str = LOOPBACK) -> int:
    """A port that nobody listens on now."""
    with socket.socket(_family(host)) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def check_port(host: str, port: int) -> None:
    """See that nobody listens there.

    Raises:
        UsageError: somebody does, or that is no address of this machine.
    """
    try:
        with socket.socket(_family(host)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        raise UsageError(f"{host}:{port} can't be listened on: {error.strerror}", hint="choose another port") from error


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def mlflow_environment(given: Mapping[str, str] = os.environ) -> dict[str, str]:
    """An environment for a server: without what points MLflow elsewhere, its telemetry and its job runners off.

    MLflow starts programs by name, uvicorn among them: those beside this interpreter are found first, also where its
    environment is not activated.
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
) -> Iterator[subprocess.Popen[bytes]]:
    """Run this interpreter with ``command`` for the body, which begins once ``url`` answers. It prints to ``log``.

    Until then it is said every ``said_every_s`` seconds what is waited for: as long as the server's process lives.

    Raises:
        RemoteError: it does not start; the end of what it said goes to stderr.
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
        _wait_until_healthy(process, url + health, log, what, said_every_s)
        yield process
    finally:
        if process is not None:
            _stop(process)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Hold back Ctrl-C and the like until the body is done: right after a start they would leave a server behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    before = {number: signal.signal(number, lambda number, _: held.append(number)) for number in ENDING_SIGNALS}
    try:
        yield
    finally:
        for ending, handler in before.items():
            signal.signal(ending, handler)
    for number in held:
        signal.raise_signal(number)


def _wait_until_healthy(process: subprocess.Popen[bytes], url: str, log: Path, what: str, said_every_s: float) -> None:
    """As long as its process lives: how long a start takes on a busy machine, or on slow disks, nobody can know."""
    began = said = time.monotonic()
    with httpx.Client(trust_env=False, timeout=5) as client:
        while True:
            if process.poll() is not None:
                raise _failed(f"{what} ended with code {process.returncode}", log)
            try:
                if client.get(url).status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
            now = time.monotonic()
            if now - said >= said_every_s:
                said = now
                say(f"waiting for {what} to start, {now - began:.0f} s so far (its log: {log})", err=True)


def _failed(what: str, log: Path) -> RemoteError:
    said = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES_SHOWN:]
    for line in said:
        say(f"  | {line}", err=True)
    return RemoteError(what, hint=f"see {log}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the server and the workers it started: they are a process group of their own.

    Another Ctrl-C while they end kills them.
    """
    try:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_TIMEOUT_S)
                break
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # a worker that outlived the parent
