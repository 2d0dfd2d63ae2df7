"""The tracking store's methods for the data of a run: metrics, params, tags, inputs and outputs."""

from __future__ import annotations

import json
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from mlflow.entities import _DatasetSummary
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.utils.async_logging.run_operations import RunOperations
from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_MODELS, MLFLOW_RUN_NAME
from mlflow.utils.validation import (
    _validate_batch_log_limits,
    _validate_dataset_inputs,
    _validate_length_limit,
    _validate_metric,
    _validate_param,
    _validate_param_keys_unique,
    _validate_run_id,
    _validate_tag,
)

from mltrack.errors import NotFoundError, ParamConflictError, UsageError
from mltrack.mlflow_plugin.errors import raises_mlflow
from mltrack.mlflow_plugin.tracking.base import BaseStore
from mltrack.mlflow_plugin.tracking.experiments import decimal_ids
from mltrack.values.datasets import as_dataset, dataset_event, model_input_event, model_output_event

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mltrack.mlflow_plugin.run_pool import OpenRun

    Point = tuple[str, float, int, int]

__all__ = ["RunData"]

KEY_CHARACTERS_MAX = 250
DATASETS_MAX = 1_000
TIME_MS_MAX = (1 << 63) // 1_000_000 - 1
KEYS_REMEMBERED_MAX = 100_000

_good_keys: set[str] = set()  # valid metric names: checking one takes longer than logging a point


@raises_mlflow
class RunData(BaseStore):
    """What is logged to runs. It survives ``kill -9`` once the call has returned."""

    # --- metrics ---

    def log_metric(self, run_id: str, metric: Any) -> None:
        """Log one point."""
        point = _point(metric, "")
        if metric.model_id is not None:
            self._log_model_metrics(run_id, self._experiment_of(self._pool.active(run_id)), [metric])
        self._pool.log(run_id, (point,))

    def log_batch(self, run_id: str, metrics: Sequence[Any], params: Sequence[Any], tags: Sequence[Any]) -> None:
        """Log points, params and tags: all are checked, also against the run's params, before any is stored."""
        _validate_run_id(run_id)
        points = [_point(metric, "metrics[{}]", index) for index, metric in enumerate(metrics)]
        params = [_validate_param(p.key, p.value, path=f"params[{index}]") for index, p in enumerate(params)]
        tags = [_validate_tag(tag.key, tag.value, path=f"tags[{index}]") for index, tag in enumerate(tags)]
        _validate_batch_log_limits(metrics, params, tags)
        _validate_param_keys_unique(params)
        held = self._pool.active(run_id)
        self._log_params(run_id, {param.key: param.value for param in params})
        if any(metric.model_id is not None for metric in metrics):
            self._log_model_metrics(run_id, self._experiment_of(held), list(metrics))
        self._pool.log(run_id, points)
        self._set_tags(run_id, {tag.key: tag.value for tag in tags})

    def log_batch_async(self, run_id: str, metrics: list[Any], params: list[Any], tags: list[Any]) -> Any:
        """The same, finished when this returns: it is faster than a queue, and MLflow's queue loses entries at exit.

        Errors are raised by ``wait()`` of the result, as with any store.
        """
        done: Future[None] = Future()
        try:
            self.log_batch(run_id, metrics, params, tags)
            done.set_result(None)
        except MlflowException as error:
            done.set_exception(error)
        return RunOperations([done])

    def _experiment_of(self, held: OpenRun) -> str:
        return str(held.state.start.get("experiment_id", "0"))

    # --- params ---

    def log_param(self, run_id: str, param: Any) -> None:
        """Log a param; the same value again is fine."""
        param = _validate_param(param.key, param.value)
        try:
            self._log_params(run_id, {param.key: param.value})
        except MlflowException as error:
            if not isinstance(error.__cause__, ParamConflictError):
                raise
            known = self._pool.active(run_id).state.params.get(param.key, "")
            raise ParamConflictError(
                f"Changing param values is not allowed. Param with key='{param.key}' was already logged with "
                f"value='{known}' for run ID='{run_id}'. Attempted logging new value '{param.value}'."
            ) from error

    def _log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        if not params:
            return
        for key, value in params.items():
            if not isinstance(value, str):
                raise UsageError(f"Invalid value {value!r} for param {key!r} supplied: it is not text")
        held = self._pool.active(run_id)
        new = _without_conflict(run_id, held, params)
        if new:
            self._pool.emit(run_id, *({"type": "param", "key": key, "value": params[key]} for key in new))
            _without_conflict(run_id, held, params)  # another process may have logged one meanwhile

    # --- tags ---

    def set_tag(self, run_id: str, tag: Any) -> None:
        """Set a tag; ``mlflow.runName`` renames the run."""
        try:
            tag = _validate_tag(tag.key, tag.value)
        except TypeError as error:  # of a name or a value that is not text
            raise MlflowException(str(error)) from error
        self._pool.active(run_id)
        self._set_tags(run_id, {tag.key: tag.value})

    def _set_tags(self, run_id: str, tags: Mapping[str, str | None]) -> None:
        events = [
            {"type": "tag", "key": key, "value": value}
            for key, value in tags.items()
            if value or key != MLFLOW_RUN_NAME  # an empty name does not count
        ]
        if events:
            self._pool.emit(run_id, *events)

    def delete_tag(self, run_id: str, key: str) -> None:
        """Remove a tag."""
        held = self._pool.active(run_id)
        with held.lock:
            held.state.update()
            if key not in held.state.tags:
                raise NotFoundError(f"No tag with name: {key} in run with id {run_id}")
        self._pool.emit(run_id, {"type": "tag", "key": key, "value": None})

    def record_logged_model(self, run_id: str, mlflow_model: Any) -> None:
        """Record a model in the run's tag ``mlflow.log-model.history``, as MLflow 2 did."""
        if not isinstance(mlflow_model, Model):
            raise TypeError(f"Argument 'mlflow_model' should be mlflow.models.Model, got '{type(mlflow_model)}'")
        held = self._pool.active(run_id)
        with held.lock:
            held.state.update()
            known = json.loads(held.state.tags.get(MLFLOW_LOGGED_MODELS, "[]"))
            tag = _validate_tag(MLFLOW_LOGGED_MODELS, json.dumps([*known, mlflow_model.get_tags_dict()]))
            self._pool.emit(run_id, {"type": "tag", "key": tag.key, "value": tag.value})

    # --- inputs and outputs ---

    def log_inputs(self, run_id: str, datasets: list[Any] | None = None, models: list[Any] | None = None) -> None:
        """Record the datasets and logged models that a run used; a name and digest counts once, as first logged."""
        _validate_run_id(run_id)
        if datasets is not None:
            if not isinstance(datasets, list):
                raise TypeError(f"Argument 'datasets' should be a list, got '{type(datasets)}'")
            _validate_dataset_inputs(datasets)
        events = [
            dataset_event(as_dataset(used.dataset), {tag.key: tag.value for tag in used.tags})
            for used in datasets or ()
        ]
        events += [model_input_event(model.model_id) for model in models or ()]
        self._emit_all(run_id, events)

    def log_outputs(self, run_id: str, models: list[Any]) -> None:
        """Record the logged models that a run made, each with its step; a model counts once, as first logged."""
        self._emit_all(run_id, [model_output_event(model.model_id, model.step) for model in models])

    def _search_datasets(self, experiment_ids: Sequence[str]) -> list[Any]:
        """The datasets that the runs of these experiments used, with their contexts: at most 1,000."""
        if not experiment_ids:
            return []
        ids = decimal_ids(experiment_ids)
        rows = self._store.sql(
            "SELECT DISTINCT r.experiment_id, d.name, d.digest, d.context FROM datasets d JOIN runs r USING (run_id)"
            " WHERE r.experiment_id IN (SELECT unnest($ids)) ORDER BY ALL LIMIT $most",
            {"ids": ids, "most": DATASETS_MAX},
        )
        return [_DatasetSummary(**row) for row in rows.to_pylist()]

    def _emit_all(self, run_id: str, events: list[dict[str, Any]]) -> None:
        if events:
            self._pool.emit(run_id, *events)
        else:
            self._pool.active(run_id)


def _point(metric: Any, path: str, index: int = 0) -> Point:
    """A checked point: key, value, step, time in ns.

    Raises:
        MlflowException: one of these is invalid; ``path`` is the metric's place in the batch, for MLflow's message.
        UsageError: a step or a time is out of the store's range.
    """
    key, value, time, step = metric.key, metric.value, metric.timestamp, metric.step
    if not (type(value) is float and type(time) is int and time >= 0 and type(step) is int and key in _good_keys):
        _validate_metric(key, value, time, step, path=path.format(index))
        _validate_length_limit("Metric name", KEY_CHARACTERS_MAX, key)
        if len(_good_keys) >= KEYS_REMEMBERED_MAX:
            _good_keys.clear()
        _good_keys.add(key)
        value, time, step = float(value), int(time), int(step)
    if time > TIME_MS_MAX or not -(1 << 63) <= step < 1 << 63:
        raise UsageError(f"Invalid value for metric '{key}': timestamp={time}, step={step} are too large")
    return key, value, step, time * 1_000_000


def _without_conflict(run_id: str, held: OpenRun, params: Mapping[str, str]) -> list[str]:
    """Those of the params that the run does not have yet.

    Raises:
        ParamConflictError: it has one of them with another value.
    """
    with held.lock:
        held.refresh()
        known = held.state.params
    conflicts = [
        {"key": key, "old_value": known[key], "new_value": value}
        for key, value in params.items()
        if known.get(key, value) != value
    ]
    if conflicts:
        raise ParamConflictError(
            f"Changing param values is not allowed. Params were already logged='{conflicts}' for run ID='{run_id}'."
        )
    return [key for key in params if key not in known]
