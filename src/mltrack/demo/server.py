"""The demo's remote: an MLflow server on loopback, which runs during a with statement."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from mltrack.process.server import LOOPBACK, free_port, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mltrack.process.shutdown import ShutdownSignal

__all__ = ["free_port", "mlflow_server", "server_command"]


def server_command(folder: Path, port: int, workers: int = 1) -> list[str]:
    """The arguments of the Python interpreter to serve ``folder`` by so many processes."""
    return [
        "-m",
        "mlflow",
        "server",
        "--host",
        LOOPBACK,
        "--port",
        str(port),
        "--backend-store-uri",
        f"sqlite:///{folder / 'mlflow.db'}",
        "--artifacts-destination",
        str(folder / "artifacts"),
        "--workers",
        str(workers),
    ]


@contextlib.contextmanager
def mlflow_server(
    folder: Path, port: int | None = None, *, workers: int = 1, shutdown: ShutdownSignal | None = None
) -> Iterator[str]:
    """Serve ``folder`` (created if missing) during the body; yields the URL. Its output goes to ``folder/server.log``.

    Raises:
        RemoteError: it does not start; the message has the end of its log.
        ShutdownRequested, KeyboardInterrupt: as ``shutdown`` raises.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    url = f"http://{LOOPBACK}:{port}"
    command = server_command(folder, port, workers)
    with running_server(command, url, folder / "server.log", cwd=folder, shutdown=shutdown):
        yield url
