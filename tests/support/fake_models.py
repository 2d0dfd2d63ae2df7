"""Logged models of the MLflow server in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tests.support.fake_parts import Fields, Refused, missing, pairs_of, texts_of, unknown_call

Point = tuple[str, int, int, float, str, str, str]
"""Of a metric: key, step, time, value, run, dataset's name and digest."""


@dataclass
class FakeModel:
    """A logged model as the server keeps it."""

    info: Fields
    params: dict[str, str]
    tags: dict[str, str]
    points: list[Point] = field(default_factory=list)
    deleted: bool = False

    def fields(self) -> Fields:
        names = ("key", "step", "timestamp", "value", "run_id", "dataset_name", "dataset_digest")
        metrics = [dict(zip(names, point, strict=True)) for point in self.points]
        info = {**self.info, "tags": pairs_of(self.tags)}
        return {"info": info, "data": {"params": pairs_of(self.params), "metrics": metrics}}


class FakeModels:
    """Calls begin with their method, where the path names a model; its id is the field ``model_id``."""

    def __init__(self, ids: Iterator[int], files: Mapping[str, bytes]) -> None:
        """``ids`` numbers new ones; ``files`` are all that the server keeps, by path."""
        self.held: dict[str, FakeModel] = {}
        self._ids = ids
        self._files = files

    def answer(self, call: str, fields: Fields) -> Fields:
        """What the server answers."""
        known = {
            "logged-models/search": self._search,
            "POST logged-models": self._create,
            "GET logged-models": self._get,
            "GET logged-models/artifacts": self._list,
            "PATCH logged-models": self._set_status,
            "DELETE logged-models": self._delete,
            "POST logged-models/params": self._log_params,
            "PATCH logged-models/tags": self._set_tags,
            "DELETE logged-models/tags": self._delete_tag,
        }
        if call not in known:
            raise unknown_call(call)
        return known[call](fields)

    def add_metric(self, run_id: str, fields: Fields) -> None:
        """One that a run logs with a model: kept once, however often it comes."""
        point = (fields["key"], int(fields.get("step", 0)), int(fields["timestamp"]), float(fields["value"]), run_id)
        dataset = (fields.get("dataset_name", ""), fields.get("dataset_digest", ""))
        held = self._model(fields).points
        if (*point, *dataset) not in held:
            held.append((*point, *dataset))

    def _model(self, fields: Fields) -> FakeModel:
        found = self.held.get(fields["model_id"])
        if found is None or (found.deleted and fields.get("allow_deleted") != "true"):
            raise missing(f"Logged model with ID '{fields['model_id']}' not found.")
        return found

    def _search(self, fields: Fields) -> Fields:
        mine = [model for model in self.held.values() if model.info["experiment_id"] in fields["experiment_ids"]]
        if "filter" in fields:
            key, _, value = fields["filter"].removeprefix("tags.").partition(" = ")
            mine = [model for model in mine if model.tags.get(key.strip("`")) == value.strip("'")]
        found = [model.fields() for model in mine if not model.deleted]
        return {"models": found} if found else {}

    def _create(self, fields: Fields) -> Fields:
        made = f"m-{next(self._ids):032x}"
        uri = f"mlflow-artifacts:/{fields['experiment_id']}/models/{made}/artifacts"
        info: Fields = {
            key: fields[key] for key in ("experiment_id", "name", "model_type", "source_run_id") if key in fields
        }
        info |= {"model_id": made, "artifact_uri": uri, "status": "LOGGED_MODEL_PENDING"}
        params, tags = texts_of(fields.get("params", [])), texts_of(fields.get("tags", []))
        self.held[made] = FakeModel(info, params, tags)
        return {"model": self.held[made].fields()}

    def _get(self, fields: Fields) -> Fields:
        return {"model": self._model(fields).fields()}

    def _list(self, fields: Fields) -> Fields:
        folder = f"{self._model(fields).info['artifact_uri'].removeprefix('mlflow-artifacts:/')}/"
        listed = fields.get("artifact_directory_path", "")
        mine = {path.removeprefix(folder): len(data) for path, data in self._files.items() if path.startswith(folder)}
        found = [(path, size) for path, size in mine.items() if path.rpartition("/")[0] == listed]
        return {"files": [{"path": path, "is_dir": False, "file_size": size} for path, size in found]}

    def _set_status(self, fields: Fields) -> Fields:
        self._model(fields).info["status"] = fields["status"]
        return {"model": self._model(fields).fields()}

    def _delete(self, fields: Fields) -> Fields:
        self._model(fields).deleted = True
        return {}

    def _log_params(self, fields: Fields) -> Fields:
        params, held = texts_of(fields["params"]), self._model(fields).params
        if params.keys() & held.keys():
            raise Refused("a param is there already", "INTERNAL_ERROR", 400)
        held |= params
        return {}

    def _set_tags(self, fields: Fields) -> Fields:
        self._model(fields).tags |= texts_of(fields["tags"])
        return {}

    def _delete_tag(self, fields: Fields) -> Fields:
        if self._model(fields).tags.pop(fields["key"], None) is None:
            raise missing("no such tag")
        return {}
