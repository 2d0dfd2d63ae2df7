"""A local MLflow server on loopback, for as long as a with statement lasts."""

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

from mltrack.errors import RemoteError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["free_port", "mlflow_server", "server_command"]

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 10.0
LOG_LINES_SHOWN = 15
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def server_command(folder: Path, port: int) -> list[str]:
    """What follows the Python interpreter to serve what ``folder`` holds."""
    return [
        "-m",
        "mlflow",
        "server",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--backend-store-uri",
        f"sqlite:///{folder / 'mlflow.db'}",
        "--artifacts-destination",
        str(folder / "artifacts"),
        "--workers",
        "1",
    ]


@contextlib.contextmanager
def mlflow_server(folder: Path, port: int | None = None) -> Iterator[str]:
    """Serve ``folder`` (made when missing) for the body; yields the URL. Its output goes to ``folder/server.log``.

    Raises:
        RemoteError: it does not start, with the end of what it said.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    url = f"http://127.0.0.1:{port}"
    log = folder / "server.log"
    process: subprocess.Popen[bytes] | None = None
    try:
        with open(log, "ab") as output, _undisturbed():
            process = subprocess.Popen(
                [sys.executable, *server_command(folder, port)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=_environment(),
                start_new_session=True,
            )
        _wait_until_healthy(process, url, log)
        yield url
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


def _environment() -> dict[str, str]:
    """This process's own, without what would point MLflow elsewhere, its telemetry and its job runners off."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "_MLFLOW_"))}
    return {
        **kept,
        "DO_NOT_TRACK": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "PYTHONWARNINGS": "ignore",
    }


def _wait_until_healthy(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    until = time.monotonic() + START_TIMEOUT_S
    with httpx.Client(trust_env=False, timeout=5) as client:
        while time.monotonic() < until:
            if process.poll() is not None:
                raise _failed(f"the MLflow server ended with code {process.returncode}", log)
            try:
                if client.get(f"{url}/health").status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
    raise _failed(f"the MLflow server did not answer within {START_TIMEOUT_S:.0f} s", log)


def _failed(what: str, log: Path) -> RemoteError:
    said = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES_SHOWN:]
    sys.stderr.write("".join(f"  | {line}\n" for line in said))
    return RemoteError(what, hint=f"see {log}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the server and the workers it started: they are a process group of their own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT_S)
            break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # a worker that outlived the parent
