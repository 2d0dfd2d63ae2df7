"""Whether the remote has what a version of a registered model is made of: its run, logged model, version, files."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mltrack.entities import DELETED
from mltrack.errors import NotFoundError
from mltrack_sync.mlflow.api.capabilities import LOGGED_MODELS
from mltrack_sync.mlflow.plan.fallback import where_in_run

if TYPE_CHECKING:
    from mltrack.entities import Artifact, ModelVersion
    from mltrack.store import Store
    from mltrack_sync.ledger.view import LedgerView

__all__ = ["MODEL_SOURCE", "RUN_SOURCE", "Sources", "model_of", "run_of", "version_of"]

RUN_SOURCE = "runs:/"
MODEL_SOURCE = "models:/"


@dataclass(frozen=True, slots=True)
class Sources:
    """What the remote has by the ledger, and what this push would send before the registry (in a dry run).

    ``runs`` and ``models`` are runs and logged models to be sent, with their files; ``models_in_runs`` those that are
    sent as files of their runs; ``versions`` (name, number) other versions.
    """

    store: Store
    state: LedgerView
    unsupported: frozenset[str]
    runs: Mapping[str, Collection[Artifact]] = field(default_factory=dict)
    models: Mapping[str, Collection[Artifact]] = field(default_factory=dict)
    models_in_runs: Collection[str] = ()
    versions: Collection[tuple[str, int]] = ()

    def why_it_waits(self, version: ModelVersion) -> str:
        """What the version waits for, in words; "" where nothing is in the way."""
        if version.run_id and not self._has_run(version.run_id):
            return f"its run {version.run_id} is not on the remote yet"
        source = version.source
        if source.startswith(f"{MODEL_SOURCE}m-"):
            return self._why_model_waits(model_of(source)[0])
        if source.startswith(MODEL_SOURCE):
            return "" if self._has_version(*version_of(source)) else self._no_version(*version_of(source))
        if not source.startswith(RUN_SOURCE):
            return ""
        run_id, path = run_of(source)
        if not self._has_run(run_id):
            return f"run {run_id}, where its files are, is not on the remote yet"
        return "" if self._has_run_files(run_id, path) else f"files of run {run_id} are not on the remote yet"

    def _has_run(self, run_id: str) -> bool:
        entry = self.state.runs.get(run_id)
        return run_id in self.runs or (entry is not None and bool(entry.remote_id))

    def _has_run_files(self, run_id: str, path: str) -> bool:
        try:
            artifacts = self.store.run(run_id).artifacts
        except NotFoundError:
            return True
        mine = [a for a in artifacts if not path or a.path == path or a.path.startswith(f"{path}/")]
        entry = self.state.runs.get(run_id)
        sent = entry.artifacts if entry is not None else {}
        return all(sent.get(file.path) == file.sha256 or file in self.runs.get(run_id, ()) for file in mine)

    @staticmethod
    def _no_version(name: str, number: str) -> str:
        return f"the version it was made from, {name}/{number}, is not on the remote yet"

    def _has_version(self, name: str, number: str) -> bool:
        entry = self.state.models.get(name)
        if not number.isdecimal():
            return False
        known = entry.versions.get(int(number)) if entry is not None else None
        return (name, int(number)) in self.versions or (known is not None and known.ready)

    # --- logged models ---

    def _why_model_waits(self, model_id: str) -> str:
        entry = self.state.logged.get(model_id)
        sent = dict(entry.artifacts) if entry is not None and entry.remote_id else None
        if sent is None and model_id not in self.models:
            if LOGGED_MODELS in self.unsupported:
                return self._why_model_in_run_waits(model_id)
            return f"logged model {model_id} is not on the remote yet"
        try:
            model = self.store.logged_models.get(model_id)
        except NotFoundError:
            return ""
        if model.lifecycle_stage == DELETED:
            return f"logged model {model_id} is deleted"
        coming = self.models.get(model_id, ())
        if all((sent or {}).get(file.path) == file.sha256 or file in coming for file in model.artifacts):
            return ""
        return f"files of logged model {model_id} are not on the remote yet"

    def _why_model_in_run_waits(self, model_id: str) -> str:
        """The same where the remote has no logged models: its files are among those of its run."""
        if model_id in self.models_in_runs:
            return ""
        place = where_in_run(self.store, self.state, model_id)
        return place if isinstance(place, str) else ""


def run_of(source: str) -> tuple[str, str]:
    """The run, and the path among its files, that a source ``runs:/ID/PATH`` names."""
    run_id, _, path = source.removeprefix(RUN_SOURCE).partition("/")
    return run_id, path


def model_of(source: str) -> tuple[str, str]:
    """The logged model, and the path among its files, that a source ``models:/m-ID/PATH`` names."""
    model_id, _, path = source.removeprefix(MODEL_SOURCE).partition("/")
    return model_id, path


def version_of(source: str) -> tuple[str, str]:
    """The registered model and the number that a source ``models:/NAME/NUMBER`` names."""
    name, _, number = source.removeprefix(MODEL_SOURCE).rpartition("/")
    return name, number
