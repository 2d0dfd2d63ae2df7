"""`mltrack ui` and `mltrack serve`: MLflow's user interface and scoring server, on this store."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mltrack.cli.context import Session, command, pass_session
from mltrack.disk.store_path import uri_of
from mltrack.errors import NotFoundError, RemoteError
from mltrack.extras import need
from mltrack.process.shutdown import ShutdownRequested, ShutdownSignal
from mltrack.text.printing import say

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from mltrack.store import Store

__all__ = ["serve", "ui"]

UI_WORKERS = 2
POLL_S = 0.25

_MODEL_URI = re.compile(
    r"models:/(?:(?P<model_id>m-[0-9a-f]{32})(?:/.*)?|(?P<name>[^@/]+)(?:@(?P<alias>[^/]+)|/(?P<version>[^/]+)))"
    r"|runs:/(?P<run_id>[^/]+)/.*"
)
"""The URI of a logged model, a version of a registered model, or files of a run."""

_host = click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
_port = click.option("--port", type=click.IntRange(1, 65535), help="The port; by default a free one.")


@command("ui", "Open MLflow's UI on the store.", "mltrack ui", "mltrack ui --port 5000 --no-browser")
@_host
@_port
@click.option("--workers", type=click.IntRange(1, 64), default=UI_WORKERS, show_default=True, help="Server processes.")
@click.option("--browser/--no-browser", default=True, help="Open a browser.  [default: if there is a display]")
@pass_session
def ui(session: Session, host: str, port: int | None, workers: int, browser: bool) -> int:
    """Start MLflow's server on this store, and open its UI in a browser; Ctrl-C ends it.

    It shows runs while they are recorded. Anyone who can reach its address can read and change the store: by default
    it listens on this machine only.
    """
    from mltrack.process.server import mlflow_environment, running_server

    need("mlflow", "mltrack ui")
    store = session.store()
    uri = _uri(store)
    port = _port_of(host, port)
    url = f"http://{_in_url(host)}:{port}"
    words = ["-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", str(workers)]
    words += ["--backend-store-uri", uri, "--registry-store-uri", uri, "--artifacts-destination", uri]
    environment = mlflow_environment() | {"MLFLOW_TRACKING_URI": uri}
    with (
        _until_shutdown() as shutdown,
        _log("ui") as log,
        running_server(words, url, log, environment=environment, shutdown=shutdown) as server,
    ):
        say(f"MLflow's UI on {store.path}: {url}  (Ctrl-C ends it)")
        if browser and _has_display():
            import webbrowser

            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()  # some browsers start slowly
        _wait(server, log, shutdown)
    return 0


@command("serve", "Serve a model over HTTP.", "mltrack serve models:/spiral@best --port 5001")
@click.argument("model_uri", metavar="MODEL")
@_host
@_port
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Server processes.")
@click.option(
    "--env-manager",
    type=click.Choice(["local", "virtualenv", "uv", "conda"]),
    default="local",
    show_default=True,
    help="Where the model runs: in this environment, or one made for it.",
)
@pass_session
def serve(session: Session, model_uri: str, host: str, port: int | None, workers: int, env_manager: str) -> int:
    """Serve MODEL with MLflow's scoring server: POST inputs as JSON to /invocations; Ctrl-C ends it.

    MODEL is `models:/NAME/VERSION`, `models:/NAME@ALIAS`, `runs:/RUN_ID/PATH`, or a folder with an MLmodel file.
    """
    from mltrack.process.server import mlflow_environment, running_server

    need("mlflow", "mltrack serve")
    store = session.store()
    _check_model(store, model_uri)
    port = _port_of(host, port)
    url = f"http://{_in_url(host)}:{port}"
    words = ["-m", "mlflow", "models", "serve", "--model-uri", model_uri, "--host", host, "--port", str(port)]
    words += ["--workers", str(workers), "--env-manager", env_manager]
    environment = mlflow_environment() | {"MLFLOW_TRACKING_URI": _uri(store)}
    what = f"the server for {model_uri}"
    with (
        _until_shutdown() as shutdown,
        _log("serve") as log,
        running_server(words, url, log, what=what, environment=environment, shutdown=shutdown) as server,
    ):
        say(f"{model_uri} answers at {url}/invocations  (Ctrl-C ends it)")
        _wait(server, log, shutdown)
    return 0


def _uri(store: Store) -> str:
    return uri_of(store.path.resolve())


def _check_model(store: Store, model_uri: str) -> None:
    """Check that the store has what the URI names, if it has a known form.

    Raises:
        NotFoundError: it has no such model, version, alias, logged model or run; a folder without an MLmodel file.
    """
    match = _MODEL_URI.fullmatch(model_uri)
    if match is None:
        if ":/" not in model_uri and not (Path(model_uri) / "MLmodel").is_file():
            hint = "name a folder that has one, models:/NAME/VERSION or runs:/RUN_ID/PATH"
            raise NotFoundError(f"there is no MLmodel file in {model_uri}", hint=hint)
        return
    if match["model_id"]:
        store.logged_models.get(match["model_id"])
    elif match["run_id"]:
        store.run(match["run_id"])
    elif match["alias"]:
        store.registry.by_alias(match["name"], match["alias"])
    elif match["version"].isdecimal():
        store.registry.get_version(match["name"], match["version"])
    else:  # a stage, or "latest"
        store.registry.get_model(match["name"])


def _port_of(host: str, port: int | None) -> int:
    """The port to listen on.

    Raises:
        UsageError: the port is in use.
    """
    from mltrack.process.server import check_port, free_port

    if port is None:
        return free_port(host)
    check_port(host, port)
    return port


def _in_url(host: str) -> str:
    """The host in a URL that this machine can open."""
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


@contextlib.contextmanager
def _log(name: str) -> Iterator[Path]:
    """A file for the server's output, which is kept only if an error names it."""
    folder = Path(tempfile.mkdtemp(prefix="mltrack-"))
    log = folder / f"{name}.log"
    try:
        yield log
    except RemoteError:
        raise
    except BaseException:
        _remove(log)
        raise
    _remove(log)


def _remove(log: Path) -> None:
    log.unlink(missing_ok=True)
    log.parent.rmdir()


def _has_display() -> bool:
    return os.name != "posix" or "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ or os.uname()[0] == "Darwin"


@contextlib.contextmanager
def _until_shutdown() -> Iterator[ShutdownSignal]:
    """Let Ctrl-C, TERM and HUP end the body while it waits: that is the normal end of a server."""
    with contextlib.suppress(ShutdownRequested), ShutdownSignal() as shutdown:
        yield shutdown


def _wait(server: subprocess.Popen[bytes], log: Path, shutdown: ShutdownSignal) -> None:
    """Wait for a signal to end.

    Raises:
        ShutdownRequested: the signal came.
        RemoteError: the server ended unexpectedly.
    """
    while server.poll() is None:
        shutdown.check()
        time.sleep(POLL_S)
    raise RemoteError(f"the server ended unexpectedly, with code {server.returncode}", hint=f"see {log}")
