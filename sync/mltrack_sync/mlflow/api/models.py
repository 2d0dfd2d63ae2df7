"""MLflow's calls on logged models, and on links of runs to them and to datasets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mltrack.environment import MODEL_ID_TAG
from mltrack_sync.errors import RemoteRefusedError
from mltrack_sync.http.shapes import identifier, mapping, pairs, rows, shaped, text
from mltrack_sync.mlflow.api.base import ApiClient, ignoring_missing, in_path, pairs_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mltrack.entities import DatasetInput, LoggedModel, ModelOutput
    from mltrack_sync.http.shapes import Fields

__all__ = ["LoggedModelsClient", "RemoteModel"]

SEARCH = "logged-models/search"

_STATUS = {
    "READY": "LOGGED_MODEL_READY",
    "FAILED": "LOGGED_MODEL_UPLOAD_FAILED",
    "PENDING": "LOGGED_MODEL_PENDING",
    "UNSPECIFIED": "LOGGED_MODEL_STATUS_UNSPECIFIED",
}


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """A remote logged model; ``uri`` is where its files go."""

    model_id: str
    uri: str
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


class LoggedModelsClient(ApiClient):
    """What the syncer asks of a remote's logged models."""

    # --- models ---

    def find(self, experiment_id: str, model_id: str) -> list[RemoteModel]:
        """The models of an experiment that carry our model's tag; a deleted one is not found."""
        return [self._model({"model": each}, SEARCH) for each in self.find_fields([experiment_id], model_id)]

    def find_fields(self, experiment_ids: Sequence[str], model_id: str) -> list[Fields]:
        """The same in any of these experiments, as MLflow writes them."""
        fields = {"experiment_ids": list(experiment_ids), "filter": f"tags.`{MODEL_ID_TAG}` = '{model_id}'"}
        answer = self._transport.post(SEARCH, {**fields, "max_results": 10}, repeatable=True)
        return self._read(SEARCH, answer, lambda a: rows(a, "models"))

    def get(self, remote_id: str) -> RemoteModel:
        """The model as it is now, deleted or not."""
        answer = self._transport.get(f"logged-models/{in_path(remote_id)}", {"allow_deleted": "true"})
        return self._model(answer, "logged-models/get")

    def of_origin(self, remote_id: str) -> list[RemoteModel]:
        """The model of that id, which ours was pulled from; none where there is none, or it is deleted."""
        if not remote_id:
            return []
        path = f"logged-models/{in_path(remote_id)}"
        try:
            return [self._model(self._transport.get(path, {}), "logged-models/get")]
        except RemoteRefusedError as error:
            if not error.says_missing:
                raise
            return []

    def create(
        self,
        experiment_id: str,
        model: LoggedModel,
        source_run_id: str | None,
        *,
        params: Mapping[str, str],
        tags: Mapping[str, str],
    ) -> RemoteModel:
        """Create a model. Repeating it would create a second one: search for its tag first."""
        fields: dict[str, Any] = {"experiment_id": experiment_id, "name": model.name}
        given = {"model_type": model.model_type, "source_run_id": source_run_id}
        fields |= {key: value for key, value in given.items() if value}
        fields |= {"params": pairs_of(params), "tags": pairs_of(tags)}
        return self._model(self._transport.post("logged-models", fields, repeatable=False), "logged-models/create")

    def log_params(self, remote_id: str, params: Mapping[str, str]) -> None:
        """Add params. If one exists already, the whole request is refused."""
        fields = {"model_id": remote_id, "params": pairs_of(params)}
        self._transport.post(f"logged-models/{in_path(remote_id)}/params", fields, repeatable=False)

    def set_tags(self, remote_id: str, tags: Mapping[str, str]) -> None:
        """Set tags."""
        fields = {"tags": pairs_of(tags)}
        self._transport.post(f"logged-models/{in_path(remote_id)}/tags", fields, repeatable=True, method="PATCH")

    def delete_tag(self, remote_id: str, key: str) -> None:
        """Remove a tag; a missing one is not an error."""
        with ignoring_missing():
            path = f"logged-models/{in_path(remote_id)}/tags/{in_path(key)}"
            self._transport.post(path, {}, repeatable=True, method="DELETE")

    def set_status(self, remote_id: str, status: str) -> None:
        """Set the model's status."""
        fields = {"model_id": remote_id, "status": _STATUS[status]}
        self._transport.post(f"logged-models/{in_path(remote_id)}", fields, repeatable=True, method="PATCH")

    def delete(self, remote_id: str) -> None:
        """Move the model to the deleted ones."""
        self._transport.post(f"logged-models/{in_path(remote_id)}", {}, repeatable=True, method="DELETE")

    # --- links of runs ---

    def log_datasets(self, remote_run: str, datasets: Sequence[DatasetInput]) -> None:
        """Link the run to datasets that it used; of equal name and digest, the first counts."""
        fields = {"run_id": remote_run, "datasets": [_dataset(each) for each in datasets]}
        self._transport.post("runs/log-inputs", fields, repeatable=True)

    def log_model_inputs(self, remote_run: str, remote_models: Sequence[str]) -> None:
        """Link the run to models that it used."""
        fields = {"run_id": remote_run, "models": [{"model_id": each} for each in remote_models]}
        self._transport.post("runs/log-inputs", fields, repeatable=True)

    def log_model_outputs(self, remote_run: str, outputs: Sequence[ModelOutput]) -> None:
        """Link the run to models that it made. If one is linked already, the whole request is refused."""
        models = [{"model_id": each.model_id, "step": each.step} for each in outputs]
        self._transport.post("runs/outputs", {"run_id": remote_run, "models": models}, repeatable=False)

    def model_outputs(self, remote_run: str) -> set[str]:
        """The models that the run is linked to as their maker."""
        answer = self._transport.get("runs/get", {"run_id": remote_run})
        with shaped(self.url, "runs/get", answer):
            outputs = mapping(mapping(answer.get("run")).get("outputs"))
            return {text(each.get("model_id")) for each in rows(outputs, "model_outputs")}

    def _model(self, answer: Mapping[str, Any], call: str) -> RemoteModel:
        with shaped(self.url, call, answer):
            info, data = mapping(answer["model"]["info"]), mapping(answer["model"].get("data"))
            model_id, uri = identifier(info["model_id"]), text(info.get("artifact_uri"))
            return RemoteModel(model_id, uri, pairs(data, "params"), pairs(info, "tags"))


def _dataset(used: DatasetInput) -> dict[str, Any]:
    dataset = used.dataset
    fields = {"name": dataset.name, "digest": dataset.digest, "source_type": dataset.source_type}
    fields |= {"source": dataset.source}
    known = {"schema": dataset.schema, "profile": dataset.profile}
    return {
        "dataset": fields | {key: value for key, value in known.items() if value is not None},
        "tags": pairs_of(used.tags),
    }
