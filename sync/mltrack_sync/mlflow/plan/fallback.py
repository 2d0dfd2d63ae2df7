"""Which run on the remote holds the files of a logged model, where the remote has no logged models."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from mltrack.entities import ACTIVE, DELETED
from mltrack.errors import NotFoundError
from mltrack_sync.ledger.models import PENDING

if TYPE_CHECKING:
    from mltrack.entities import LoggedModel
    from mltrack.store import Store
    from mltrack_sync.ledger.runs import RunEntry
    from mltrack_sync.ledger.view import LedgerView

__all__ = ["fallback_run", "has_files_for_run", "where_in_run"]


def fallback_run(model: LoggedModel, state: LedgerView) -> RunEntry | None:
    """The remote run that can hold the model's files; None without such a run, or while the model is unfinished."""
    return _remote_run(model, state) if has_files_for_run(model) else None


def has_files_for_run(model: LoggedModel) -> bool:
    """Whether the model is finished and not deleted, and a run made it."""
    return bool(model.source_run_id) and model.lifecycle_stage == ACTIVE and model.status != PENDING


def where_in_run(store: Store, state: LedgerView, model_id: str) -> tuple[str, str] | str:
    """The URI of a model's folder in its run on the remote, and that run's id; or why it can't be named yet."""
    try:
        model = store.logged_models.get(model_id)
    except NotFoundError:
        return f"logged model {model_id} is not in this store"
    if not model.source_run_id:
        return f"the server has no logged models, and {model_id} has no run to put its files into"
    run, entry = _remote_run(model, state), state.fallbacks.get(model_id)
    if run is None or entry is None or entry.remote_run != run.remote_id:
        return f"files of logged model {model_id} are not in its run {model.source_run_id} on the remote yet"
    if any(entry.artifacts.get(artifact.path) != artifact.sha256 for artifact in model.artifacts):
        return f"files of logged model {model_id} are not all in its run {model.source_run_id} on the remote yet"
    return posixpath.join(run.artifact_uri, entry.place), run.remote_id


def _remote_run(model: LoggedModel, state: LedgerView) -> RunEntry | None:
    run = state.runs.get(model.source_run_id or "")
    return run if run is not None and run.remote_id and run.stage != DELETED else None
