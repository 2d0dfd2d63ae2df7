"""``mltrack run``: one program, run as a child, with a run of its own that tells how it went."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mltrack import fluent
from mltrack.errors import UsageError
from mltrack.launch.capture import Ending, run_child
from mltrack.launch.environment import child_environment
from mltrack.launch.output import LIVE_FOLDER, LOG_BYTES_MAX, LOG_NAME, OutputLog
from mltrack.launch.redact import Redactor
from mltrack.store.fold import RunState

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mltrack.run import Run

__all__ = ["Launch", "Launched", "launch", "publish_output"]

EXIT_CODE_TAG = "mltrack.exit_code"
SIGNAL_TAG = "mltrack.signal"
PREEMPTED_TAG = "mltrack.preempted"
ERROR_TAG = "mltrack.error"

PREEMPTING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)
"""What schedulers send before they take a job's machine away."""

ERROR_CHARACTERS_MAX = 4_000
_TRACEBACK = "Traceback (most recent call last):"


@dataclass(frozen=True, slots=True)
class Launch:
    """What to run, and what to record of it.

    ``resume`` names a run to go on with. ``recorders`` are started when the program runs, each with the run and the
    folder it runs in, and give back what stops them; that is called when the program has ended.
    """

    command: Sequence[str]
    experiment: str | None = None
    name: str | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    resume: str | None = None
    sync: str | None = None
    cwd: Path | None = None
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    log_bytes_max: int = LOG_BYTES_MAX
    quiet: bool = False
    recorders: Sequence[Callable[[Run, Path], Callable[[], None]]] = ()
    redactor: Redactor = field(default_factory=Redactor.from_environment)


@dataclass(frozen=True, slots=True)
class Launched:
    """How it went: the run, its status, and the exit code to end with."""

    run_id: str
    status: str
    exit_code: int


def launch(
    what: Launch,
    store: str | os.PathLike[str] | None = None,
    *,
    on_run: Callable[[Run], None] = lambda run: None,
) -> Launched:
    """Run the program to its end; call it from the main thread. ``on_run`` is told of the run before it starts.

    Raises:
        UsageError: the program is not there; nothing was recorded.
        NotFoundError: there is no such run to resume, or no such remote.
        StoreError: the store can't be written.
    """
    folder = what.cwd or Path.cwd()
    _check_program(what.command, folder, what.env.get("PATH"))
    if store is not None:
        fluent.set_store(store)
    run = _begin(what)
    try:
        on_run(run)
        return _run(what, run, folder)
    finally:
        run.end("FAILED")  # does nothing where it has ended; else an error of ours is on its way


def _check_program(command: Sequence[str], folder: Path, path: str | None) -> None:
    if not command:
        raise UsageError("there is nothing to run", hint="put the command behind --: mltrack run -- python train.py")
    program = command[0]
    found = (folder / program).exists() if os.sep in program else shutil.which(program, path=path) is not None
    if not found:
        raise UsageError(f"there is no program {program!r}", hint="check its name, and PATH")


def _begin(what: Launch) -> Run:
    tags = {
        "mlflow.source.name": what.redactor.text(_source(what.command)),
        "mltrack.command": shlex.join(what.redactor.command(what.command)),
        **what.tags,
    }
    if what.resume is not None:
        tags.pop("mlflow.source.name")
        run = fluent.start_run(run_id=what.resume, tags=tags, log_system_metrics=False, sync=what.sync)
        for tag in (EXIT_CODE_TAG, SIGNAL_TAG, PREEMPTED_TAG, ERROR_TAG):
            run.delete_tag(tag)
    else:
        with _without_run_id():
            if what.experiment is not None:
                fluent.set_experiment(what.experiment)
            run = fluent.start_run(run_name=what.name, tags=tags, log_system_metrics=False, sync=what.sync)
    run.log_params({key: what.redactor.value(key, value) for key, value in what.params.items()})
    return run


@contextlib.contextmanager
def _without_run_id() -> Iterator[None]:
    """A launch inside a launched program is a run of its own."""
    held = os.environ.pop(fluent.RUN_ID_VARIABLE, None)
    try:
        yield
    finally:
        if held is not None:
            os.environ[fluent.RUN_ID_VARIABLE] = held


def _source(command: Sequence[str]) -> str:
    """The script that a command runs: its first word that is a file and no interpreter; else its first word."""
    return next((word for word in command[1:] if word.endswith((".py", ".sh", ".ipynb"))), command[0])


def _run(what: Launch, run: Run, folder: Path) -> Launched:
    state = RunState(run.folder)
    state.update()
    live = run.folder.path / LIVE_FOLDER
    log = OutputLog(live, what.log_bytes_max, before=run.folder.artifacts / LOG_NAME)
    stops: list[Callable[[], None]] = []
    started = threading.Thread(
        target=lambda: stops.extend(start(run, folder) for start in what.recorders), name="mltrack-recorders"
    )

    def begin(_: subprocess.Popen[bytes]) -> None:
        started.start()

    try:
        ending = run_child(
            what.command,
            env=child_environment(run.store_folder, state.info(), what.env, named=what.name is not None),
            log=log,
            cwd=what.cwd,
            quiet=what.quiet,
            on_start=begin,
        )
    except OSError as error:
        publish_output(run, log)
        raise UsageError(f"{what.command[0]!r} can't be run: {error.strerror}", hint="is it a program?") from error
    finally:
        if started.ident is not None:
            started.join()
            for stop in stops:
                stop()
    publish_output(run, log)
    return _end(what, run, ending)


def publish_output(run: Run, log: OutputLog) -> None:
    """Make the output an artifact; what the disk does not take stays where it grew, and is told as lost."""
    with contextlib.suppress(OSError):
        path = log.finish()
        if path is not None:
            run.adopt_artifact(path, LOG_NAME)
        (run.folder.path / LIVE_FOLDER).rmdir()


def _end(what: Launch, run: Run, ending: Ending) -> Launched:
    status = "FINISHED" if ending.returncode == 0 else "FAILED" if ending.returncode > 0 else "KILLED"
    preempted = next((number for number in ending.received if number in PREEMPTING), None)
    if preempted is not None and status != "FINISHED":
        status = "KILLED"
        run.set_tag(PREEMPTED_TAG, signal.Signals(preempted).name)
    if signal.SIGINT in ending.received and status == "FAILED":
        status = "KILLED"
    run.set_tag(EXIT_CODE_TAG, ending.exit_code)
    if ending.returncode < 0:
        run.set_tag(SIGNAL_TAG, _signal_name(-ending.returncode))
    if status != "FINISHED":
        words = what.redactor.text(last_error(ending.error_tail))
        if words:
            run.set_tag(ERROR_TAG, words)
    run.end(status)
    return Launched(run.run_id, status, ending.exit_code)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def last_error(tail: bytes) -> str:
    """The last traceback in the end of stderr, else its last lines."""
    text = tail.decode("utf-8", "replace").replace("\r", "\n").strip()
    at = text.rfind(_TRACEBACK)
    if at >= 0:
        return _clipped(text[at:])
    return _clipped("\n".join(text.splitlines()[-5:]))


def _clipped(text: str) -> str:
    """The end of a long text says most."""
    return text if len(text) <= ERROR_CHARACTERS_MAX else "..." + text[3 - ERROR_CHARACTERS_MAX :]
