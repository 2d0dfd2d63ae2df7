"""The module-level functions: MLflow's names and meanings, on the active run (see active.py)."""

from __future__ import annotations

import os
import shlex
from time import time_ns
from typing import TYPE_CHECKING, Any

from mltrack.disk.layout import Layout, is_run_id, new_run_id
from mltrack.environment import (
    HISTORY_TAG,
    MLTRACK_RUN_ID,
    MLTRACK_RUN_NAME,
    MLTRACK_SYSTEM_METRICS,
    NOTE_TAG,
    PARENT_TAG,
    RUN_NAME_TAG,
    SOURCE_NAME_TAG,
    SOURCE_TYPE_TAG,
    USER_TAG,
)
from mltrack.errors import NotFoundError, RunStateError, UsageError
from mltrack.journal.recorder import Recorder
from mltrack.process.forks import Stage, after_fork_in_child
from mltrack.process.trouble import TROUBLE, say, words_of
from mltrack.recording.active import (
    active_run,
    current,
    enter,
    last_run,
    log_again,
    log_point,
    on_active,
    start_by,
    top,
)
from mltrack.recording.background_sync import request_sync, requested_sync
from mltrack.recording.current_store import chosen_experiment, current_layout, store_folder, workspace_of
from mltrack.recording.known_info import first_info
from mltrack.recording.operations import DONE
from mltrack.recording.preload import preload
from mltrack.recording.run import Run, source_name
from mltrack.recording.used_stores import experiment_or_last, layout_or_last, note, was_used
from mltrack.storage.experiments import Workspace
from mltrack.values.run_names import random_name
from mltrack.values.scalars import check_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mltrack.entities import Experiment
    from mltrack.recording.operations import RunOperations
    from mltrack.values.rich import RichValue

SYSTEM_METRICS_VARIABLES = {MLTRACK_SYSTEM_METRICS, "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"}

HISTORY_MIN, HISTORY_MAX = 100, 1_000_000
"""Bounds of ``history``; mltrack_sync.remotes.settings has the same."""

_given_run_taken = False


# --- runs ---


def _history(history: int) -> str:
    if history != 0 and not HISTORY_MIN <= history <= HISTORY_MAX:
        hint = f"give {HISTORY_MIN} to {HISTORY_MAX:,}, such as 2000; or 0, for all points"
        raise UsageError(f"history={history!r} is not a number of points", hint=hint)
    return str(int(history))


def start_run(
    run_id: str | None = None,
    experiment_id: str | None = None,
    run_name: str | None = None,
    nested: bool = False,
    parent_run_id: str | None = None,
    tags: Mapping[str, Any] | None = None,
    description: str | None = None,
    log_system_metrics: bool | None = None,
    sync: bool | str | None = None,
    history: int | None = None,
) -> Run:
    """Start a run, or resume one, and make it active in this thread.

    Args:
        run_id: resume this run: any number of processes may record into it at once. Without it, the first time in a
            process, ``$MLTRACK_RUN_ID`` if set; else a new run is started.
        experiment_id: the new run's experiment; without it, that of set_experiment, ``$MLTRACK_EXPERIMENT_NAME``, or
            the default experiment.
        run_name: its name; two words and a number when not given.
        nested: allow an active run: the new one becomes its child.
        parent_run_id: the parent, when it is not the active run.
        tags: tags to set.
        description: a text for MLflow's description field.
        log_system_metrics: log the machine's load during the run, as metrics ``system/...``. Without it, as
            ``$MLTRACK_SYSTEM_METRICS`` or MLflow's variable says; of several processes on a host, one measures.
        sync: push the store during the run, from another process that continues until everything is pushed: a
            remote's name or URL, or True for the only remote. Without it, as ``$MLTRACK_SYNC`` says; False: don't.
        history: how many points of a metric go to MLflow servers, chosen so that no spike is lost, with the complete
            run as files: 100 to 1,000,000; 0 for all points. Without it, as the remote's setting says.

    Raises:
        RunStateError: a run is active and ``nested`` is not set; the run to resume, or its experiment, is deleted.
        NotFoundError: there is no such run, experiment or remote.
        StoreError: the store can't be written at all.
        UsageError: the experiment is deleted; an environment variable, or ``history``, has an invalid value.
    """
    outer_run = top()
    if outer_run is not None and outer_run.is_own and not nested:
        raise RunStateError(
            f"run {outer_run.run.run_id} is active already",
            hint="end it with end_run(), or start this one with nested=True",
        )
    measured = _measured(log_system_metrics)
    layout = layout_or_last(store_folder(), current_layout)
    request = requested_sync(layout, sync)
    outer = outer_run.run.run_id if outer_run is not None and nested else None
    given = run_id or (_given_run() if outer is None else None)
    text = {key: str(value) for key, value in (tags or {}).items()}
    if description is not None:
        text[NOTE_TAG] = description
    if history is not None:
        text[HISTORY_TAG] = _history(history)
    if run_name is not None:
        text[RUN_NAME_TAG] = run_name
    if given:
        if run_id is None and os.environ.get(MLTRACK_RUN_NAME):
            text.pop(RUN_NAME_TAG, None)  # the launcher has named it
        run = resume_run(layout, given, text)
    else:
        parent = parent_run_id or outer
        if parent is not None:
            text[PARENT_TAG] = parent
        run = create_run(layout, _experiment_of_new(layout, experiment_id), text)
    enter(run)
    preload()
    if measured:
        _measure(run)
    if request is not None:
        request_sync(layout, request)
    return run


def _experiment_of_new(layout: Layout, experiment_id: str | None) -> Experiment:
    def find() -> Experiment:
        return Workspace.usable(chosen_experiment(layout, experiment_id))

    return experiment_or_last(layout, find, experiment_id)


def _measured(asked: bool | None) -> bool:
    """Whether to log system metrics; the environment variables about it are checked before the run is made."""
    if asked is None and SYSTEM_METRICS_VARIABLES.isdisjoint(os.environ):
        return False
    try:
        from mltrack.recording.system_metrics import interval_from, is_enabled
    except TROUBLE as error:
        say("system metrics are not logged: %s", words_of(error))
        return False
    measured = is_enabled(asked, os.environ)
    if measured:
        interval_from(os.environ)
    return measured


def _measure(run: Run) -> None:
    try:
        from mltrack.recording.system_metrics import measure

        measuring = measure(run)
    except TROUBLE as error:
        say("run %s: system metrics are not logged: %s", run.run_id, words_of(error))
        return
    if measuring is not None:
        run.attach(measuring)


def _given_run() -> str | None:
    """The run this process was launched for; once, as in MLflow: what it starts later is a new run."""
    global _given_run_taken
    if _given_run_taken:
        return None
    given = os.environ.get(MLTRACK_RUN_ID) or None
    _given_run_taken = given is not None
    return given


def create_run(layout: Layout, experiment: Experiment, tags: dict[str, str]) -> Run:
    """A new run that is not active; ``tags`` may name it.

    Raises:
        StoreError: the store can't be written at all.
    """
    name = tags.setdefault(RUN_NAME_TAG, random_name())
    tags = {USER_TAG: _user(), SOURCE_NAME_TAG: source_name(), SOURCE_TYPE_TAG: "LOCAL", **tags}
    recorder = Recorder(layout, layout.run(new_run_id()), "create")
    begun = time_ns()
    start = {
        "type": "start",
        "run_name": name,
        "experiment_id": experiment.experiment_id,
        "experiment_name": experiment.name,
        "start_time": begun,
    }
    recorder.start(
        [start, *({"type": "tag", "key": key, "value": value} for key, value in tags.items())],
        tolerant=was_used(layout),
    )
    note(layout, experiment)
    run = Run(layout, recorder, name=name)
    run.known_info = first_info(
        layout.run(run.run_id),
        name,
        experiment=experiment,
        user=tags[USER_TAG],
        start_ns=begun,
        parent=tags.get(PARENT_TAG),
    )
    return run


def resume_run(layout: Layout, run_id: str, tags: dict[str, str]) -> Run:
    """A run of the store, to go on with; it is not active.

    Raises:
        NotFoundError: there is no such run.
        RunStateError: it, or its experiment, is deleted.
        StoreError: the store can't be written at all.
    """
    from mltrack.storage.runs.state import RunState

    if not is_run_id(run_id):
        from mltrack.store import Store

        run_id = Store(layout).resolve(run_id)
    state = RunState(layout.run(run_id))
    state.update()
    if not state.exists:
        raise NotFoundError(f"no run {run_id!r} in {layout.root}", hint="see: mltrack ls")
    info = state.info()
    if info.lifecycle_stage == "deleted":
        raise RunStateError(f"run {run_id} is deleted", hint=f"restore it: mltrack restore {run_id}")
    experiment = workspace_of(layout).experiments().get(info.experiment_id)  # a copied run's may be missing here
    if experiment is not None and experiment.lifecycle_stage == "deleted":
        raise RunStateError(
            f"the experiment {experiment.name!r} of run {run_id} is deleted",
            hint=f"restore it: mltrack restore --experiment {shlex.quote(experiment.name)}",
        )
    recorder = Recorder(layout, state.folder, "resume", not_before=state.last_time)
    recorder.start([{"type": "tag", "key": key, "value": value} for key, value in tags.items()])
    run = Run(layout, recorder, params=state.params, name=info.run_name)
    run.known_info = info
    return run


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def _after_fork() -> None:
    global _given_run_taken
    _given_run_taken = False  # the child joins the run, as a spawned process does


after_fork_in_child(Stage.RECORDING, _after_fork)
start_by(start_run)


def last_active_run() -> Run | None:
    """The active run, or else the last one that ended in this process."""
    return active_run() or last_run()


def end_run(status: str = "FINISHED") -> None:
    """End the active run, if there is one.

    Raises:
        UsageError: ``status`` is not FINISHED, FAILED or KILLED.
    """
    run = active_run()
    if run is not None:
        run.end(status)


# --- logging metrics; log_functions.py has the rest ---


def log_metric(
    key: str,
    value: float,
    step: int | None = None,
    synchronous: bool | None = None,
    timestamp: int | None = None,
    run_id: str | None = None,
    model_id: str | None = None,
    dataset: Any = None,
) -> RunOperations | None:
    """``Run.log_metric`` on the active run, or on the run ``run_id``.

    Args:
        key: the metric's name.
        value: anything ``float()`` accepts.
        step: a whole number of 64 bits, 0 when not given.
        synchronous: MLflow's; everything is stored when a call returns.
        timestamp: ms since the epoch; now when not given.
        run_id: the run to log to, even if another process records it.
        model_id: a logged model of the store that the metric is about; it gets the metric too, and becomes an input.
        dataset: the dataset that the metric is about; it becomes an input of the run.
    """
    if (
        timestamp is not None
        or run_id is not None
        or model_id is not None
        or dataset is not None
        or synchronous is not None
    ):
        return _log_with({check_key(key): value}, step, synchronous, run_id, timestamp, model_id, dataset)
    try:
        log_point()(key, value, step)
    except RunStateError:
        log_again(key, value, step)
    return None


def log_metrics(
    metrics: Mapping[str, float],
    step: int | None = None,
    synchronous: bool | None = None,
    run_id: str | None = None,
    timestamp: int | None = None,
    model_id: str | None = None,
    dataset: Any = None,
) -> RunOperations | None:
    """``Run.log_metrics`` on the active run, or on the run ``run_id``.

    Args:
        metrics: values by metric.
        step: the step of all, 0 when not given.
        synchronous: MLflow's; everything is stored when a call returns.
        run_id: the run to log to, even if another process records it.
        timestamp: ms since the epoch; now when not given.
        model_id: a logged model of the store that the metrics are about.
        dataset: the dataset that the metrics are about.
    """
    return _log_with(metrics, step, synchronous, run_id, timestamp, model_id, dataset)


def _log_with(
    metrics: Mapping[str, float],
    step: int | None,
    synchronous: bool | None,
    run_id: str | None,
    timestamp: int | None,
    model_id: str | None,
    dataset: Any,
) -> RunOperations | None:
    if run_id is None and model_id is None and dataset is None:
        on_active(lambda run: run.log_metrics(metrics, step, timestamp=timestamp))
    else:
        from mltrack.recording.other_runs import log_linked, run_by_id

        run = current() if run_id is None else run_by_id(run_id)
        if model_id is None and dataset is None:
            run.log_metrics(metrics, step, timestamp=timestamp)
        else:
            log_linked(run, metrics, step, timestamp, model_id, dataset)
    return DONE if synchronous is False else None


def log(metrics: Mapping[str, float | RichValue], step: int | None = None) -> None:
    """``Run.log`` on the active run."""
    on_active(lambda run: run.log(metrics, step))


def log_series(name: str, values: Any, steps: Any = None, times: Any = None) -> None:
    """``Run.log_series`` on the active run.

    Args:
        name: the metric's name.
        values: n numbers: an array, a sequence, a pandas or Arrow column.
        steps: n integers; 0 to n-1 when not given.
        times: n times in ns since the epoch, or datetime64 values; now, for all, when not given.
    """
    on_active(lambda run: run.log_series(name, values, steps, times))
