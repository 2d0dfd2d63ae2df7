"""A local MLflow server on loopback, for as long as a with statement lasts."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
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
    with open(log, "ab") as output:
        process = subprocess.Popen(
            [sys.executable, *server_command(folder, port)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=_environment(),
            start_new_session=True,
        )
    try:
        _wait_until_healthy(process, url, log)
        yield url
    finally:
        _stop(process)


def _environment() -> dict[str, str]:
    """This process's own, without what would point MLflow elsewhere, and with MLflow's telemetry off."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "_MLFLOW_"))}
    return {**kept, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "PYTHONWARNINGS": "ignore"}


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
