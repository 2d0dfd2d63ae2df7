"""``mltrack run``: runs a program as a child process and records it as a run."""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import shutil
import signal
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mltrack.environment import (
    COMMAND_TAG,
    ERROR_TAG,
    EXIT_CODE_TAG,
    MLTRACK_RUN_ID,
    PREEMPTED_TAG,
    SIGNAL_TAG,
    SOURCE_NAME_TAG,
)
from mltrack.errors import MltrackError, ParamConflictError, UsageError
from mltrack.launch.capture import TAIL_BYTES, ChildExit, run_child
from mltrack.launch.child_env import child_environment
from mltrack.launch.log_file import LIVE_FOLDER, LOG_BYTES_MAX, log_name, open_log
from mltrack.launch.signals import Signals
from mltrack.launch.stopper import Stopper
from mltrack.launch.takeover import start_standby
from mltrack.process.secret_patterns import Redactor
from mltrack.process.trouble import TROUBLE
from mltrack.recording import current_store, fluent
from mltrack.recording.announcements import silence
from mltrack.recording.run_error import error_text
from mltrack.storage.runs.state import RunState

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mltrack.guards.rules import Guard
    from mltrack.launch.log_file import OutputLog
    from mltrack.recording.run import Run

__all__ = ["Launch", "Launched", "check_program", "launch", "publish_output"]


PREEMPTING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)
"""The signals that schedulers send before they preempt a job."""

_NOT_EXECUTABLE = "allow it by chmod +x, or name the program that runs it, such as: python FILE"
_TRACEBACK = "Traceback (most recent call last):"
_GROUP = "\n  + Exception Group Traceback (most recent call last):"
_CAUSED = (
    "The above exception was the direct cause of the following exception:",
    "During handling of the above exception, another exception occurred:",
)


@dataclass(frozen=True, slots=True)
class Launch:
    """What to run, and what to record of it.

    ``resume`` names a run to resume; with ``resume_if_exists`` it is the one called ``name`` in the experiment, if it
    exists. ``collectors`` are started once the program runs, each with the run and the folder the program runs in, and
    return a function that stops them, which is called after the program has ended. ``guards`` watch the run; when it is
    asked to stop, ``on_stop`` is called with the reason, and the program is ended.
    """

    command: Sequence[str]
    experiment: str | None = None
    name: str | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    resume: str | None = None
    resume_if_exists: bool = False
    sync: str | None = None
    cwd: Path | None = None
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    log_bytes_max: int = LOG_BYTES_MAX
    quiet: bool = False
    collectors: Sequence[Callable[[Run, Path], Callable[[], None]]] = ()
    redactor: Redactor = field(default_factory=Redactor.from_environment)
    guards: Sequence[Guard] = ()
    on_stop: Callable[[str], None] = lambda reason: None


@dataclass(frozen=True, slots=True)
class Launched:
    """The result: the run, its status, and the exit code to end with.

    ``interrupted``: the program ended by a SIGINT that this process received too. ``output_lost``: the bytes of its
    output that could not be written to disk.
    """

    run_id: str
    status: str
    exit_code: int
    interrupted: bool = False
    output_lost: int = 0


def launch(
    what: Launch,
    store: str | os.PathLike[str] | None = None,
    *,
    on_run: Callable[[Run], None] = lambda run: None,
) -> Launched:
    """Run the program to its end, from the main thread. ``on_run`` is called with the run before the program starts.

    Raises:
        UsageError: the program does not exist; nothing was recorded.
        NotFoundError: there is no such run to resume, or no such remote.
        StoreError: the store can't be written.
    """
    folder = what.cwd or _here()
    check_program(what.command, folder, what.env.get("PATH"))
    if store is not None:
        current_store.set_store(store)
    run = _begin(what)
    try:
        on_run(run)
        return _run(what, run, folder)
    finally:
        run.end("FAILED")  # does nothing if it has ended; else an error is being raised


def _here() -> Path:
    try:
        return Path.cwd()
    except OSError:
        raise UsageError("the working folder is gone", hint="cd to a folder that exists") from None


def check_program(command: Sequence[str], folder: Path, path: str | None) -> None:
    """Check that a command run in ``folder`` names a program, by its path or by the search path ``path``.

    Raises:
        UsageError: it does not.
    """
    if not command:
        raise UsageError("the command is missing", hint="put it after --: mltrack run -- python train.py")
    program = command[0]
    by_path = os.sep in program
    if shutil.which(str(folder / program) if by_path else program, path=path) is None:
        if by_path and (folder / program).exists():
            raise UsageError(f"{program!r} can't be run: Permission denied", hint=_NOT_EXECUTABLE)
        raise UsageError(f"there is no program {program!r}", hint="check its name, and PATH")


def _begin(what: Launch) -> Run:
    silence()
    tags = {
        SOURCE_NAME_TAG: what.redactor.text(_source(what.command)),
        COMMAND_TAG: shlex.join(what.redactor.command(what.command)),
        **{key: what.redactor.value(key, value) for key, value in what.tags.items()},
    }
    params = {key: what.redactor.value(key, value) for key, value in what.params.items()}
    resumed = _run_of_that_name(what) if what.resume_if_exists else what.resume
    if resumed is not None:
        tags.pop(SOURCE_NAME_TAG)
        _check_resumed(what, resumed, params)
        run = fluent.start_run(run_id=resumed, run_name=what.name, tags=tags, log_system_metrics=False, sync=what.sync)
    else:
        with _without_run_id():
            if what.experiment is not None:
                current_store.set_experiment(what.experiment)
            run = fluent.start_run(run_name=what.name, tags=tags, log_system_metrics=False, sync=what.sync)
    run.log_params(params)
    run.add_guard(*what.guards)
    return run


def _run_of_that_name(what: Launch) -> str | None:
    """The id of the run with that name; None if there is none yet, or only deleted ones.

    Raises:
        UsageError: no name is given, or several runs have it.
    """
    if not what.name or what.resume is not None:
        raise UsageError("--resume-if-exists finds the run by its name", hint="give --name, and not --resume")
    store = current_store.get_store()
    experiment = what.experiment or current_store.chosen_experiment(store.layout, None).name
    query = (
        "SELECT run_id FROM runs WHERE run_name = ? AND experiment_name = ? AND lifecycle_stage = 'active' ORDER BY 1"
    )
    found = store.sql(query, [what.name, experiment]).column("run_id").to_pylist()
    if len(found) > 1:
        raise UsageError(
            f"{len(found)} runs of the experiment {experiment!r} are called {what.name!r}",
            hint=f"resume one of them by its id: --resume {found[0]}",
        )
    return found[0] if found else None


def _check_resumed(what: Launch, name: str, params: Mapping[str, str]) -> None:
    """Check what is given against the run to resume, before it is changed.

    Raises:
        NotFoundError: there is no such run.
        ParamConflictError: a param has another value already.
        UsageError: it belongs to another experiment.
    """
    held = current_store.get_store().run(name)
    for key, value in params.items():
        if held.params.get(key, value) != value:
            raise ParamConflictError(
                f"param {key!r} of run {held.run_id} is {held.params[key]!r} and can't become {value!r}",
                hint="omit it, or launch a new run",
            )
    if what.experiment is not None and what.experiment != held.info.experiment_name:
        raise UsageError(
            f"run {held.run_id} belongs to the experiment {held.info.experiment_name!r}, not to {what.experiment!r}",
            hint="omit --experiment: a run stays in its experiment",
        )


@contextlib.contextmanager
def _without_run_id() -> Iterator[None]:
    """A launch inside a launched program makes a new run."""
    outer = os.environ.pop(MLTRACK_RUN_ID, None)
    try:
        yield
    finally:
        if outer is not None:
            os.environ[MLTRACK_RUN_ID] = outer


def _source(command: Sequence[str]) -> str:
    """The script that a command runs: its first argument that names one; else its first word."""
    return next((word for word in command[1:] if word.endswith((".py", ".sh", ".ipynb"))), command[0])


def _run(what: Launch, run: Run, folder: Path) -> Launched:
    state = RunState(run.folder)
    state.update()
    log = open_log(run.folder.path / LIVE_FOLDER, run.folder.artifacts, what.log_bytes_max)
    collectors = _Collectors(what.collectors, run, folder)
    stopper = Stopper(run, what.on_stop)

    def on_start(child: subprocess.Popen[bytes]) -> None:
        stopper.watch(child)
        collectors.start()

    with Signals() as signals:  # also while the rest is recorded: how the program ended must be stored
        try:
            ended = run_child(
                what.command,
                env=child_environment(run.store_folder, state.info(), what.env, named=what.name is not None),
                log=log,
                signals=signals,
                cwd=what.cwd,
                quiet=what.quiet,
                on_start=on_start,
                start_standby=lambda sources: start_standby(run, log, what.log_bytes_max, sources),
            )
        except OSError as error:
            raise UsageError(f"{what.command[0]!r} can't be run: {error.strerror}", hint=_NOT_EXECUTABLE) from error
        finally:
            stopper.stop()
            collectors.stop()
            publish_output(run, log)
        return _end(what, run, ended, log.lost)


class _Collectors:
    """Record while the program runs; started one after the other in a thread. None of them fails the program."""

    def __init__(self, starts: Sequence[Callable[[Run, Path], Callable[[], None]]], run: Run, folder: Path) -> None:
        self._starts = starts
        self._run = run
        self._folder = folder
        self._stops: list[Callable[[], None]] = []
        self._thread = threading.Thread(target=self._work, name="mltrack-collectors")

    def start(self) -> None:
        try:
            self._thread.start()
        except (RuntimeError, MemoryError) as error:  # no thread can be started: the program runs anyway
            self._run.lose_artifact("code/files.json", error)

    def stop(self) -> None:
        if self._thread.ident is not None:
            self._thread.join()
            for stop in self._stops:
                try:
                    stop()
                except TROUBLE as error:
                    self._run.lose_artifact("code/files.json", error)

    def _work(self) -> None:
        for start in self._starts:
            try:
                self._stops.append(start(self._run, self._folder))
            except TROUBLE as error:
                self._run.lose_artifact("code/files.json", error)
            except (MltrackError, ValueError) as error:
                self._run.lose_artifact("code/files.json", OSError(str(error)))


def publish_output(run: Run, log: OutputLog) -> None:
    """Make the output an artifact; if that fails, it stays in its live file. Lost output is reported."""
    try:
        log.move_to(run.folder.path / LIVE_FOLDER)  # the store may have been moved while the program ran
        path = log.finish()
        if path is not None:
            run.adopt_artifact(path, log_name(log.number))
        if log.lost:
            run.lose_artifact(log_name(log.number), OSError(errno.ENOSPC, f"{log.lost:,} bytes of output were lost"))
    except OSError as error:
        run.lose_artifact(log_name(log.number), error)
    finally:
        log.close()
    with contextlib.suppress(OSError):
        (run.folder.path / LIVE_FOLDER).rmdir()


def _end(what: Launch, run: Run, ended: ChildExit, output_lost: int) -> Launched:
    status = "FINISHED" if ended.returncode == 0 else "FAILED" if ended.returncode > 0 else "KILLED"
    preempted = next((number for number in ended.received if number in PREEMPTING), None)
    if preempted is not None and status != "FINISHED":
        status = "KILLED"
        run.set_tag(PREEMPTED_TAG, signal.Signals(preempted).name)
    if signal.SIGINT in ended.received and status == "FAILED":
        status = "KILLED"
    run.set_tag(EXIT_CODE_TAG, ended.exit_code)
    if ended.returncode < 0:
        run.set_tag(SIGNAL_TAG, _signal_name(-ended.returncode))
    if status != "FINISHED":
        words = error_text(last_error(ended.error_tail), what.redactor.text)
        if words:
            run.set_tag(ERROR_TAG, words)
    run.end(status)
    interrupted = ended.returncode == -signal.SIGINT and signal.SIGINT in ended.received
    return Launched(run.run_id, status, ended.exit_code, interrupted, output_lost)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def last_error(tail: bytes) -> str:
    """The last traceback in the end of stderr, with those of the errors that caused it; else its last lines."""
    if len(tail) >= TAIL_BYTES:
        tail = tail.partition(b"\n")[2] or tail  # the first line may begin in the middle of a secret
    text = tail.decode("utf-8", "replace").replace("\r", "\n").lstrip("\n").rstrip()
    at = _last_traceback(text, len(text))
    if at < 0:
        return "\n".join(text.splitlines()[-5:])
    while text[:at].rstrip().endswith(_CAUSED) and (cause := _last_traceback(text, at)) >= 0:
        at = cause
    return text[at:]


def _last_traceback(text: str, end: int) -> int:
    """Where the last traceback before ``end`` begins, that of the whole group for one in a group; -1: there is none."""
    at = text.rfind(_TRACEBACK, 0, end)
    if at >= 0 and text[text.rfind("\n", 0, at) + 1 : at].lstrip(" ").startswith(("+", "|")):
        group = f"\n{text}".rfind(_GROUP, 0, end + 1)
        return group if group >= 0 else at
    return at
