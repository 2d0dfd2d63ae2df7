"""The module-level functions: MLflow's names and meanings, on the active run (see active.py)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, SupportsFloat, SupportsIndex

from mltrack.environment import (
    HISTORY_TAG,
    MLTRACK_RUN_ID,
    MLTRACK_RUN_NAME,
    NOTE_TAG,
    PARENT_TAG,
    RUN_NAME_TAG,
)
from mltrack.errors import RunStateError, UsageError
from mltrack.process.forks import Stage, after_fork_in_child
from mltrack.process.trouble import TROUBLE
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
from mltrack.recording.current_store import current_layout, store_folder
from mltrack.recording.guarding import given_guards
from mltrack.recording.operations import DONE
from mltrack.recording.preload import preload
from mltrack.recording.run import Run
from mltrack.recording.starting import (
    attach_system_metrics,
    create_run,
    experiment_of_new,
    history_text,
    is_measured,
    resume_run,
    start_fork,
)
from mltrack.recording.used_stores import layout_or_last
from mltrack.values.scalars import as_text, check_key, texts_by_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mltrack.disk.layout import Layout
    from mltrack.guards.rules import Guard
    from mltrack.recording.active import Active
    from mltrack.recording.background_sync import SyncRequest
    from mltrack.recording.operations import RunOperations
    from mltrack.values.rich import RichValue

_given_run_taken = False


# --- runs ---


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
    rewind_to: int | None = None,
    guards: Guard | str | Sequence[Guard | str] | bool | None = None,
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
        rewind_to: resume from a checkpoint: what earlier processes logged with a greater step no longer counts (see
            ``Run.rewind``). Of several processes that resume the run in one job, the first one rewinds it.
        guards: rules that another process watches the run by: ``["loss is NaN", mltrack.Guard("loss > 10 for 100
            steps", stop=True)]``, see ``Run.add_guard``; True for those of the nearest ``mltrack.toml``.

    Raises:
        RunStateError: a run is active and ``nested`` is not set; the run to resume, or its experiment, is deleted.
        NotFoundError: there is no such run, experiment or remote.
        StoreError: the store can't be written at all.
        UsageError: the experiment is deleted; an environment variable, or ``history``, has an invalid value; there is
            no run to rewind; a rule is not understood.
        InvalidMetricError: ``rewind_to`` is not a 64-bit integer.
    """
    rules = given_guards(guards)
    outer_run = _outer(nested)
    measured = is_measured(log_system_metrics)
    layout = layout_or_last(store_folder(), current_layout)
    request = requested_sync(layout, sync)
    outer = outer_run.run.run_id if outer_run is not None and nested else None
    given = run_id or (_given_run() if outer is None else None)
    text = _texts(tags, description, history, run_name)
    if given:
        if run_id is None and os.environ.get(MLTRACK_RUN_NAME):
            text.pop(RUN_NAME_TAG, None)  # the launcher has named it
        run = resume_run(layout, given, text, rewind_to)
    else:
        if rewind_to is not None:
            raise UsageError("rewind_to is for a run that is resumed", hint="start_run(run_id=..., rewind_to=...)")
        parent = parent_run_id or outer
        if parent is not None:
            text[PARENT_TAG] = _named_by_text(parent)
        run = create_run(layout, experiment_of_new(layout, experiment_id), text)
    run._watch(rules)
    return _entered(run, layout, measured, request)


def _outer(nested: bool) -> Active | None:
    """The innermost active run.

    Raises:
        RunStateError: this process has started it, and what is started now is not nested in it.
    """
    outer_run = top()
    if outer_run is not None and outer_run.is_own and not nested:
        raise RunStateError(
            f"run {outer_run.run.run_id} is active already",
            hint="end it with end_run(), or start this one with nested=True",
        )
    return outer_run


def _entered(run: Run, layout: Layout, measured: bool, request: SyncRequest | None) -> Run:
    """The run, active now, and measured and synced as wanted."""
    enter(run)
    _announce(run, pushed=request is not None)
    preload()
    if measured:
        attach_system_metrics(run)
    if request is not None:
        request_sync(layout, request)
    return run


def _announce(run: Run, *, pushed: bool) -> None:
    try:
        from mltrack.recording.announcements import announce
    except TROUBLE:  # nothing but a word is lost
        return
    announce(run, pushed=pushed)


def fork_run(
    run_id: str,
    step: int,
    *,
    run_name: str | None = None,
    experiment_id: str | None = None,
    nested: bool = False,
    tags: Mapping[str, Any] | None = None,
    description: str | None = None,
    log_system_metrics: bool | None = None,
    sync: bool | str | None = None,
    history: int | None = None,
) -> Run:
    """Start a run whose history up to a step is another run's, and make it active in this thread.

    The points are read where they are, so a fork takes no space. Params, tags that people set, and datasets are copied
    from the parent; tags ``mltrack.forkedFrom`` and ``mltrack.forkedAtStep`` say where it comes from. System metrics,
    files, models and series of histograms, images, tables and texts stay with the parent. What happens to the parent
    later does not change the fork, but its files are needed: it can't be purged before the fork. ``log`` goes on with
    the step after this one.

    Args:
        run_id: the parent: its id, the first digits of it, or a unique name. It may be live.
        step: the last step that is the parent's, as that of a checkpoint.
        run_name: the fork's name; the parent's with ``-fork`` when not given.
        experiment_id: the fork's experiment; the parent's when not given.
        nested: allow an active run. It does not become the fork's parent in MLflow's sense.
        tags: tags to set, in place of the parent's of the same name.
        description: a text for MLflow's description field.
        log_system_metrics: as in ``start_run``.
        sync: as in ``start_run``.
        history: as in ``start_run``.

    Raises:
        RunStateError: a run is active and ``nested`` is not set; the parent is deleted.
        NotFoundError: there is no such run, experiment or remote.
        InvalidMetricError: the step is not a 64-bit integer.
        CorruptionError: a file with the parent's points is damaged.
        StoreError: the store can't be written at all.
        UsageError: several runs match; the experiment is deleted; an environment variable, or ``history``, has an
            invalid value.
    """
    _outer(nested)
    measured = is_measured(log_system_metrics)
    layout = current_layout()
    request = requested_sync(layout, sync)
    text = _texts(tags, description, history, run_name)
    return _entered(start_fork(layout, run_id, step, text, experiment_id), layout, measured, request)


def _texts(
    tags: Mapping[str, Any] | None, description: object, history: int | None, run_name: object
) -> dict[str, str]:
    """The tags that a run begins with: what it is given as arguments, as text like any tag."""
    text = texts_by_name("tags", tags)
    if description is not None:
        text[NOTE_TAG] = as_text("the description of a run", description)
    if history is not None:
        text[HISTORY_TAG] = history_text(history)
    if run_name not in (None, ""):  # as in MLflow, a run without a name gets one
        text[RUN_NAME_TAG] = as_text("the name of a run", run_name)
    return text


def _named_by_text(run_id: str) -> str:
    if not isinstance(run_id, str):
        raise UsageError(f"a run is named by text, not {type(run_id).__name__}", hint="give its id")
    return run_id


def _given_run() -> str | None:
    """The run this process was launched for; once, as in MLflow: what it starts later is a new run."""
    global _given_run_taken
    if _given_run_taken:
        return None
    given = os.environ.get(MLTRACK_RUN_ID) or None
    _given_run_taken = given is not None
    return given


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
    value: SupportsFloat,
    step: SupportsIndex | None = None,
    synchronous: bool | None = None,
    timestamp: float | None = None,
    run_id: str | None = None,
    model_id: str | None = None,
    dataset: Any = None,
) -> RunOperations | None:
    """Log one point of a metric to the active run, which is started if there is none, or to the run ``run_id``.

    When it returns, the point survives ``kill -9``; it waits for no disk and no network.

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
    metrics: Mapping[str, SupportsFloat],
    step: SupportsIndex | None = None,
    synchronous: bool | None = None,
    run_id: str | None = None,
    timestamp: float | None = None,
    model_id: str | None = None,
    dataset: Any = None,
) -> RunOperations | None:
    """Log one point of each of several metrics, with one step and time, as ``log_metric`` does.

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
    metrics: Mapping[str, SupportsFloat],
    step: SupportsIndex | None,
    synchronous: bool | None,
    run_id: str | None,
    timestamp: float | None,
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


def log(metrics: Mapping[str, SupportsFloat | RichValue], step: SupportsIndex | None = None) -> None:
    """Log numbers, histograms, images, tables and texts to the active run, and count the steps.

    Args:
        metrics: values by name: ``{"loss": 0.1, "weights": mltrack.Histogram(array)}``.
        step: their step; one more than in the last call of ``log`` when not given.
    """
    on_active(lambda run: run.log(metrics, step))


def log_series(name: str, values: Any, steps: Any = None, times: Any = None) -> None:
    """Log many points of one metric at once to the active run; on return they survive power loss.

    Args:
        name: the metric's name.
        values: n numbers: an array, a sequence, a pandas or Arrow column.
        steps: n integers; 0 to n-1 when not given.
        times: n times in ns since the epoch, or datetime64 values; now, for all, when not given.
    """
    on_active(lambda run: run.log_series(name, values, steps, times))
