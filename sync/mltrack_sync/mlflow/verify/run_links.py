"""What a run is linked to, compared with the remote: datasets, models it used, models it made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mltrack.entities import DELETED
from mltrack.errors import NotFoundError
from mltrack_sync.http.shapes import pairs
from mltrack_sync.mlflow.api.capabilities import DATASETS, LOGGED_MODELS
from mltrack_sync.mlflow.plan.kinds import DATASET, MODEL_INPUT, MODEL_OUTPUT, dataset_key
from mltrack_sync.mlflow.verify.findings import NOTHING, WAITS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mltrack.entities import Dataset, DatasetInput
    from mltrack.storage.runs.stored_run import StoredRun
    from mltrack.store import Store
    from mltrack_sync.mlflow.api.client import RemoteRun
    from mltrack_sync.mlflow.verify.findings import Findings
    from mltrack_sync.mlflow.verify.remote_ids import RemoteIds

__all__ = ["LinksVerify"]


@dataclass(frozen=True, slots=True)
class LinksVerify:
    """Compares links of runs.

    ``lacks`` is called with a feature, a run and what of it needs the feature, and says whether the remote lacks it.
    """

    store: Store
    ids: RemoteIds
    lacks: Callable[[str, str, list[str]], bool]

    def compare(self, run: StoredRun, remote: RemoteRun, findings: Findings) -> None:
        """All links of one run."""
        datasets = [dataset_key(used) for used in run.datasets]
        if not (datasets and self.lacks(DATASETS, run.run_id, datasets)):
            self._datasets(run, remote, findings)
        models = [*run.model_inputs, *(output.model_id for output in run.model_outputs)]
        if not (models and self.lacks(LOGGED_MODELS, run.run_id, models)):
            self._models(run, remote, findings)

    # --- datasets ---

    def _datasets(self, run: StoredRun, remote: RemoteRun, findings: Findings) -> None:
        local = {(used.dataset.name, used.dataset.digest): used for used in run.datasets}
        rows = remote.inputs.get("dataset_inputs") or []
        theirs = {(str(row["dataset"]["name"]), str(row["dataset"]["digest"])): row for row in rows}
        for name, digest in sorted(local.keys() | theirs.keys()):
            used, row = local.get((name, digest)), theirs.get((name, digest))
            thing, key = f"dataset {name!r} ({digest})", f"{name} ({digest})"
            if used is None or row is None:
                sides = ("is used", self._absent(run, f"{DATASET} {key}")) if row is None else ("not used", "is used")
                findings.differs(thing, *sides, kind=DATASET, key=key)
            elif not self._differing(used, row, findings, thing, key):
                findings.counts["datasets"] += 1

    @staticmethod
    def _differing(used: DatasetInput, row: Mapping[str, Any], findings: Findings, thing: str, key: str) -> bool:
        before = len(findings.differences)
        local, theirs = _fields(used.dataset), row["dataset"]
        for name, text in local.items():
            other = str(theirs.get(name) or "")
            if text != other:
                findings.text_differs(f"{thing}: {name.replace('_', ' ')}", text, other, kind=DATASET, key=key)
        mine, tags = dict(used.tags), pairs(row, "tags")
        for tag in sorted(mine.keys() | tags.keys()):
            if mine.get(tag) != tags.get(tag):
                findings.text_differs(f"{thing}: tag {tag!r}", mine.get(tag), tags.get(tag), kind=DATASET, key=key)
        return len(findings.differences) > before

    # --- models ---

    def _models(self, run: StoredRun, remote: RemoteRun, findings: Findings) -> None:
        used = dict.fromkeys(run.model_inputs, "is used")
        made = {each.model_id: f"made at step {each.step}" for each in run.model_outputs}
        used_remotely = {_id(row): "is used" for row in remote.inputs.get("model_inputs") or []}
        rows = remote.outputs.get("model_outputs") or []
        made_remotely = {_id(row): f"made at step {int(row.get('step') or 0)}" for row in rows}
        self._side(run, MODEL_INPUT, used, used_remotely, findings)
        self._side(run, MODEL_OUTPUT, made, made_remotely, findings)

    def _side(
        self, run: StoredRun, kind: str, local: Mapping[str, str], theirs: dict[str, str], findings: Findings
    ) -> None:
        left = dict(theirs)
        for model_id, words in local.items():
            seen = left.pop(self.ids.logged_model(model_id), None)
            if seen == words:
                findings.counts["model_links"] += 1
            elif seen is not None or self._is_active(model_id):
                shown = self._absent(run, f"{kind} {model_id}") if seen is None else seen
                findings.differs(f"{kind} {model_id}", words, shown, kind=kind, key=model_id)
        for remote_id, words in left.items():
            findings.differs(f"{kind} {remote_id}", NOTHING, words, kind=kind, key=remote_id)

    def _is_active(self, model_id: str) -> bool:
        """Whether the store has the model: runs are not linked to models that are deleted or removed."""
        try:
            return self.store.logged_models.get(model_id).lifecycle_stage != DELETED
        except NotFoundError:
            return False

    def _absent(self, run: StoredRun, key: str) -> str:
        state = self.ids.state
        entry = state.runs.get(run.run_id)
        rejected = any(item == run.run_id and key == f"{kind} {name}" for item, kind, name in state.rejected)
        return NOTHING if rejected or (entry is not None and key in entry.linked) else f"{NOTHING} ({WAITS})"


def _fields(dataset: Dataset) -> dict[str, str]:
    fields = {"source_type": dataset.source_type, "source": dataset.source}
    return fields | {"schema": dataset.schema or "", "profile": dataset.profile or ""}


def _id(row: Mapping[str, Any]) -> str:
    return str(row.get("model_id"))
