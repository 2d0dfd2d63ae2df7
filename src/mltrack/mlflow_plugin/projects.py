"""MLflow's project backend ``mltrack``: a project run on this machine as ``mltrack run`` runs a program.

Output, source, environment, machine and the folder ``outputs`` are recorded beside what the project logs itself. MLflow
fetches the project, reads its MLproject file and makes its environment.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import click
from mlflow.exceptions import ExecutionException, MlflowException
from mlflow.projects.backend.abstract_backend import AbstractBackend
from mlflow.projects.submitted_run import SubmittedRun
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME

from mltrack.disk.store_path import SCHEME
from mltrack.mlflow_plugin import run_pool
from mltrack.mlflow_plugin.errors import raises_mlflow
from mltrack.mlflow_plugin.uris import open_store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mltrack.store import Store

__all__ = ["ProjectBackend", "ProjectRun"]

USE_CONDA = "USE_CONDA"
"""Whether the project's own environment is made for it; false: it runs in this one."""

STREAM_OUTPUT = "STREAM_OUTPUT"
"""True: what it prints is shown here until it ends, and its failure raises; false: it is only kept. Without it, the
command ``mlflow run`` does as with true; from Python, what it prints is shown while this process lives."""

_ENV_MANAGER = "ENV_MANAGER"  # what MLflow adds itself to the config: how it was called
_SYNCHRONOUS = "SYNCHRONOUS"
_STORAGE_DIR = "STORAGE_DIR"
_RUN_ID = "_mlflow_local_backend_run_id"
_FALSE = ("", "0", "false", "no", "off", "none")
_TRUE = ("1", "true", "yes", "on")


class ProjectRun(SubmittedRun):
    """A project that runs in another process; not safe for threads, as MLflow has it."""

    def __init__(self, store: Store, run_id: str, launcher: subprocess.Popen[bytes]) -> None:
        super().__init__()
        self._store = store
        self._pool = run_pool.of(store)
        self._run_id = run_id
        self._launcher = launcher

    @property
    def run_id(self) -> str:
        """The run it logs to."""
        return self._run_id

    def wait(self) -> bool:
        """Wait for its end; whether it ended well."""
        return self._launcher.wait() == 0

    def get_status(self) -> str:
        """SCHEDULED, RUNNING, FINISHED, FAILED or KILLED."""
        return self._store.run(self._run_id).info.status

    def cancel(self) -> None:
        """Ask the program to end (SIGTERM), and wait until it has."""
        self._launcher.terminate()
        self._launcher.wait()
        if self.get_status() in ("SCHEDULED", "RUNNING"):  # before it had begun
            self._pool.end(self._run_id, "KILLED", None)


@raises_mlflow
class ProjectBackend(AbstractBackend):
    """Runs projects; ``backend_config`` may hold USE_CONDA and STREAM_OUTPUT."""

    def run(
        self,
        project_uri: str,
        entry_point: str,
        params: Mapping[str, Any] | None,
        version: str | None,
        backend_config: Mapping[str, Any],
        tracking_uri: str,
        experiment_id: str,
    ) -> ProjectRun:
        """Start a project's entry point, and return at once."""
        from mlflow.projects.utils import fetch_and_validate_project, get_or_create_run, load_project

        if not tracking_uri.startswith(f"{SCHEME}:"):
            raise MlflowException.invalid_parameter_value(
                f"the backend 'mltrack' records into an mltrack store, and the tracking URI is {tracking_uri!r}: "
                "set it to 'mltrack:' (MLFLOW_TRACKING_URI)"
            )
        params = dict(params or {})
        folder = fetch_and_validate_project(project_uri, version, entry_point, params)
        project = load_project(folder)
        manager = _env_manager(backend_config, project)
        stream = _is_true(backend_config, STREAM_OUTPUT) if backend_config.get(STREAM_OUTPUT) is not None else None
        store = open_store(tracking_uri)
        made = get_or_create_run(
            backend_config.get(_RUN_ID), project_uri, experiment_id, folder, version, entry_point, params
        )
        run_id = made.info.run_id
        typed = _command_line()
        if typed is not None and typed.get("run_name"):  # MLflow names the run only after this has returned
            MlflowClient().set_tag(run_id, MLFLOW_RUN_NAME, typed["run_name"])
        pool = run_pool.of(store)
        pool.emit(run_id, run_pool.status_event("SCHEDULED", None))
        pool.close(run_id)  # it is the launcher's from here on
        storage = backend_config.get(_STORAGE_DIR)
        if manager == "local":
            command = _local_command(project, entry_point, params, storage)
        else:
            command = _mlflow_command(folder, entry_point, params, storage, manager, run_id)
        if stream is None and typed is not None:
            stream = True  # MLflow waits for no backend but its own, and would end with 0 before the project has failed
        quiet = [] if stream is None or stream else ["--quiet"]
        launcher = subprocess.Popen(
            [
                *(sys.executable, "-m", "mltrack", "--store", str(store.path), "run"),
                *("--resume", run_id, *quiet, "--", *command),
            ],
            cwd=folder,
            env={**os.environ, "MLFLOW_TRACKING_URI": tracking_uri},
            stdin=subprocess.DEVNULL,
        )
        run = ProjectRun(store, run_id, launcher)
        ended_well = not stream or run.wait()
        if not ended_well and not backend_config.get(_SYNCHRONOUS):  # else MLflow raises, once it has named the run
            raise ExecutionException(f"run {run_id} {run.get_status().lower()}: see mltrack logs {run_id[:8]}")
        return run


def _env_manager(config: Mapping[str, Any], project: Any) -> str:
    """What makes the environment: as asked for; else the project's own where it has one, else none."""
    given = config.get(_ENV_MANAGER)
    if USE_CONDA in config:
        wanted = _is_true(config, USE_CONDA)
        if not wanted:
            return "local"
        return str(given or "virtualenv")
    if given is not None:
        return str(given)
    return "virtualenv" if project.env_config_path else "local"


def _command_line() -> Mapping[str, Any] | None:
    """The options of MLflow's command ``mlflow run``, where this is it."""
    context = click.get_current_context(silent=True)
    if context is None or getattr(context.command.callback, "__module__", "") != "mlflow.cli":
        return None
    return context.params


def _is_true(config: Mapping[str, Any], key: str) -> bool:
    """As JSON and command lines have it: ``mlflow run --backend-config`` may hand on text."""
    value = config[key]
    text = value.strip().lower() if isinstance(value, str) else ""
    if isinstance(value, str) and text not in _FALSE + _TRUE:
        raise MlflowException.invalid_parameter_value(f"{key} in the backend's config is {value!r}: say true or false")
    return text in _TRUE if isinstance(value, str) else bool(value)


def _local_command(project: Any, entry_point: str, params: dict[str, Any], storage: str | None) -> list[str]:
    from mlflow.projects.utils import get_entry_point_command

    return ["bash", "-c", " ".join(get_entry_point_command(project, entry_point, params, storage))]


def _mlflow_command(
    folder: str, entry_point: str, params: Mapping[str, Any], storage: str | None, manager: str, run_id: str
) -> list[str]:
    """MLflow's own local backend, which makes the environment and runs the entry point in it."""
    words = [sys.executable, "-m", "mlflow", "run", folder, "-e", entry_point, "--run-id", run_id]
    words += ["--env-manager", manager]
    if storage is not None:
        words += ["--storage-dir", storage]
    for key, value in params.items():
        words += ["-P", f"{key}={value}"]
    return words
