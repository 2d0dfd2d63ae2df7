"""Launches a script from Python as a run, and returns a handle to wait for it and to read it."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mltrack.environment import ERROR_TAG, RUN_NAME_TAG, SOURCE_NAME_TAG
from mltrack.errors import NotFoundError, RunStateError, UsageError
from mltrack.launch.launcher import check_program
from mltrack.process.secret_patterns import Redactor
from mltrack.recording import current_store
from mltrack.recording.background_sync import requested_sync
from mltrack.recording.starting import create_run
from mltrack.text.printable import OutputFilter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mltrack.entities import ModelVersion
    from mltrack.storage.runs.stored_run import StoredRun
    from mltrack.store import Store

__all__ = ["ScriptRunConfig", "SubmittedRun", "submit"]

POLL_S = 0.1
OPEN_STATUSES = ("RUNNING", "SCHEDULED")


@dataclass(frozen=True, slots=True)
class ScriptRunConfig:
    """What to run: a script with its arguments, or a whole command, in the folder of its source.

    Args:
        source_directory: the folder it runs in, whose files are in the snapshot.
        script: a Python script below that folder; run by ``python``.
        arguments: its arguments, converted by ``str()``.
        command: instead of a script, a command: words, or one text that is split as a shell does.
        python: the interpreter for ``script``; the current one when not given.
        environment_variables: additional variables for the program.
        watch: folders whose files become artifacts once they settle.
        snapshot: whether source, packages and machine are recorded.
        system_metrics: whether system metrics are logged.
    """

    source_directory: str | os.PathLike[str] = "."
    script: str | None = None
    arguments: Sequence[Any] = ()
    command: Sequence[str] | str | None = None
    python: str | None = None
    environment_variables: Mapping[str, str] = field(default_factory=dict)
    watch: Sequence[str] = ("outputs", "logs")
    snapshot: bool = True
    system_metrics: bool = True

    def words(self) -> list[str]:
        """The command, as a list of words.

        Raises:
            UsageError: neither or both of script and command are given.
            NotFoundError: there is no such folder or script.
        """
        folder = Path(self.source_directory)
        if not folder.is_dir():
            raise NotFoundError(f"{folder} is not a folder", hint="name the folder of the source")
        if (self.script is None) == (self.command is None):
            raise UsageError("a ScriptRunConfig needs a script or a command", hint="give one of them, not both")
        if self.script is not None:
            if not (folder / self.script).is_file():
                raise NotFoundError(f"there is no script {self.script} in {folder}", hint="its path is relative to it")
            return [self.python or sys.executable, self.script, *map(str, self.arguments)]
        words = shlex.split(self.command) if isinstance(self.command, str) else list(map(str, self.command or ()))
        return [*words, *map(str, self.arguments)]


class SubmittedRun:
    """A run launched in another process. Its state is read from the store with each call."""

    def __init__(self, store: Store, run_id: str, launcher: subprocess.Popen[bytes], errors: Path) -> None:
        """Use ``mltrack.submit``."""
        self.run_id = run_id
        self._store = store
        self._launcher = launcher
        self._errors: Path | None = errors
        self._error_text = ""

    def __repr__(self) -> str:
        return f"SubmittedRun({self.run_id!r}, {self.get_status()})"

    def stored(self) -> StoredRun:
        """The run as it is now."""
        return self._store.run(self.run_id)

    def get_status(self) -> str:
        """SCHEDULED, RUNNING, FINISHED, FAILED or KILLED."""
        return self.stored().info.status

    def get_metrics(self, name: str | None = None) -> dict[str, float | list[float]]:
        """As ``StoredRun.get_metrics``: values by metric."""
        return self.stored().get_metrics(name)

    def get_file_names(self) -> list[str]:
        """The names of its artifacts."""
        return [artifact.path for artifact in self.stored().artifacts]

    def wait_for_completion(
        self,
        show_output: bool = False,
        raise_on_error: bool = True,
        *,
        timeout_s: float | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> str:
        """Wait until the run has ended, and return its status.

        Args:
            show_output: print the program's output meanwhile.
            raise_on_error: raise if the run did not finish.
            timeout_s: how long to wait at most, in seconds.
            sleep: waits that many seconds.

        Raises:
            RunStateError: it failed and ``raise_on_error`` is set; or ``timeout_s`` seconds have passed.
        """
        if show_output:
            self._show()
        waited = 0.0
        while self._launcher.poll() is None:
            if timeout_s is not None and waited >= timeout_s:
                raise RunStateError(f"run {self.run_id} has not ended after {timeout_s} s", hint="wait longer")
            sleep(POLL_S)
            waited += POLL_S
        errors = self._launcher_errors()
        run = self.stored()
        status = run.info.status
        if raise_on_error and status != "FINISHED":
            why = run.tags.get(ERROR_TAG, "").strip() or errors
            raise RunStateError(
                f"run {self.run_id} {'did not start' if status in OPEN_STATUSES else status.lower()}: {why}",
                hint=f"see: mltrack logs {self.run_id[:8]}",
            )
        return status

    def _show(self) -> None:
        from mltrack.launch.log_reader import follow_output

        while self._launcher.poll() is None and not (self.stored().folder.path / "live").is_dir():
            time.sleep(POLL_S)
        shown = OutputFilter()
        with contextlib.suppress(NotFoundError):
            for piece in follow_output(self.stored()):
                print(shown.feed(piece), end="", flush=True)
        print(shown.close(), end="", flush=True)

    def _launcher_errors(self) -> str:
        """The launcher's own messages, which matter only if it could not launch."""
        if self._errors is not None:
            with contextlib.suppress(OSError):
                self._error_text = self._errors.read_text("utf-8", "replace").strip()
                self._errors.unlink()
            self._errors = None
        return self._error_text

    def cancel(self) -> None:
        """End it: SIGTERM, which is forwarded to the program."""
        with contextlib.suppress(ProcessLookupError):
            self._launcher.terminate()

    def register_model(
        self, model_name: str, model_path: str | None = None, *, tags: Mapping[str, Any] | None = None
    ) -> ModelVersion:
        """Make an artifact of the run the next version of a registered model.

        Raises:
            NotFoundError, UsageError, StoreError: as ``Run.register_model``.
        """
        text = {key: str(value) for key, value in (tags or {}).items()}
        folder = self._store.layout.run(self.run_id)
        return self._store.registry.create_version_of_run(model_name, folder, model_path, tags=text)


def submit(
    config: ScriptRunConfig,
    experiment_name: str | None = None,
    *,
    run_name: str | None = None,
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, Any] | None = None,
    sync: str | None = None,
) -> SubmittedRun:
    """Launch a program as ``mltrack run`` does. Its run is in the store when this returns, without waiting for its end.

    Args:
        config: what to run.
        experiment_name: its experiment; that of ``set_experiment`` when not given.
        run_name: its name.
        params: params to log.
        tags: tags to set.
        sync: push while it runs, to a remote's name or URL.

    Raises:
        UsageError, NotFoundError: the config is invalid, or a folder, script or remote does not exist.
        StoreError: the store can't be written.
    """
    if not isinstance(config, ScriptRunConfig):
        hint = 'mltrack.submit(mltrack.ScriptRunConfig("src", "train.py"))'
        raise UsageError(f"what is submitted is a ScriptRunConfig, not {type(config).__name__}", hint=hint)
    words = config.words()
    env = {**os.environ, **config.environment_variables}
    check_program(words, Path(config.source_directory), env.get("PATH"))
    store = current_store.get_store()
    if sync is not None:
        requested_sync(store.layout, sync)  # raises if there is no such remote
    run_id = _schedule(config, words, experiment_name, run_name, params or {}, tags or {})
    options = ["--resume", run_id, "--quiet", *_options(config, sync)]
    errors_path = Path(tempfile.gettempdir()) / f"mltrack-{run_id}.txt"
    with open(errors_path, "wb") as errors:
        launcher = subprocess.Popen(
            [sys.executable, "-m", "mltrack", "--store", str(store.path), "run", *options, "--", *words],
            cwd=config.source_directory,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
    return SubmittedRun(store, run_id, launcher, errors_path)


def _schedule(
    config: ScriptRunConfig,
    words: Sequence[str],
    experiment_name: str | None,
    run_name: str | None,
    params: Mapping[str, Any],
    tags: Mapping[str, Any],
) -> str:
    """Create the run; returns its id."""
    layout = current_store.get_store().layout
    redactor = Redactor.from_environment(environment={**os.environ, **config.environment_variables})
    named = {RUN_NAME_TAG: run_name} if run_name else {}
    source = {SOURCE_NAME_TAG: redactor.text(config.script or words[0])}
    if experiment_name is None:
        experiment = current_store.chosen_experiment(layout, None)
    else:
        experiment = current_store.get_store().workspace.get_or_create(experiment_name)
    texts = {key: redactor.value(key, str(value)) for key, value in tags.items()}
    run = create_run(layout, experiment, {**source, **named, **texts})
    run.log_params({key: redactor.value(key, str(value)) for key, value in params.items()})
    run.detach()
    return run.run_id


def _options(config: ScriptRunConfig, sync: str | None) -> list[str]:
    options = [] if config.watch else ["--no-watch"]
    for folder in config.watch:
        options += ["--watch", folder]
    if not config.snapshot:
        options.append("--no-snapshot")
    if not config.system_metrics:
        options.append("--no-system-metrics")
    return [*options, "--sync", sync] if sync else options
