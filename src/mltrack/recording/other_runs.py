"""Runs logged to by their id (``run_id=``), active or not: each that another process records gets a writer of ours."""

from __future__ import annotations

import threading
from time import time_ns
from typing import TYPE_CHECKING, Any

from mltrack.entities import DELETED, ModelMetric
from mltrack.errors import BusyError, NotFoundError, RunStateError, StoreError
from mltrack.journal.recorder import Recorder
from mltrack.process.ending import AtEnd
from mltrack.process.forks import Stage, after_fork_in_child
from mltrack.process.trouble import TROUBLE
from mltrack.recording import current_store
from mltrack.recording.active import open_runs
from mltrack.recording.run import Run
from mltrack.storage.runs.state import RunState
from mltrack.values.datasets import as_dataset, input_tags, model_input_event
from mltrack.values.scalars import as_float, integer, time_from_ms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mltrack.entities import Dataset

__all__ = ["close_others", "log_linked", "run_by_id"]

OPEN_MAX = 16
"""How many are kept open; beyond that, the one opened first is closed."""

_held: dict[str, tuple[Run, RunState]] = {}  # by the path of their folder
_lock = threading.RLock()


def run_by_id(run_id: str) -> Run:
    """The run with that id, to log into; one that this process does not record keeps its status.

    Raises:
        NotFoundError: there is no such run.
        RunStateError: it is deleted.
        StoreError: the store can't be written at all.
    """
    for run in open_runs():
        if run.run_id == run_id and not run.ended:
            return run
    layout = current_store.current_layout()
    folder = layout.run(run_id)
    with _lock:
        held = _held.get(str(folder.path))
        state = held[1] if held is not None else RunState(folder)
        state.update()
        if not state.exists:
            raise NotFoundError(f"no run {run_id!r} in {layout.root}", hint="see: mltrack ls")
        if state.info().lifecycle_stage == DELETED:
            raise RunStateError(f"run {run_id} is deleted", hint=f"restore it: mltrack restore {run_id}")
        if held is not None:
            held[0]._params |= state.params  # logged by other processes meanwhile
            return held[0]
        recorder = Recorder(layout, folder, "edit", not_before=state.last_time)
        recorder.start([])
        run = Run(layout, recorder, params=state.params, name=state.info().run_name)
        AT_END.hold()
        _held[str(folder.path)] = run, state
        while len(_held) > OPEN_MAX:
            _held.pop(next(iter(_held)))[0]._recorder.close()
        return run


def close_others() -> None:
    """Close all of them: what was logged becomes durable."""
    with _lock:
        while _held:
            _held.popitem()[1][0]._recorder.close()


AT_END = AtEnd(lambda _: close_others())


def _after_fork() -> None:
    global _lock
    _lock = threading.RLock()  # another thread of the parent may have held it


after_fork_in_child(Stage.RECORDING, _after_fork)


def log_linked(
    run: Run,
    metrics: Mapping[str, Any],
    step: Any,
    timestamp: Any,
    model_id: str | None,
    dataset: Any,
) -> None:
    """Log metrics about a logged model or a dataset, which become the run's inputs.

    Args:
        run: where to log.
        metrics: values by name.
        step: of all of them; 0 for None.
        timestamp: of all of them, ms since the epoch; now for None.
        model_id: the logged model, which gets the metrics too.
        dataset: the dataset.

    Raises:
        NotFoundError: there is no such model.
        InvalidMetricError, UsageError, RunStateError: as log_metrics and log_input.
    """
    used = None if dataset is None else as_dataset(dataset)
    number = 0 if step is None else integer("step", step)
    time = time_ns() if timestamp is None else time_from_ms(timestamp)
    values = {key: as_float(key, value) for key, value in metrics.items()}
    if model_id is not None:
        current_store.get_store().logged_models.get(model_id)
    run.points.log_many(values, number, time)
    if used is not None:
        run._emit_inputs([(used, input_tags(None, None))], [])
    if model_id is not None:
        try:
            _log_to_model(run, model_id, values, number, time // 1_000_000, used)
        except (StoreError, BusyError, *TROUBLE) as error:  # the run has its points; training continues
            run.lose_artifact(f"metrics of model {model_id}", error)


def _log_to_model(
    run: Run, model_id: str, values: Mapping[str, float], step: int, time_ms: int, used: Dataset | None
) -> None:
    stored = run.stored()
    if model_id not in stored.model_inputs and model_id not in [made.model_id for made in stored.model_outputs]:
        run._recorder.emit(model_input_event(model_id))
    name, digest = (None, None) if used is None else (used.name, used.digest)
    points = [ModelMetric(key, value, step, time_ms, run.run_id, name, digest) for key, value in values.items()]
    current_store.get_store().logged_models.log_metrics(model_id, points)
