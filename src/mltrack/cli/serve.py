"""`mltrack ui` and `mltrack serve`: MLflow's user interface and scoring server, on this store."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mltrack.cli.context import Session, command, pass_session
from mltrack.disk.store_path import uri_of
from mltrack.errors import NotFoundError, RemoteError, UsageError
from mltrack.extras import need
from mltrack.process.shutdown import ShutdownRequested, ShutdownSignal
from mltrack.text.printing import say

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from typing import BinaryIO

    from mltrack.store import Store

__all__ = ["serve", "ui"]

UI_WORKERS = 2
POLL_S = 0.25
SAID_EVERY_S = 5.0
"""How often a command says that its server is still starting."""

_MODEL_URI = re.compile(
    r"models:/(?:(?P<model_id>m-[0-9a-f]{32})(?:/.*)?|(?P<name>[^@/]+)(?:@(?P<alias>[^/]+)|/(?P<version>[^/]+)))"
    r"|runs:/(?P<run_id>[^/]+)/(?P<path>.*)"
)
"""The URI of a logged model, a version of a registered model, or files of a run."""

_host = click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
_allowed_hosts = click.option(
    "--allowed-hosts",
    metavar="NAMES",
    help="Names, with commas between, by which browsers may reach it: of a proxy, or * for any."
    "  [default: this machine's, or $MLFLOW_SERVER_ALLOWED_HOSTS]",
)
_port = click.option("--port", type=click.IntRange(1, 65535), help="The port; by default a free one.")


@command("ui", "Open MLflow's UI on the store.", "mltrack ui", "mltrack ui --port 5000 --no-browser")
@_host
@_port
@click.option("--workers", type=click.IntRange(1, 64), default=UI_WORKERS, show_default=True, help="Server processes.")
@_allowed_hosts
@click.option("--browser/--no-browser", default=True, help="Open a browser.  [default: if there is a display]")
@pass_session
def ui(session: Session, host: str, port: int | None, workers: int, allowed_hosts: str | None, browser: bool) -> int:
    """Start MLflow's server on this store, and open its list of experiments in a browser; Ctrl-C ends it.

    It shows runs while they are recorded. Anyone who can reach its address can read and change the store: by default
    it listens on this machine only. MLflow's own variables, such as MLFLOW_SERVER_CORS_ALLOWED_ORIGINS, are passed on.
    """
    from mltrack.mlflow_plugin.ui_server import is_loopback, ui_command, ui_environment
    from mltrack.process.server import running_server

    need("mlflow", "mltrack ui")
    need("uvicorn_worker", "mltrack ui")
    store = session.store()
    port = _port_of(host, port)
    url = f"http://{_in_url(host)}:{port}"
    environment = ui_environment(_uri(store), host, port, allowed_hosts=allowed_hosts)
    _warn_if_reachable(host, "read and change the store")
    with (
        _until_shutdown() as shutdown,
        _log("ui") as log,
        _catalog_refreshed(store),
        running_server(
            ui_command(host, port, workers),
            url,
            log,
            environment=environment,
            said_every_s=SAID_EVERY_S,
            shutdown=shutdown,
        ) as server,
    ):
        page = f"{url}/#/experiments"  # its home is about language models
        say(f"MLflow's UI on {store.path}: {page}  (Ctrl-C ends it)")
        if not is_loopback(host) and url != f"http://{host}:{port}":
            say(f"from other machines: http://{socket.gethostname()}:{port}/#/experiments")
        if browser and _has_display():
            import webbrowser

            threading.Thread(target=webbrowser.open, args=(page,), daemon=True).start()  # some browsers start slowly
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
@_allowed_hosts
@pass_session
def serve(
    session: Session,
    model_uri: str,
    host: str,
    port: int | None,
    workers: int,
    env_manager: str,
    allowed_hosts: str | None,
) -> int:
    """Serve MODEL with MLflow's scoring server: POST inputs as JSON to /invocations; Ctrl-C ends it.

    MODEL is `models:/NAME/VERSION`, `models:/NAME@ALIAS`, `runs:/RUN_ID/PATH`, or a folder with an MLmodel file.
    By default it listens on this machine only, and answers to this machine's names only, unless the model runs in an
    environment made for it.
    """
    from mltrack.mlflow_plugin.ui_server import LOCAL, scoring_command, scoring_environment
    from mltrack.process.server import running_server

    if allowed_hosts is not None and env_manager != LOCAL:
        raise UsageError(
            f"--allowed-hosts has no effect with --env-manager {env_manager}",
            hint="leave one of them out: there MLflow's own server answers to any name",
        )
    need("mlflow", "mltrack serve")
    store = session.store()
    model_uri = _known_model(store, model_uri)
    port = _port_of(host, port)
    url = f"http://{_in_url(host)}:{port}"
    words = scoring_command(model_uri, host, port, workers, env_manager)
    environment = scoring_environment(_uri(store), host, port, allowed_hosts=allowed_hosts)
    what = f"the server for {model_uri}"
    _warn_if_reachable(host, "ask the model")
    with (
        _until_shutdown() as shutdown,
        _log("serve") as log,
        running_server(
            words, url, log, what=what, environment=environment, said_every_s=SAID_EVERY_S, shutdown=shutdown
        ) as server,
    ):
        say(f"{model_uri} answers at {url}/invocations  (Ctrl-C ends it)")
        _wait(server, log, shutdown)
    return 0


def _uri(store: Store) -> str:
    return uri_of(store.path.resolve())


def _known_model(store: Store, model_uri: str) -> str:
    """The URI, with a run's whole id; checks that the store has what it names, if it has a known form.

    Raises:
        NotFoundError: it has no such model, version, alias, logged model or run; a folder without an MLmodel file.
        UsageError: the URI names no version of a model, or no path in a run.
    """
    match = _MODEL_URI.fullmatch(model_uri)
    if match is None:
        if model_uri.startswith(("models:", "runs:")):
            hint = "write models:/NAME/VERSION, models:/NAME@ALIAS or runs:/RUN_ID/PATH"
            raise UsageError(f"{model_uri!r} is not the whole URI of a model", hint=hint)
        if ":/" not in model_uri and not (Path(model_uri) / "MLmodel").is_file():
            hint = "name a folder that has one, models:/NAME/VERSION or runs:/RUN_ID/PATH"
            raise NotFoundError(f"there is no MLmodel file in {model_uri}", hint=hint)
        return model_uri
    if match["model_id"]:
        store.logged_models.get(match["model_id"])
    elif match["run_id"]:
        run, path = store.run(match["run_id"]), match["path"].strip("/")
        made = {one.model_id for one in run.model_outputs if store.logged_models.has(one.model_id)}
        names = {store.logged_models.get(model_id).name for model_id in made}
        if path not in names and not any(file.path == f"{path}/MLmodel" for file in run.artifacts):
            hint = f"see: mltrack artifacts ls {run.run_id}"
            raise NotFoundError(f"there is no MLmodel file in {path or '.'} of run {run.run_id}", hint=hint)
        return f"runs:/{run.run_id}/{path}"
    elif match["alias"]:
        store.registry.by_alias(match["name"], match["alias"])
    elif match["version"].isdecimal():
        store.registry.get_version(match["name"], match["version"])
    else:  # a stage, or "latest"
        _check_stage(store, match["name"], match["version"])
    return model_uri


def _check_stage(store: Store, name: str, stage: str) -> None:
    """Check that a registered model has a version in a stage; ``latest`` is MLflow's name for its newest one.

    Raises:
        NotFoundError: there is no such model, or none of its versions is in that stage.
    """
    versions = store.registry.versions(name)
    if stage.lower() != "latest" and stage.lower() not in {(one.stage or "").lower() for one in versions}:
        hint = f"its versions: {', '.join(str(one.version) for one in versions) or 'none'}"
        raise NotFoundError(f"model {name!r} has no version in the stage {stage!r}", hint=hint)


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


def _warn_if_reachable(host: str, what: str) -> None:
    from mltrack.mlflow_plugin.ui_server import is_loopback

    if not is_loopback(host):
        say(f"warning: whoever can reach this machine's port can {what}: there is no password", err=True)


@contextlib.contextmanager
def _catalog_refreshed(store: Store) -> Iterator[None]:
    """Bring the catalog up to date in a process of its own, while the server starts: so the first page is quick."""
    import subprocess

    code = "import sys; from mltrack.store import Store; Store.open(sys.argv[1]).search_runs(max_results=1)"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(store.path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,  # whoever opens a page gets the error
        start_new_session=True,
    ) as process:
        threading.Thread(target=process.wait, daemon=True).start()  # else it stays as a zombie while the server lives
        try:
            yield
        finally:
            process.kill()


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
    """Wait for a signal to end; meanwhile show what the server says, which is its warnings and errors.

    Raises:
        ShutdownRequested: the signal came.
        RemoteError: the server ended unexpectedly.
    """
    with log.open("rb") as said:
        said.seek(0, os.SEEK_END)
        try:
            while server.poll() is None:
                shutdown.check()
                _show_new(said)
                time.sleep(POLL_S)
        finally:
            _show_new(said)
    raise RemoteError(f"the server ended unexpectedly, with code {server.returncode}", hint=f"see {log}")


def _show_new(said: BinaryIO) -> None:
    """Print the whole lines that were added."""
    while (line := said.readline()).endswith(b"\n"):
        say(f"  | {line.decode(errors='replace').rstrip()}", err=True)
    said.seek(-len(line), os.SEEK_CUR)
