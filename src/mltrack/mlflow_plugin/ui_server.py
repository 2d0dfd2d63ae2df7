"""MLflow's server on a store: its command, its environment, and the addresses that it answers to.

MLflow's own command imports MLflow once in itself and once more in each worker, one after the other. Here one process
imports it and forks the workers (gunicorn, with uvicorn in each), so the first page comes after one import, and all
workers come at once.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from mltrack.mlflow_plugin.scoring_server import ALLOWED_NAMES
from mltrack.process.server import server_environment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["is_loopback", "scoring_command", "scoring_environment", "ui_command", "ui_environment"]

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
LOCAL = "local"
"""The environment manager that runs a model in this very environment."""
ALL_ADDRESSES = ("0.0.0.0", "::")

ALLOWED_HOSTS = "MLFLOW_SERVER_ALLOWED_HOSTS"
ALLOWED_ORIGINS = "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"


def ui_command(host: str, port: int, workers: int) -> list[str]:
    """The arguments of the Python interpreter to serve MLflow's pages and API."""
    return [
        *("-m", "gunicorn", "--preload", "--worker-class", "uvicorn_worker.UvicornWorker"),
        *("--bind", f"[{host}]:{port}" if ":" in host else f"{host}:{port}"),
        *("--workers", str(workers)),
        *("--timeout", "0"),  # a worker on a busy machine is slow, not dead
        *("--log-level", "warning", "--no-control-socket"),
        "mlflow.server.fastapi_app:app",
    ]


def ui_environment(
    uri: str,
    host: str,
    port: int,
    *,
    allowed_hosts: str | None = None,
    given: Mapping[str, str] = os.environ,
) -> dict[str, str]:
    """The server's environment.

    MLflow's server refuses requests that name another host than it expects (DNS rebinding), and changes from pages of
    other origins. By default it expects loopback names; a server on another address also expects that address and this
    machine's names.

    Args:
        uri: The store, as MLflow names it.
        host: The address that it listens on.
        port: Its port.
        allowed_hosts: Names, with commas between, by which browsers reach it; ``*`` is any.
        given: The environment that MLflow's own variables are taken from, ``MLFLOW_SERVER_ALLOWED_HOSTS`` among them.
    """
    environment = server_environment(given) | {
        # what MLflow's command tells its workers (mlflow/server/constants.py)
        "_MLFLOW_SERVER_FILE_STORE": uri,
        "_MLFLOW_SERVER_REGISTRY_STORE": uri,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": uri,
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "_MLFLOW_SGI_NAME": "uvicorn",
        "MLFLOW_TRACKING_URI": uri,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "true",  # starts none here; else pages say that this would let jobs run
    }
    allowed = _words(allowed_hosts or given.get(ALLOWED_HOSTS, ""))
    if allowed or not is_loopback(host):  # else MLflow's own default
        here = list(dict.fromkeys([*LOOPBACK_NAMES, *_names_of(host), *(name for name in allowed if name != "*")]))
        hosts = [*allowed, *LOOPBACK_NAMES] if allowed else here
        environment[ALLOWED_HOSTS] = "*" if "*" in allowed else ",".join(_with_port(hosts, port))
        origins = [*_words(given.get(ALLOWED_ORIGINS, "")), *_origins(here, port)]
        environment[ALLOWED_ORIGINS] = ",".join(origins)
    return environment


def scoring_command(model_uri: str, host: str, port: int, workers: int, env_manager: str) -> list[str]:
    """The arguments of the Python interpreter to serve a model: of MLflow itself where the model gets its own Python.

    There mltrack is not installed, so that nothing checks the name by which the server is reached.
    """
    words = ["--model-uri", model_uri, "--host", host, "--port", str(port), "--workers", str(workers)]
    if env_manager == LOCAL:
        return ["-m", "mltrack.mlflow_plugin.scoring_server", *words]
    return ["-m", "mlflow", "models", "serve", *words, "--env-manager", env_manager]


def scoring_environment(
    uri: str, host: str, port: int, *, allowed_hosts: str | None = None, given: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """The environment of a scoring server; the arguments are those of ui_environment."""
    allowed = _words(allowed_hosts or given.get(ALLOWED_HOSTS, ""))
    names = [*LOOPBACK_NAMES, *(allowed or _names_of(host))]
    known = "*" if "*" in allowed else ",".join(_with_port(dict.fromkeys(names), port))
    return server_environment(given) | {"MLFLOW_TRACKING_URI": uri, ALLOWED_NAMES: known}


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    return host in ("localhost", "::1") or host.startswith("127.")


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _names_of(host: str) -> list[str]:
    """What a server that listens on ``host`` can be called."""
    if is_loopback(host):
        return [host]
    addresses = _addresses_here() if host in ALL_ADDRESSES else [f"[{host}]" if ":" in host else host]
    return [*addresses, socket.gethostname(), socket.getfqdn()]


def _addresses_here() -> list[str]:
    import psutil

    found = []
    for addresses in psutil.net_if_addrs().values():
        for each in addresses:
            if each.family == socket.AF_INET:
                found.append(each.address)
            elif each.family == socket.AF_INET6 and "%" not in each.address:
                found.append(f"[{each.address}]")
    return found


def _with_port(names: Iterable[str], port: int) -> list[str]:
    """Each name as browsers send it: with the port, and without it for proxies on the usual ports."""
    return [form for name in names for form in (name, f"{name}:{port}")]


def _origins(names: Iterable[str], port: int) -> list[str]:
    """The pages that may change something: those that the server itself serves, by each of its names."""
    return [f"{scheme}://{form}" for form in _with_port(names, port) for scheme in ("http", "https")]
