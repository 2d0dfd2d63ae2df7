"""Ray Tune: a run for each trial, recorded by the driver (MltrackLoggerCallback) or the trial (setup_mltrack)."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from ray.tune.logger import LoggerCallback
from ray.tune.result import DEBUG_METRICS, TIMESTEPS_TOTAL, TRAINING_ITERATION
from ray.tune.utils import flatten_dict

from mltrack.disk.layout import find_store
from mltrack.environment import MLTRACK_RUN_ID, PARENT_TAG, RUN_NAME_TAG
from mltrack.integrations.run_holder import log_new_params
from mltrack.integrations.texts import as_params, numbers
from mltrack.recording.active import active_run, enter
from mltrack.recording.current_store import (
    chosen_experiment,
    current_layout,
    is_store_set,
    set_store,
    store_folder,
    workspace_of,
)
from mltrack.recording.starting import create_run, resume_run
from mltrack.text.printing import say

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mltrack.recording.run import Run

__all__ = ["MltrackLoggerCallback", "setup_mltrack"]

TRIAL_TAG, TRIAL_NAME_TAG = "ray.trial_id", "ray.trial_name"

NOT_METRICS = {
    *DEBUG_METRICS,
    "checkpoint_dir_name",
    "done",
    "iterations_since_restore",
    "should_checkpoint",
    "time_since_restore",
    "timesteps_since_restore",
}
"""Entries of a result about the process and Ray's own work."""


class MltrackLoggerCallback(LoggerCallback):  # type: ignore[misc]  # ray may not be installed
    """Records each trial as a run, in the driver: its config as params, what it reports as metrics, under Ray's names.

    Nested names have slashes, as in Ray's results (``net/depth``). The run is a child of the run that was active when
    the experiment began, if there was one. It ends with the trial: FAILED when the trial did, KILLED when the
    experiment ended before the trial, else FINISHED, also where a scheduler stopped it early. Config that population
    based training changes later is kept as tags (``ray.config.lr``). ``Tuner.restore`` goes on with the same runs.
    """

    def __init__(
        self,
        *,
        experiment_name: str | None = None,
        tags: Mapping[str, Any] | None = None,
        save_artifact: bool = False,
    ) -> None:
        """``save_artifact``: log each trial's folder when it ends."""
        self._experiment_name = experiment_name
        self._tags = {key: str(value) for key, value in (tags or {}).items()}
        self._save_artifact = save_artifact
        self._runs: dict[str, Run] = {}  # by the trial's id
        self._run_ids: dict[str, str] = {}
        self._parent_id: str | None = None

    def setup(self, *args: Any, **kwargs: Any) -> None:
        """Remember which run is active."""
        self._parent_id = _parent_id()

    def log_trial_start(self, trial: Any) -> None:
        """Start the trial's run, or go on with it, and log its config."""
        run = self._runs.get(trial.trial_id)
        if run is None or run.ended:
            known = self._run_ids.get(trial.trial_id)
            run = self._new(trial) if known is None else resume_run(current_layout(), known, {})
            self._runs[trial.trial_id], self._run_ids[trial.trial_id] = run, run.run_id
        wanted, known_params = as_params(flatten_dict(trial.config or {})), run.stored().params
        changed = {key: value for key, value in wanted.items() if known_params.get(key, value) != value}
        run.log_params({key: value for key, value in wanted.items() if key not in known_params})
        run.set_tags({f"ray.config.{key}": value for key, value in changed.items()})

    def _new(self, trial: Any) -> Run:
        tags = {RUN_NAME_TAG: str(trial), TRIAL_TAG: trial.trial_id, TRIAL_NAME_TAG: str(trial), **self._tags}
        return _new_run(self._experiment_name, tags, self._parent_id)

    def log_trial_result(self, iteration: int, trial: Any, result: Mapping[str, Any]) -> None:
        """Log what a trial reports, at its number of timesteps, else at its iteration."""
        step = result.get(TIMESTEPS_TOTAL) or result[TRAINING_ITERATION]
        reported = flatten_dict({key: value for key, value in result.items() if key not in NOT_METRICS})
        self._runs[trial.trial_id].log_metrics(numbers(reported), step=step)

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        """Log the trial's files, if asked for, and end its run."""
        run = self._runs.pop(trial.trial_id, None)
        if run is None:
            return
        if self._save_artifact and trial.local_path and os.path.isdir(trial.local_path):
            run.log_artifacts(trial.local_path)
        run.end("FAILED" if failed else "FINISHED")

    def on_experiment_end(self, trials: Sequence[Any], **info: Any) -> None:
        """End the runs of trials that have not ended: the experiment was interrupted."""
        while self._runs:
            self._runs.popitem()[1].end("KILLED")

    def get_state(self) -> dict[str, Any]:
        """What ``Tuner.restore`` needs: the runs' ids."""
        return {"run_ids": dict(self._run_ids)}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on with these runs."""
        self._run_ids = dict(state["run_ids"])


def setup_mltrack(
    config: Mapping[str, Any] | None = None,
    *,
    run_name: str | None = None,
    experiment_name: str | None = None,
    tags: Mapping[str, Any] | None = None,
    parent_run_id: str | None = None,
    store: str | os.PathLike[str] | None = None,
    rank_zero_only: bool = True,
) -> Run:
    """Start a run inside a trial of Ray Tune, or a worker of Ray Train, active for what the function logs.

    It ends with the function, whatever that does: in Ray Tune FAILED if the function raises, else FINISHED, also where
    a scheduler stops it. In Ray Train use it as ``with setup_mltrack(config) as run:``, as Ray does not tell whether
    the function raised: without ``with``, the run is FINISHED in any case. Do not use it with the callback, which
    would make a second run.

    Args:
        config: logged as params.
        run_name: the run's name; else the trial's.
        experiment_name: its experiment; else that of the environment.
        tags: tags to set.
        parent_run_id: the run that it is a child of.
        store: the store; else ``$MLTRACK_STORE``, else that of the folder which Ray was started in. On several machines
            it has to be in a folder that all share; a machine that has no store there says so, and begins one.
        rank_zero_only: in Ray Train, only the worker of rank 0 records; others get a run that ignores all calls.

    Raises:
        StoreError: the store can't be written.
    """
    trial_id, trial_name, is_first, started_in = _place()
    if rank_zero_only and not is_first:
        return cast("Run", _IgnoredRun())
    if store is not None:
        set_store(store)
    elif started_in and not is_store_set():
        set_store(find_store(start=Path(started_in)))  # the working folder is the trial's, or the training's
    _warn_of_own_store()
    texts = {key: str(value) for key, value in (tags or {}).items()}
    if trial_id is not None:
        texts = {TRIAL_TAG: trial_id, TRIAL_NAME_TAG: str(trial_name)} | texts
    if run_name or trial_name:
        texts[RUN_NAME_TAG] = run_name or str(trial_name)
    run = _new_run(experiment_name, texts, parent_run_id or os.environ.get(MLTRACK_RUN_ID))
    enter(run)
    log_new_params(run, as_params(flatten_dict(dict(config or {}))))
    _end_with_thread(run)
    return run


def _warn_of_own_store() -> None:
    """Say that runs go into a store that the other machines do not see, if this is one of several."""
    import ray

    if ray.is_initialized():
        words = own_store(store_folder(), ray.nodes(), ray.get_runtime_context().get_node_id())
        if words:
            say(f"mltrack: {words}", err=True)


def own_store(store: Path, nodes: Iterable[Mapping[str, Any]], node_id: str) -> str:
    """What to say where a store would begin on a machine that is not the only one, nor that of the driver; else "".

    Args:
        store: The store's folder.
        nodes: The cluster's, as ``ray.nodes()`` gives them.
        node_id: Which of them this is.
    """
    alive = [node for node in nodes if node.get("Alive")]
    here = next((node for node in alive if node["NodeID"] == node_id), None)
    if here is None or "node:__internal_head__" in here.get("Resources", {}) or (store / "store.json").is_file():
        return ""
    host = here["NodeManagerHostname"]
    if all(node["NodeManagerHostname"] == host for node in alive):
        return ""
    return (
        f"{host} has no store at {store}, so one begins there that other machines of the cluster do not see: set"
        f" MLTRACK_STORE, or setup_mltrack(store=...), to a folder that all of them share; or bring its runs later, by:"
        f" mltrack pull ssh://{host}{store}"
    )


def _parent_id() -> str | None:
    """The active run, or that which the program was launched for."""
    run = active_run()
    return os.environ.get(MLTRACK_RUN_ID) if run is None else run.run_id


def _new_run(experiment_name: str | None, tags: dict[str, str], parent_id: str | None) -> Run:
    """A run that is not active."""
    layout = current_layout()
    if experiment_name is None:
        experiment = chosen_experiment(layout, None)
    else:
        experiment = workspace_of(layout).get_or_create(experiment_name)
    return create_run(layout, experiment, tags | ({PARENT_TAG: parent_id} if parent_id else {}))


class _Place(NamedTuple):
    """The trial's id and name, if this is one; whether this is the worker of rank 0; where Ray was started."""

    trial_id: str | None
    trial_name: str | None
    is_first: bool
    started_in: str | None


def _place() -> _Place:
    import ray.train
    import ray.tune
    from ray.tune.trainable.trainable_fn_utils import _in_tune_session

    started_in = os.environ.get("TUNE_ORIG_WORKING_DIR")
    if _in_tune_session():
        context = ray.tune.get_context()
        return _Place(context.get_trial_id(), context.get_trial_name(), True, started_in)
    try:
        rank = ray.train.get_context().get_world_rank()
    except RuntimeError:  # neither
        return _Place(None, None, True, started_in)
    # Ray Train changes the working folder without a word; that of Ray's processes was where it was started
    return _Place(None, None, rank in (0, None), started_in or (None if rank is None else os.environ.get("PWD")))


def _end_with_thread(run: Run) -> None:
    """End the run when this thread ends, which runs the trial's function; before that, if Ray Tune reports an error."""
    thread = threading.current_thread()
    if thread is threading.main_thread():
        return  # it ends with the program
    report = getattr(thread, "_propagate_exception", None)
    if report is not None:

        def report_failure(error: BaseException) -> None:
            run.end("FAILED")
            report(error)

        thread._propagate_exception = report_failure  # type: ignore[attr-defined]

    def wait() -> None:
        thread.join()
        run.end()

    threading.Thread(target=wait, name="mltrack-trial", daemon=True).start()


class _IgnoredRun:
    """Takes every call of a run, and does nothing."""

    ended = False

    def __enter__(self) -> _IgnoredRun:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *args, **kwargs: None
