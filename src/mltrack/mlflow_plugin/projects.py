"""MLflow's project backend ``mltrack``: runs a project on this machine as ``mltrack run`` runs a program.

Output, source, environment, machine and the folder ``outputs`` are recorded along with what the project logs itself.
MLflow fetches the project, reads its MLproject file and creates its environment.
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
"""Whether to create the project's environment; false: it runs in this one."""

STREAM_OUTPUT = "STREAM_OUTPUT"
"""True: its output is shown until it ends, and its failure raises; false: the output is only recorded. By default, the
command ``mlflow run`` does as with true; from Python, the output is shown while this process runs."""

_ENV_MANAGER = "ENV_MANAGER"  # added to the config by MLflow: how it was called
_SYNCHRONOUS = "SYNCHRONOUS"
_STORAGE_DIR = "STORAGE_DIR"
_RUN_ID = "_mlflow_local_backend_run_id"
_FALSE = ("", "0", "false", "no", "off", "none")
_TRUE = ("1", "true", "yes", "on")


class ProjectRun(SubmittedRun):
    """A project that runs in another process; not safe for threads, like MLflow's own."""

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
        """Wait for its end; returns whether it succeeded."""
        return self._launcher.wait() == 0

    def get_status(self) -> str:
        """SCHEDULED, RUNNING, FINISHED, FAILED or KILLED."""
        return self._store.run(self._run_id).info.status

    def cancel(self) -> None:
        """End the program by SIGTERM, and wait for its end."""
        self._launcher.terminate()
        self._launcher.wait()
        if self.get_status() in ("SCHEDULED", "RUNNING"):  # it had not started yet
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
        """Start a project's entry point, without waiting for its end unless STREAM_OUTPUT is true.

        Args:
            project_uri: where the project is.
            entry_point: which of its entry points.
            params: its parameters.
            version: a commit or branch of the project.
            backend_config: USE_CONDA and STREAM_OUTPUT, and what MLflow adds.
            tracking_uri: the store.
            experiment_id: the run's experiment.
        """
        from mlflow.projects.utils import fetch_and_validate_project, get_or_create_run, load_project

        if not tracking_uri.startswith(f"{SCHEME}:"):
            raise MlflowException.invalid_parameter_value(
                f"the backend 'mltrack' records into an mltrack store, and the tracking URI is {tracking_uri!r}: "
                "set it to 'mltrack:' (MLFLOW_TRACKING_URI)"
            )
        params = dict(params or {})
        folder = fetch_and_validate_project(project_uri, version, entry_point, params)
        project = load_project(folder)
        manager, stream = _env_manager(backend_config, project), _stream_output(backend_config)
        store = open_store(tracking_uri)
        made = get_or_create_run(
            backend_config.get(_RUN_ID), project_uri, experiment_id, folder, version, entry_point, params
        )
        run_id = made.info.run_id
        _schedule(store, run_id)
        storage = backend_config.get(_STORAGE_DIR)
        if manager == "local":
            command = _local_command(project, entry_point, params, storage)
        else:
            command = _mlflow_command(folder, entry_point, params, storage, manager, run_id)
        launcher = _launch(store, run_id, command, folder, tracking_uri, quiet=stream is False)
        run = ProjectRun(store, run_id, launcher)
        if stream is None and _command_line() is not None:
            stream = True  # MLflow waits only for its own backend: it would exit with 0 before the project has failed
        succeeded = not stream or run.wait()
        if not succeeded and not backend_config.get(_SYNCHRONOUS):  # else MLflow raises, once it has named the run
            raise ExecutionException(f"run {run_id} {run.get_status().lower()}: see mltrack logs {run_id[:8]}")
        return run


def _schedule(store: Store, run_id: str) -> None:
    """Name the run, set it to SCHEDULED and close it here: the launcher records it from now on."""
    typed = _command_line()
    if typed is not None and typed.get("run_name"):  # MLflow names the run only after ``run`` has returned
        MlflowClient().set_tag(run_id, MLFLOW_RUN_NAME, typed["run_name"])
    pool = run_pool.of(store)
    pool.emit(run_id, run_pool.status_event("SCHEDULED", None))
    pool.close(run_id)


def _launch(
    store: Store, run_id: str, command: list[str], folder: str, tracking_uri: str, *, quiet: bool
) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "mltrack", "--store", str(store.path), "run", "--resume", run_id]
    words += ["--quiet"] if quiet else []
    return subprocess.Popen(
        [*words, "--", *command],
        cwd=folder,
        env={**os.environ, "MLFLOW_TRACKING_URI": tracking_uri},
        stdin=subprocess.DEVNULL,
    )


def _stream_output(config: Mapping[str, Any]) -> bool | None:
    """STREAM_OUTPUT; None if it is not given."""
    return _is_true(config, STREAM_OUTPUT) if config.get(STREAM_OUTPUT) is not None else None


def _env_manager(config: Mapping[str, Any], project: Any) -> str:
    """What creates the environment: as given, else a virtual environment if the project describes one, else none."""
    given = config.get(_ENV_MANAGER)
    if USE_CONDA in config:
        return str(given or "virtualenv") if _is_true(config, USE_CONDA) else "local"
    if given is not None:
        return str(given)
    return "virtualenv" if project.env_config_path else "local"


def _command_line() -> Mapping[str, Any] | None:
    """The options of the command ``mlflow run``, if it is being run."""
    context = click.get_current_context(silent=True)
    if context is None or getattr(context.command.callback, "__module__", "") != "mlflow.cli":
        return None
    return context.params


def _is_true(config: Mapping[str, Any], key: str) -> bool:
    """A truth value from JSON or text: ``mlflow run --backend-config`` may pass text."""
    value = config[key]
    text = value.strip().lower() if isinstance(value, str) else ""
    if isinstance(value, str) and text not in _FALSE + _TRUE:
        raise MlflowException.invalid_parameter_value(f"{key} in the backend's config is {value!r}: use true or false")
    return text in _TRUE if isinstance(value, str) else bool(value)


def _local_command(project: Any, entry_point: str, params: dict[str, Any], storage: str | None) -> list[str]:
    from mlflow.projects.utils import get_entry_point_command

    return ["bash", "-c", " ".join(get_entry_point_command(project, entry_point, params, storage))]


def _mlflow_command(
    folder: str, entry_point: str, params: Mapping[str, Any], storage: str | None, manager: str, run_id: str
) -> list[str]:
    """MLflow's own local backend, which creates the environment and runs the entry point in it."""
    words = [sys.executable, "-m", "mlflow", "run", folder, "-e", entry_point, "--run-id", run_id]
    words += ["--env-manager", manager]
    if storage is not None:
        words += ["--storage-dir", storage]
    for key, value in params.items():
        words += ["-P", f"{key}={value}"]
    return words
