"""The tracking store's methods for experiments."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from mlflow.entities import LifecycleStage, ViewType
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_STATE
from mlflow.store.tracking import SEARCH_MAX_RESULTS_DEFAULT, SEARCH_MAX_RESULTS_THRESHOLD
from mlflow.utils.search_utils import SearchExperimentsUtils
from mlflow.utils.uri import resolve_uri_if_local
from mlflow.utils.validation import (
    _parse_experiment_ids,
    _validate_experiment_artifact_location_length,
    _validate_experiment_name,
    _validate_experiment_tag,
)

from mltrack.catalog.comparators import EQUALITY, LISTS, NULLS, NUMBERS, TEXTS, comparator_test
from mltrack.entities import ACTIVE, DEFAULT_EXPERIMENT_ID
from mltrack.errors import AlreadyExistsError, NotFoundError, UsageError
from mltrack.mlflow_plugin.arguments import parsing, text_of
from mltrack.mlflow_plugin.errors import raises_mlflow, with_words
from mltrack.mlflow_plugin.tracking.base import BaseStore
from mltrack.mlflow_plugin.tracking.conversion import to_experiment
from mltrack.mlflow_plugin.tracking.paging import check_max_results, page_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mltrack.entities import Experiment

__all__ = ["Experiments", "active", "decimal_id", "decimal_ids"]


@raises_mlflow
@with_words(
    {
        "create_experiment": (AlreadyExistsError, "Experiment(name={name}) already exists."),
        "rename_experiment": (AlreadyExistsError, "Experiment(name={new_name}) already exists."),
    }
)
class Experiments(BaseStore):
    """The store's experiments, in MLflow's terms."""

    def create_experiment(
        self, name: str, artifact_location: str | None = None, tags: Sequence[Any] | None = None
    ) -> str:
        """Create an experiment; returns its id. The files of its runs go below ``artifact_location`` if given."""
        _validate_experiment_name(name)
        if artifact_location:
            artifact_location = resolve_uri_if_local(artifact_location)
            _validate_experiment_artifact_location_length(artifact_location)
        for tag in tags or ():
            _validate_experiment_tag(tag.key, tag.value)
        texts = {tag.key: text_of(tag.value) for tag in tags or ()}
        return self._store.workspace.create(name, texts, artifact_location=artifact_location or "").experiment_id

    def get_experiment(self, experiment_id: str | None) -> Any:
        """The experiment with that id, deleted or not; without an id, the default one."""
        return self._converted(self._experiment(experiment_id, ViewType.ALL))

    def get_experiment_by_name(self, experiment_name: str) -> Any:
        """The experiment of that name, deleted or not, or None."""
        found = self._store.workspace.by_name(experiment_name)
        return None if found is None else self._converted(found)

    def _experiment(self, experiment_id: str | None, view: int) -> Experiment:
        found = self._store.workspace.experiments().get(decimal_id(experiment_id))
        if found is None or found.lifecycle_stage not in LifecycleStage.view_type_to_stages(view):
            raise NotFoundError(f"No Experiment with id={decimal_id(experiment_id)} exists")
        return found

    def _converted(self, experiment: Experiment) -> Any:
        return to_experiment(experiment, self._store.layout)

    # --- changing ---

    def delete_experiment(self, experiment_id: str) -> None:
        """Mark an experiment and all its runs as deleted."""
        experiment = self._experiment(experiment_id, ViewType.ACTIVE_ONLY)
        self._store.delete_experiment(experiment.experiment_id, first=self._pool.close)

    def restore_experiment(self, experiment_id: str) -> None:
        """Restore a deleted experiment and all its runs."""
        experiment = self._experiment(experiment_id, ViewType.DELETED_ONLY)
        self._store.restore_experiment(experiment.experiment_id, first=self._pool.close)

    def _run_ids(self, experiment_id: str, view: str) -> list[str]:
        found: list[str] = []
        token = None
        while True:
            page = self._store.search_runs([experiment_id], "", view, SEARCH_MAX_RESULTS_THRESHOLD, None, token)
            found += [record.run_id for record in page]
            token = page.token
            if token is None:
                return found

    def rename_experiment(self, experiment_id: str, new_name: str) -> None:
        """Rename an active experiment."""
        _validate_experiment_name(new_name)
        experiment = self._experiment(experiment_id, ViewType.ALL)
        if experiment.lifecycle_stage != ACTIVE:
            raise MlflowException("Cannot rename a non-active experiment.", INVALID_STATE)
        if experiment.name != new_name:
            self._store.workspace.rename(experiment.experiment_id, new_name)

    def set_experiment_tag(self, experiment_id: str, tag: Any) -> None:
        """Set a tag of an active experiment."""
        _validate_experiment_tag(tag.key, tag.value)
        self._store.workspace.set_tag(self._active(experiment_id), tag.key, text_of(tag.value))

    def delete_experiment_tag(self, experiment_id: str, key: str) -> None:
        """Remove a tag of an active experiment."""
        checked = self._active(experiment_id)
        if key not in self._store.workspace.get(checked).tags:
            raise NotFoundError(f"No tag with name: {key} in experiment with id {experiment_id}")
        self._store.workspace.set_tag(checked, key, None)

    def _active(self, experiment_id: str) -> str:
        return active(self._experiment(experiment_id, ViewType.ALL)).experiment_id

    def _hard_delete_experiment(self, experiment_id: str) -> None:
        """Remove a deleted experiment permanently, with its runs, logged models, traces and their files."""
        experiment = self._experiment(experiment_id, ViewType.DELETED_ONLY)
        for run_id in self._run_ids(experiment.experiment_id, "ALL"):
            self._pool.close(run_id)
            self._purge(run_id)
        for model in self._store.logged_models.models():
            if model.experiment_id == experiment.experiment_id:
                self._store.logged_models.purge(model.model_id)
        self._store.workspace.remove(experiment.experiment_id)
        self._store.traces.remove(experiment.experiment_id)
        self._remove_from_tables(experiment_id=experiment.experiment_id)

    # --- searching ---

    def search_experiments(
        self,
        view_type: int = ViewType.ACTIVE_ONLY,
        max_results: int = SEARCH_MAX_RESULTS_DEFAULT,
        filter_string: str | None = None,
        order_by: Sequence[str] | None = None,
        page_token: str | None = None,
    ) -> Any:
        """A page of the experiments that match a filter; without ``order_by`` the latest first."""
        check_max_results(max_results)
        with parsing("filter", filter_string):
            clauses = [_checked(clause) for clause in SearchExperimentsUtils.parse_search_filter(filter_string)]
        stages = LifecycleStage.view_type_to_stages(view_type)
        order = [
            SearchExperimentsUtils.parse_order_by_for_search_experiments(text)
            for text in order_by or ["creation_time DESC", "experiment_id ASC"]
        ]
        found = [
            self._converted(experiment)
            for experiment in self._store.workspace.experiments().values()
            if experiment.lifecycle_stage in stages
        ]
        found = [experiment for experiment in found if all(_matches(experiment, clause) for clause in clauses)]
        # sorts are stable, so the first ordering is applied last; the greater id comes first among equals
        for kind, key, ascending in [*order, ("attribute", "experiment_id", False)][::-1]:
            if kind != "attribute":
                raise UsageError(f"Invalid order_by entity: {kind}")
            found.sort(key=partial(_attribute, key), reverse=not ascending)
        return page_of(found, max_results, page_token)


def active(experiment: Experiment) -> Experiment:
    """The experiment itself.

    Raises:
        UsageError: it is deleted.
    """
    if experiment.lifecycle_stage != ACTIVE:
        raise UsageError(
            f"The experiment {experiment.experiment_id} must be in the 'active' state. "
            f"Current state is {experiment.lifecycle_stage}.",
            hint="restore it, or choose another",
        )
    return experiment


def decimal_id(experiment_id: str | int | None) -> str:
    """An experiment's id in its stored form, decimal digits; the default one's if none is given.

    Raises:
        UsageError: it is not a number.
    """
    try:
        return str(int(experiment_id or DEFAULT_EXPERIMENT_ID))
    except (TypeError, ValueError):
        raise UsageError(f"Invalid experiment ID '{experiment_id}'. Experiment ID must be a valid integer.") from None


def decimal_ids(experiment_ids: Sequence[str]) -> list[str]:
    """The ids of experiments to search, as they are stored; an empty one is none, not the default one's.

    Raises:
        MlflowException: one is not a number.
    """
    return [str(one) for one in _parse_experiment_ids(list(experiment_ids))]


def _attribute(key: str, experiment: Any) -> Any:
    value = getattr(experiment, key)
    return int(value) if key == "experiment_id" else value


def _checked(clause: dict[str, Any]) -> dict[str, Any]:
    """A parsed comparison, checked; ids and times as integers."""
    kind, key, comparator, value = clause["type"], clause["key"], clause["comparator"].upper(), clause["value"]
    if kind == "tag":
        allowed: tuple[str, ...] = (*TEXTS, *NULLS)
    elif key == "experiment_id":
        allowed = (*EQUALITY, *LISTS)
        value = tuple(map(decimal_id, value)) if isinstance(value, tuple) else decimal_id(value)
    elif key == "name":
        allowed = TEXTS
    else:
        allowed = NUMBERS
        value = _integer(key, value)
    if comparator not in allowed:
        raise UsageError(f"Invalid comparator for {key if kind != 'tag' else kind}: {comparator}")
    return {"type": kind, "key": key, "comparator": comparator, "value": value}


def _integer(key: str, value: Any) -> int:
    try:
        if not isinstance(value, float):
            return int(value)
    except (TypeError, ValueError):
        pass
    raise UsageError(f"Invalid value for numeric attribute '{key}': {value!r}")


def _matches(experiment: Any, clause: dict[str, Any]) -> bool:
    key, comparator = clause["key"], clause["comparator"]
    held = experiment.tags.get(key) if clause["type"] == "tag" else getattr(experiment, key)
    return comparator_test(comparator, clause["value"])(held)
