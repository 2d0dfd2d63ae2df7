"""The tracking store's methods for logged models."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from mlflow.entities import LoggedModel, Metric
from mlflow.entities.logged_model_status import LoggedModelStatus
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST, RESOURCE_DOES_NOT_EXIST
from mlflow.store.entities.paged_list import PagedList
from mlflow.utils.name_utils import _generate_random_name
from mlflow.utils.validation import _validate_logged_model_name, _validate_metric

from mltrack.entities import DELETED, ModelMetric
from mltrack.errors import AlreadyExistsError, NotFoundError, UsageError
from mltrack.mlflow_plugin.errors import beginning, raises_mlflow, with_words
from mltrack.mlflow_plugin.tracking.base import BaseStore
from mltrack.mlflow_plugin.tracking.experiments import active, decimal_id
from mltrack.mlflow_plugin.tracking.model_search import find_models
from mltrack.mlflow_plugin.uris import artifact_uri
from mltrack.text.encodable import encodable, encodable_pairs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from mlflow.entities.logged_model_parameter import LoggedModelParameter
    from mlflow.entities.logged_model_tag import LoggedModelTag

    from mltrack import entities

__all__ = ["LoggedModels"]


_NO_MODEL = (NotFoundError, "Logged model with ID '{model_id}' not found.")


@raises_mlflow
@with_words(
    dict.fromkeys(
        (
            "get_logged_model",
            "finalize_logged_model",
            "set_logged_model_tags",
            "delete_logged_model_tag",
            "log_logged_model_params",
            "delete_logged_model",
        ),
        _NO_MODEL,
    )
)
class LoggedModels(BaseStore):
    """Logged models. What violates a table's key in MLflow's SQL store is BAD_REQUEST, as in MLflow."""

    def create_logged_model(
        self,
        experiment_id: str,
        name: str | None = None,
        source_run_id: str | None = None,
        tags: list[LoggedModelTag] | None = None,
        params: list[LoggedModelParameter] | None = None,
        model_type: str | None = None,
    ) -> LoggedModel:
        """Create a pending model in an active experiment; without a name, one is generated."""
        _validate_logged_model_name(name)
        if not experiment_id:
            raise UsageError(f"Invalid experiment ID '{experiment_id}'. Experiment ID must be a valid integer.")
        checked = decimal_id(experiment_id)
        with beginning(NotFoundError, f"No Experiment with id={checked} exists"):
            experiment = active(self._store.workspace.get(checked))
        made = self._store.logged_models.create(
            experiment.experiment_id,
            name or _generate_random_name(),
            model_type=model_type,
            source_run_id=source_run_id,
            tags=_entries("tag", tags, repeated=False),
            params=_entries("param", params, repeated=False),
        )
        return self._as_mlflow(made)

    def get_logged_model(self, model_id: str, allow_deleted: bool = False) -> LoggedModel:
        """One model."""
        model = self._store.logged_models.get(model_id)
        if model.lifecycle_stage == DELETED and not allow_deleted:
            raise NotFoundError(f"logged model {model_id!r} is deleted", hint="allow_deleted shows it")
        return self._as_mlflow(model)

    def finalize_logged_model(self, model_id: str, status: LoggedModelStatus) -> LoggedModel:
        """Set whether a model's files are complete, or could not be stored."""
        return self._as_mlflow(self._store.logged_models.set_status(model_id, str(status)))

    def set_logged_model_tags(self, model_id: str, tags: list[LoggedModelTag]) -> None:
        """Set tags; of several with one key the last counts."""
        self._store.logged_models.set_tags(model_id, _entries("tag", tags, repeated=True))

    def delete_logged_model_tag(self, model_id: str, key: str) -> None:
        """Remove a tag."""
        if key not in self._store.logged_models.get(model_id).tags:
            raise MlflowException(
                f"No tag with key {key!r} found for model with ID {model_id!r}. (tags are case-sensitive)",
                error_code=RESOURCE_DOES_NOT_EXIST,
            )
        self._store.logged_models.set_tags(model_id, {key: None})

    def log_logged_model_params(self, model_id: str, params: list[LoggedModelParameter]) -> None:
        """Add params, none of which may exist already."""
        with _conflicts_are_bad_requests():
            self._store.logged_models.log_params(model_id, _entries("param", params, repeated=False))

    def delete_logged_model(self, model_id: str) -> None:
        """Mark a model as deleted."""
        self._store.logged_models.set_stage(model_id, DELETED)

    def _hard_delete_logged_model(self, model_id: str) -> None:
        """Remove a model, deleted or not, with its files."""
        self._store.logged_models.purge(model_id)

    def _get_deleted_logged_models(self, older_than: int = 0) -> list[str]:
        """The ids of models deleted at least ``older_than`` ms ago."""
        until = time.time_ns() // 1_000_000 - older_than
        return [
            model.model_id
            for model in self._store.logged_models.models()
            if model.lifecycle_stage == DELETED and model.last_update_time <= until
        ]

    def search_logged_models(
        self,
        experiment_ids: list[str],
        filter_string: str | None = None,
        datasets: list[dict[str, Any]] | None = None,
        max_results: int | None = None,
        order_by: list[dict[str, Any]] | None = None,
        page_token: str | None = None,
    ) -> PagedList[LoggedModel]:
        """Active models that match a filter, in order, a page at a time."""
        page = find_models(
            self._store.logged_models.models(),
            self._model_artifact_uri,
            experiment_ids=experiment_ids,
            filter_string=filter_string,
            datasets=datasets,
            max_results=max_results,
            order_by=order_by,
            page_token=page_token,
        )
        return PagedList([self._as_mlflow(model) for model in page], token=page.token)

    def _log_model_metrics(self, run_id: str, experiment_id: str, metrics: Sequence[Metric]) -> None:
        """Log those of a run's metrics that name a model to that model; others are skipped."""
        by_model: dict[str, list[ModelMetric]] = {}
        for at, metric in enumerate(metrics):
            if metric.model_id is not None:
                path = "" if len(metrics) == 1 else f"metrics[{at}]"
                _validate_metric(metric.key, metric.value, metric.timestamp, metric.step, path=path)
                by_model.setdefault(metric.model_id, []).append(_model_metric(run_id, metric))
        with _conflicts_are_bad_requests():
            for model_id in by_model:
                if not self._store.logged_models.has(model_id):
                    raise MlflowException(f"no logged model with id {model_id!r}", error_code=BAD_REQUEST)
            for model_id, entries in by_model.items():
                self._store.logged_models.log_metrics(model_id, entries)

    def _model_artifact_uri(self, model_id: str) -> str:
        return artifact_uri(self._store.layout.model(model_id).artifacts)

    def _as_mlflow(self, model: entities.LoggedModel) -> LoggedModel:
        return LoggedModel(
            experiment_id=model.experiment_id,
            model_id=model.model_id,
            name=encodable(model.name),
            artifact_location=self._model_artifact_uri(model.model_id),
            creation_timestamp=model.creation_time,
            last_updated_timestamp=model.last_update_time,
            model_type=encodable(model.model_type),
            source_run_id=encodable(model.source_run_id),
            status=LoggedModelStatus(model.status),
            status_message=encodable(model.status_message),
            tags=encodable_pairs(model.tags),
            params=encodable_pairs(model.params),
            metrics=[_as_metric(model.model_id, metric) for metric in model.metrics] or None,
        )


def _model_metric(run_id: str, metric: Metric) -> ModelMetric:
    return ModelMetric(
        key=metric.key,
        value=metric.value,
        step=metric.step,
        time=metric.timestamp,
        run_id=run_id,
        dataset_name=metric.dataset_name,
        dataset_digest=metric.dataset_digest,
    )


def _as_metric(model_id: str, metric: ModelMetric) -> Metric:
    return Metric(
        key=encodable(metric.key),
        value=metric.value,
        timestamp=metric.time,
        step=metric.step,
        model_id=model_id,
        dataset_name=encodable(metric.dataset_name),
        dataset_digest=encodable(metric.dataset_digest),
        run_id=encodable(metric.run_id),
    )


def _entries(what: str, given: Iterable[Any] | None, *, repeated: bool) -> dict[str, str]:
    """Tags or params by key; ``repeated`` allows a key more than once."""
    found: dict[str, str] = {}
    for entry in given or ():
        if entry.value is None:
            raise MlflowException(f"{what} {entry.key!r} has no value", error_code=BAD_REQUEST)
        if entry.key in found and not repeated:
            raise MlflowException(f"{what} {entry.key!r} is given twice", error_code=BAD_REQUEST)
        found[entry.key] = str(entry.value)
    return found


@contextlib.contextmanager
def _conflicts_are_bad_requests() -> Iterator[None]:
    try:
        yield
    except AlreadyExistsError as error:
        raise MlflowException(f"{error} ({error.hint})", error_code=BAD_REQUEST) from error
