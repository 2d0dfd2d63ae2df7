"""Making a new run, or resuming one: what ``start_run`` and ``fork_run`` do before the run becomes active."""

from __future__ import annotations

import os
import shlex
import shutil
from time import time_ns
from typing import TYPE_CHECKING, Any

from mltrack.disk.layout import Layout, is_run_id, new_run_id
from mltrack.entities import DELETED, Experiment
from mltrack.environment import (
    END_TAGS,
    MLTRACK_SYSTEM_METRICS,
    PARENT_TAG,
    RUN_NAME_TAG,
    SOURCE_NAME_TAG,
    SOURCE_TYPE_TAG,
    USER_TAG,
)
from mltrack.errors import MltrackError, NotFoundError, RunStateError, UsageError
from mltrack.journal.recorder import Recorder
from mltrack.process.trouble import TROUBLE, say, words_of
from mltrack.recording.current_store import chosen_experiment, workspace_of
from mltrack.recording.known_info import first_info
from mltrack.recording.rewinds import fork_facts, resume_rewound
from mltrack.recording.run import Run, source_name
from mltrack.recording.used_stores import experiment_or_last, note, was_used
from mltrack.storage.experiments import Workspace
from mltrack.text.shown import shown
from mltrack.values.run_names import random_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mltrack.storage.runs.stored_run import StoredRun

__all__ = [
    "attach_system_metrics",
    "create_run",
    "experiment_of_new",
    "history_text",
    "is_measured",
    "resume_run",
    "start_fork",
]

SYSTEM_METRICS_VARIABLES = {MLTRACK_SYSTEM_METRICS, "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"}
HISTORY_MIN, HISTORY_MAX = 100, 1_000_000
"""Bounds of ``history``; mltrack_sync.remotes.settings has the same."""


def history_text(history: int) -> str:
    """The value of the tag for ``history``.

    Raises:
        UsageError: it is out of range.
    """
    if not isinstance(history, int) or (history != 0 and not HISTORY_MIN <= history <= HISTORY_MAX):
        hint = f"give {HISTORY_MIN} to {HISTORY_MAX:,}, such as 2000; or 0, for all points"
        raise UsageError(f"history={shown(history)} is not a number of points", hint=hint)
    return str(int(history))


def experiment_of_new(layout: Layout, experiment_id: str | None) -> Experiment:
    """The experiment of a new run; if the disk fails, that of the last one.

    Raises:
        NotFoundError: there is no such experiment.
        UsageError: it is deleted.
    """

    def find() -> Experiment:
        return Workspace.usable(chosen_experiment(layout, experiment_id))

    return experiment_or_last(layout, find, experiment_id)


def is_measured(asked: bool | None) -> bool:
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


def attach_system_metrics(run: Run) -> None:
    """Have the machine's load logged as long as the run is open here."""
    try:
        from mltrack.recording.system_metrics import measure

        measuring = measure(run)
    except TROUBLE as error:
        say("run %s: system metrics are not logged: %s", run.run_id, words_of(error))
        return
    if measuring is not None:
        run.attach(measuring)


def create_run(
    layout: Layout,
    experiment: Experiment,
    tags: dict[str, str],
    *,
    facts: Sequence[Mapping[str, Any]] = (),
    params: Mapping[str, str] | None = None,
    run_id: str = "",
) -> Run:
    """A new run that is not active; ``tags`` may name it.

    Args:
        layout: The store.
        experiment: The run's experiment.
        tags: Its tags.
        facts: More events that it begins with.
        params: Those of its params that are among these.
        run_id: Its id; by default a new one.

    Raises:
        StoreError: the store can't be written at all.
    """
    name = tags.setdefault(RUN_NAME_TAG, random_name())
    tags = {USER_TAG: _user(), SOURCE_NAME_TAG: source_name(), SOURCE_TYPE_TAG: "LOCAL", **tags}
    recorder = Recorder(layout, layout.run(run_id or new_run_id()), "create")
    begun = time_ns()
    start = {
        "type": "start",
        "run_name": name,
        "experiment_id": experiment.experiment_id,
        "experiment_name": experiment.name,
        "start_time": begun,
    }
    recorder.start(
        [start, *facts, *({"type": "tag", "key": key, "value": value} for key, value in tags.items())],
        tolerant=was_used(layout),
    )
    note(layout, experiment)
    run = Run(layout, recorder, name=name, params=params)
    run.known_info = first_info(
        layout.run(run.run_id),
        name,
        experiment=experiment,
        user=tags[USER_TAG],
        start_ns=begun,
        parent=tags.get(PARENT_TAG),
    )
    return run


def resume_run(layout: Layout, run_id: str, tags: dict[str, str], rewind_to: int | None = None) -> Run:
    """A run to continue, which is not active yet; with ``rewind_to`` from that step on.

    Raises:
        RunStateError: it, or its experiment, is deleted.
        NotFoundError, UsageError: there is no such run, or several.
        InvalidMetricError: the step is not a 64-bit integer.
        StoreError: the store can't be written at all.
    """
    from mltrack.storage.runs.state import RunState
    from mltrack.storage.runs.stop_file import clear_stop

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
    rewinds = [] if rewind_to is None else resume_rewound(state.folder, rewind_to)
    if not state.live:
        clear_stop(state.folder)
    recorder = Recorder(layout, state.folder, "resume", not_before=state.last_time)
    stale = {} if state.live else {key: None for key in END_TAGS if key in state.tags}
    changes: dict[str, str | None] = {**stale, **tags}
    recorder.start([*rewinds, *({"type": "tag", "key": key, "value": value} for key, value in changes.items())])
    run = Run(layout, recorder, params=state.params, name=info.run_name, joins=state.live)
    if rewind_to is not None:
        run.continue_after(rewind_to)
    run.known_info = info
    return run


def start_fork(
    layout: Layout, run_id: str, step: int, tags: Mapping[str, str], experiment_id: str | None = None
) -> Run:
    """A new run, which is not active yet, that begins with another run's points up to a step.

    Args:
        layout: The store.
        run_id: The parent: its id, the first digits of it, or a unique name.
        step: The last step that is the parent's.
        tags: The fork's own tags, in place of the parent's of the same name.
        experiment_id: The fork's experiment; by default the parent's.

    Raises:
        RunStateError: the parent is deleted.
        NotFoundError: there is no such run or experiment.
        UsageError: several runs match, or the experiment is deleted.
        InvalidMetricError: the step is not a 64-bit integer.
        CorruptionError: a file with the parent's points is damaged.
        StoreError: the store can't be written at all.
    """
    from mltrack.storage.runs.edit import set_stage
    from mltrack.store import Store

    parent = Store(layout).run(run_id)
    workspace = workspace_of(layout)
    wanted = parent.info.experiment_id if experiment_id is None else str(experiment_id)
    experiment = workspace.experiments().get(wanted)
    if experiment is None and experiment_id is None:  # the parent is a copy whose experiment this store does not have
        experiment = Experiment(wanted, parent.info.experiment_name)
    experiment = workspace.usable(experiment or workspace.get(wanted))
    facts, copied = fork_facts(parent, step)
    named = {RUN_NAME_TAG: f"{parent.info.run_name}-fork", **copied, **tags}
    fork_id = new_run_id()
    _copy_stand_ins(layout, parent, fork_id, facts[0]["step"])
    run = create_run(layout, experiment, named, facts=facts, params=parent.params, run_id=fork_id)
    run.continue_after(facts[0]["step"])
    parent.refresh()
    if parent.state.stage == DELETED or not parent.folder.path.is_dir():  # a purge may not have seen the fork
        run.end("FAILED")
        set_stage(layout, run.run_id, DELETED)
        raise RunStateError(f"run {parent.run_id} was deleted while it was forked", hint="restore it, then fork it")
    return run


def _copy_stand_ins(layout: Layout, parent: StoredRun, fork_id: str, step: int) -> None:
    """Give a fork, before it begins, the points of its parent that will not stay where they are.

    Until its start is written, no reader sees it: so it has all of them, or does not exist.

    Raises:
        CorruptionError, StoreError: they can't be read or written.
    """
    from mltrack.storage.runs.rewinding import fork_stand_ins

    try:
        fork_stand_ins(parent, step, layout, fork_id)
    except MltrackError:
        shutil.rmtree(layout.run(fork_id).path, ignore_errors=True)
        raise


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"
