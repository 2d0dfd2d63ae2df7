"""What a remote lacks of logged models: which, what of each, and their files for runs where it takes no models."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mltrack.environment import MODEL_ID_TAG, ORIGIN_MODEL_TAG
from mltrack.errors import NotFoundError
from mltrack_sync.ledger.fallback import FallbackEntry
from mltrack_sync.ledger.models import PENDING, LoggedEntry
from mltrack_sync.mlflow.plan.fallback import fallback_run, has_files_for_run
from mltrack_sync.mlflow.plan.kinds import (
    LOGGED_MODEL,
    LOGGED_MODEL_FILE,
    LOGGED_MODEL_FILE_IN_RUN,
    LOGGED_MODEL_METRIC,
    LOGGED_MODEL_PARAM,
    LOGGED_MODEL_TAG,
)
from mltrack_sync.mlflow.plan.origin import remote_tags

if TYPE_CHECKING:
    from mltrack.entities import Artifact, LoggedModel, ModelMetric
    from mltrack.store import Store
    from mltrack_sync.ledger.view import LedgerView
    from mltrack_sync.selection import Selection

__all__ = [
    "MODEL_VERSIONS",
    "PendingLoggedModel",
    "PendingLoggedModels",
    "files_for_run",
    "find_pending_logged_model",
    "find_pending_logged_models",
    "is_whole_experiment",
    "log_sizes",
]

MODEL_VERSIONS = "mlflow.modelVersions"
"""The tag in which a server notes the versions made of a model, by its own numbers."""


@dataclass(frozen=True, slots=True)
class PendingLoggedModels:
    """Ids of logged models that are missing or different on the remote.

    Of these, ``with_files`` have files that can go to their runs where the remote does not support logged models;
    ``without_run`` were not made by a run: their files can't.
    """

    ids: tuple[str, ...] = ()
    with_files: tuple[str, ...] = ()
    without_run: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PendingLoggedModel:
    """What the remote lacks of one logged model; a tag of None is to be removed, a ``status`` of "" stays."""

    params: Mapping[str, str]
    tags: Mapping[str, str | None]
    metrics: tuple[ModelMetric, ...]
    files: tuple[Artifact, ...]
    status: str


def find_pending_logged_models(
    store: Store,
    state: LedgerView,
    selection: Selection,
    chosen: Mapping[str, object],
    *,
    retry: bool = False,
    again: Collection[str] = (),
) -> PendingLoggedModels:
    """The logged models of which the ledger does not have all.

    Args:
        store: The store.
        state: The ledger.
        selection: What is selected: models of selected runs, and of whole experiments.
        chosen: The selected runs.
        retry: Whether to retry what was rejected.
        again: Models, rejected as a whole, that are retried in any case.
    """
    rejected = [item for item in state.rejected.values() if not item.run_id]
    whole = {item.key for item in rejected if item.kind == LOGGED_MODEL}
    tried = {item.key.partition("/")[0] for item in rejected if retry and item.kind.startswith(LOGGED_MODEL)}
    sizes, fresh = log_sizes(store), LoggedEntry()
    ids = []
    for model_id, size in sizes.items():
        if state.logged.get(model_id, fresh).settled == size and model_id not in tried:
            continue
        if model_id in whole and not (retry or model_id in again):
            continue
        if selection.everything or _is_selected(store, model_id, selection, chosen):
            ids.append(model_id)
    with_files, without_run = _in_runs(store, state, {model_id: sizes[model_id] for model_id in ids}, tried)
    return PendingLoggedModels(tuple(ids), with_files, without_run)


def find_pending_logged_model(
    model: LoggedModel,
    entry: LoggedEntry,
    state: LedgerView,
    *,
    retry: bool = False,
    map_tags: Callable[[Mapping[str, str]], dict[str, str]] = dict,
) -> PendingLoggedModel:
    """What the remote lacks of a logged model that is not deleted.

    Args:
        model: The model.
        entry: What the ledger says that the remote has of it.
        state: The ledger, for what was rejected.
        retry: Whether to retry what was rejected; if one metric was, all its metrics are sent again.
        map_tags: Maps the model's tags to those of the remote.
    """
    refused = _rejected_of(state, model.model_id)
    has_refused_metrics = any(kind == LOGGED_MODEL_METRIC for kind, _ in refused)
    since = 0 if retry and has_refused_metrics else entry.metrics
    refused = set() if retry else refused
    own = {MODEL_ID_TAG: model.model_id}
    wanted = remote_tags(map_tags(model.tags), entry.remote_id, ORIGIN_MODEL_TAG, own)
    wanted.pop(MODEL_VERSIONS, None)
    changed = {key: value for key, value in wanted.items() if entry.tags.get(key) != value}
    gone = [key for key in entry.tags if key not in wanted and key != MODEL_VERSIONS]
    return PendingLoggedModel(
        params={
            key: value
            for key, value in model.params.items()
            if key not in entry.params and (LOGGED_MODEL_PARAM, key) not in refused
        },
        tags={
            **dict.fromkeys(gone),
            **{key: value for key, value in changed.items() if (LOGGED_MODEL_TAG, key) not in refused},
        },
        metrics=tuple(sorted((m for m in model.metrics if m.seq >= since), key=lambda metric: metric.seq)),
        files=_files(model, entry.artifacts, refused, LOGGED_MODEL_FILE),
        status=model.status if model.status not in (entry.status, PENDING) else "",
    )


def files_for_run(model: LoggedModel, state: LedgerView, *, retry: bool = False) -> tuple[Artifact, ...]:
    """The model's files that its run lacks on a remote without logged models."""
    if not has_files_for_run(model):
        return ()
    entry, run = state.fallbacks.get(model.model_id) or FallbackEntry(), state.runs.get(str(model.source_run_id))
    is_current = run is not None and entry.remote_run == run.remote_id  # else they were in a former run
    refused = set() if retry else _rejected_of(state, model.model_id)
    return _files(model, entry.artifacts if is_current else {}, refused, LOGGED_MODEL_FILE_IN_RUN)


def is_whole_experiment(store: Store, experiment_id: str, selection: Selection) -> bool:
    """Whether all that is in the experiment is selected."""
    if selection.runs or selection.filter:
        return False
    experiment = store.workspace.experiments().get(experiment_id)
    return experiment is not None and experiment.name in selection.experiments


def log_sizes(store: Store) -> dict[str, int]:
    """How long each logged model's log is, in bytes."""
    found = {}
    for model_id in store.logged_models.ids():
        try:
            found[model_id] = store.logged_models.folder(model_id).log.stat().st_size
        except FileNotFoundError:
            continue  # it is being created, or was removed
    return found


def _rejected_of(state: LedgerView, model_id: str) -> set[tuple[str, str]]:
    """Kind and key, below the model, of what was rejected of it."""
    items = [item for item in state.rejected.values() if not item.run_id and item.kind.startswith(LOGGED_MODEL)]
    split = [(item.kind, item.key.partition("/")) for item in items]
    return {(kind, key) for kind, (mine, _, key) in split if mine == model_id}


def _files(
    model: LoggedModel, sent: Mapping[str, str], refused: Collection[tuple[str, str]], kind: str
) -> tuple[Artifact, ...]:
    missing = (file for file in model.artifacts if sent.get(file.path) != file.sha256)
    return tuple(file for file in missing if (kind, file.path) not in refused)


def _in_runs(
    store: Store, state: LedgerView, sizes: Mapping[str, int], tried: Collection[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of these models, those with files that can go to their runs, and those that were not made by a run."""
    files, without_run = [], []
    for model_id, size in sizes.items():
        entry = state.fallbacks.get(model_id) or FallbackEntry()
        run = state.runs.get(entry.of)
        settled = run is not None and (entry.remote_run, entry.settled) == (run.remote_id, size)
        if settled and model_id not in tried:
            continue
        try:
            model = store.logged_models.get(model_id)
        except NotFoundError:
            continue
        if not model.source_run_id:
            without_run.append(model_id)
        elif fallback_run(model, state) is not None:
            files.append(model_id)
    return tuple(files), tuple(without_run)


def _is_selected(store: Store, model_id: str, selection: Selection, chosen: Mapping[str, object]) -> bool:
    try:
        model = store.logged_models.get(model_id)
    except NotFoundError:
        return False
    return model.source_run_id in chosen or is_whole_experiment(store, model.experiment_id, selection)
