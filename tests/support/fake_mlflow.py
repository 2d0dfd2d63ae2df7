"""An MLflow server in memory, in place of the network: what pushes and comparisons ask of one, no sockets, no threads.

``tests/sync/mlflow/api/test_fake_mlflow.py`` holds it against the real server.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

import httpx

from tests.support.fake_models import FakeModels
from tests.support.fake_parts import Fields, Refused, pairs_of, texts_of, unknown_call
from tests.support.fake_traces import FakeTraces

__all__ = [
    "AnswerLost",
    "FakeMlflow",
    "FakeRun",
    "Fields",
    "Refused",
    "busy_twice",
    "failing_once",
    "points_sent",
    "unsupported",
]

API = "/api/2.0/mlflow/"
API_3 = "/api/3.0/mlflow/"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts/"
_TAG = re.compile(r"tags\.`([^`]*)` = '([^']*)'")

Point = tuple[str, int, int, float]


class AnswerLost(Exception):
    """Raised by a fault: the server does what it was asked, and no answer comes."""


@dataclass
class FakeRun:
    """A run as the server keeps it."""

    info: Fields
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    datasets: list[Fields] = field(default_factory=list)
    used: list[str] = field(default_factory=list)
    made: dict[str, int] = field(default_factory=dict)

    def fields(self) -> Fields:
        latest: dict[str, Point] = {}
        for point in self.points:
            known = latest.get(point[0])
            if known is None or (point[1], point[2]) >= (known[1], known[2]):
                latest[point[0]] = point
        metrics = [_metric(point) for point in latest.values()]
        return {
            "info": self.info,
            "data": {"params": pairs_of(self.params), "tags": pairs_of(self.tags), "metrics": metrics},
            "inputs": {"dataset_inputs": self.datasets, "model_inputs": [{"model_id": each} for each in self.used]},
            "outputs": {"model_outputs": [{"model_id": each, "step": step} for each, step in self.made.items()]},
        }


class FakeMlflow(httpx.BaseTransport):
    """Give it as ``http``. ``fault`` is asked with each call and its fields before it is done.

    A fault raises Refused, AnswerLost or an error of httpx's, which is met before anything was done. ``calls`` are all
    calls that came, with their fields.
    """

    def __init__(self) -> None:
        self.experiments: dict[str, Fields] = {}
        self.runs: dict[str, FakeRun] = {}
        self.files: dict[str, bytes] = {}
        self.models: dict[str, Fields] = {}
        self.versions: dict[str, list[Fields]] = {}
        self.calls: list[tuple[str, Fields]] = []
        self.status_of_new_versions = "READY"
        self.server_version = "3.17.2"
        """Of MLflow; with "" it does not say which."""
        self.fault: Callable[[str, Fields], None] = lambda call, fields: None
        self._ids = itertools.count(1)
        self.logged = FakeModels(self._ids, self.files)
        self.traces = FakeTraces()
        self._lock = threading.Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        body = request.read()
        with self._lock:
            call, fields = _call_of(request, body)
            self.calls.append((call, fields))
            try:
                is_lost = self._is_lost(call, fields)
                answer: Fields | httpx.Response
                if call == "version":
                    answer = httpx.Response(200 if self.server_version else 404, text=self.server_version)
                elif call.startswith("artifacts "):
                    answer = self._file(request.method, fields["path"], body)
                else:
                    answer = self._do(call, fields, request)
            except Refused as error:
                return httpx.Response(error.status, json={"error_code": error.code, "message": str(error)})
        if is_lost:
            raise httpx.ReadError("connection reset")
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)

    def points_of(self, run: FakeRun) -> list[Point]:
        """Sorted, with those that came twice."""
        return sorted(run.points)

    def _is_lost(self, call: str, fields: Fields) -> bool:
        try:
            self.fault(call, fields)
        except AnswerLost:
            return True
        return False

    def _do(self, call: str, fields: Fields, request: httpx.Request) -> Fields:
        kind = call.rpartition(" ")[2].partition("/")[0]
        if kind == "logged-models":
            return self.logged.answer(call, fields)
        if kind in ("traces", "v1"):
            return self.traces.answer(call, fields)
        name = f"_{call.replace('/', '_').replace('-', '_')}"
        if call.endswith("/alias") and request.method == "DELETE":
            name += "_delete"
        method = getattr(self, name, None)
        if method is None:
            raise unknown_call(call)
        answer: Fields = method(fields)
        return answer

    def _file(self, method: str, path: str, body: bytes) -> httpx.Response:
        if method == "PUT":
            self.files[path] = body
            return httpx.Response(200, json={})
        if path not in self.files:
            raise Refused("no such file", "RESOURCE_DOES_NOT_EXIST", 404)
        return httpx.Response(200, content=self.files[path])

    # --- what other clients make ---

    def make_experiment(self, name: str, tags: dict[str, str] | None = None) -> str:
        """An experiment; its id."""
        return str(self._experiments_create({"name": name, "tags": pairs_of(tags or {})})["experiment_id"])

    def make_run(
        self,
        experiment_id: str,
        *,
        name: str = "theirs",
        tags: dict[str, str] | None = None,
        params: dict[str, str] | None = None,
        points: Sequence[Point] = (),
    ) -> str:
        """A run that has ended; its id."""
        info = {"experiment_id": experiment_id, "run_name": name, "user_id": "ada", "start_time": 1000}
        made = self._runs_create({**info, "tags": pairs_of(tags or {})})
        run = self.runs[made["run"]["info"]["run_id"]]
        run.info |= {"status": "FINISHED", "end_time": 2000}
        run.params |= params or {}
        run.points += points
        return str(run.info["run_id"])

    def make_version(
        self,
        name: str,
        source: str,
        *,
        run_id: str = "",
        description: str = "",
        tags: dict[str, str] | None = None,
        of_tags: dict[str, str] | None = None,
    ) -> Fields:
        """A version of a registered model, which is made with ``of_tags`` if there is none; as it is kept."""
        if name not in self.models:
            self._registered_models_create({"name": name, "tags": pairs_of(of_tags or {})})
        fields = {"name": name, "source": source, "description": description, "tags": pairs_of(tags or {})}
        self._model_versions_create(fields | ({"run_id": run_id} if run_id else {}))
        return self.versions[name][-1]

    # --- experiments ---

    def _experiments_search(self, fields: Fields) -> Fields:
        found = [e for e in self.experiments.values() if _matches(e["tags"], fields)]
        return {"experiments": [_with_pairs(e) for e in found]} if found else {}

    def _experiments_get_by_name(self, fields: Fields) -> Fields:
        for experiment in self.experiments.values():
            if experiment["name"] == fields["experiment_name"]:
                return {"experiment": _with_pairs(experiment)}
        raise Refused("no such experiment", "RESOURCE_DOES_NOT_EXIST", 404)

    def _experiments_get(self, fields: Fields) -> Fields:
        if fields["experiment_id"] not in self.experiments:
            raise Refused("no such experiment", "RESOURCE_DOES_NOT_EXIST", 404)
        return {"experiment": _with_pairs(self.experiments[fields["experiment_id"]])}

    def _experiments_create(self, fields: Fields) -> Fields:
        if any(e["name"] == fields["name"] for e in self.experiments.values()):
            raise Refused("an experiment of that name exists", "RESOURCE_ALREADY_EXISTS")
        made = str(next(self._ids))
        about = {"experiment_id": made, "name": fields["name"], "lifecycle_stage": "active", "creation_time": 1}
        self.experiments[made] = {**about, "tags": texts_of(fields.get("tags", []))}
        return {"experiment_id": made}

    def _experiments_set_experiment_tag(self, fields: Fields) -> Fields:
        self.experiments[fields["experiment_id"]]["tags"][fields["key"]] = fields["value"]
        return {}

    # --- runs ---

    def _runs_create(self, fields: Fields) -> Fields:
        made = f"{next(self._ids):032x}"
        uri = f"mlflow-artifacts:/{fields['experiment_id']}/{made}/artifacts"
        info = {key: fields[key] for key in ("experiment_id", "run_name", "user_id", "start_time")}
        info |= {"run_id": made, "status": "RUNNING", "lifecycle_stage": "active", "artifact_uri": uri}
        self.runs[made] = FakeRun(info, tags={**texts_of(fields.get("tags", [])), "mlflow.runName": fields["run_name"]})
        return {"run": self.runs[made].fields()}

    def _runs_search(self, fields: Fields) -> Fields:
        is_all = fields.get("run_view_type") == "ALL"
        mine = [r for r in self.runs.values() if r.info["experiment_id"] in fields["experiment_ids"]]
        found = [r for r in mine if _matches(r.tags, fields) and (is_all or r.info["lifecycle_stage"] == "active")]
        return {"runs": [run.fields() for run in found]} if found else {}

    def _runs_get(self, fields: Fields) -> Fields:
        return {"run": self._run(fields).fields()}

    def _runs_update(self, fields: Fields) -> Fields:
        run = self._active(fields)
        run.info |= {key: fields[key] for key in ("status", "end_time", "run_name") if key in fields}
        if "run_name" in fields:
            run.tags["mlflow.runName"] = fields["run_name"]
        return {"run_info": run.info}

    def _runs_delete(self, fields: Fields) -> Fields:
        self._run(fields).info["lifecycle_stage"] = "deleted"
        return {}

    def _runs_restore(self, fields: Fields) -> Fields:
        self._run(fields).info["lifecycle_stage"] = "active"
        return {}

    def _runs_delete_tag(self, fields: Fields) -> Fields:
        if self._active(fields).tags.pop(fields["key"], None) is None:
            raise Refused("no such tag", "RESOURCE_DOES_NOT_EXIST", 404)
        return {}

    def _runs_log_batch(self, fields: Fields) -> Fields:
        run = self._active(fields)
        params = texts_of(fields.get("params", []))
        if any(run.params.get(key, value) != value for key, value in params.items()):
            raise Refused("Changing param values is not allowed.")
        run.params |= params
        run.tags |= texts_of(fields.get("tags", []))
        for m in fields.get("metrics", []):
            point = (m["key"], int(m.get("step", 0)), int(m["timestamp"]), float(m["value"]))
            if "model_id" in m:
                self.logged.add_metric(fields["run_id"], m)
            if "model_id" not in m or point not in run.points:  # one that comes with a model was sent before
                run.points.append(point)
        return {}

    def _runs_log_inputs(self, fields: Fields) -> Fields:
        run = self._active(fields)
        names = {(each["dataset"]["name"], each["dataset"]["digest"]) for each in run.datasets}
        new = (each for each in fields.get("datasets", []))
        run.datasets += [e for e in new if (e["dataset"]["name"], e["dataset"]["digest"]) not in names]
        run.used += [e["model_id"] for e in fields.get("models", []) if e["model_id"] not in run.used]
        return {}

    def _runs_outputs(self, fields: Fields) -> Fields:
        run, models = self._active(fields), {each["model_id"]: each.get("step", 0) for each in fields["models"]}
        if run.made.keys() & models.keys():
            raise Refused("it is linked already", "BAD_REQUEST")
        run.made |= models
        return {}

    def _metrics_get_history(self, fields: Fields) -> Fields:
        found = [_metric(point) for point in self._run(fields).points if point[0] == fields["metric_key"]]
        return {"metrics": found} if found else {}

    def _artifacts_list(self, fields: Fields) -> Fields:
        root = self._run(fields).info["artifact_uri"].removeprefix("mlflow-artifacts:/") + "/"
        folder = fields.get("path", "")
        start = f"{folder}/" if folder else ""
        mine = {path.removeprefix(root): data for path, data in self.files.items() if path.startswith(root + start)}
        found = {}
        for path, data in mine.items():
            first, _, more = path.removeprefix(start).partition("/")
            found[start + first] = {"is_dir": True} if more else {"is_dir": False, "file_size": len(data)}
        return {"files": [{"path": path, **about} for path, about in sorted(found.items())]}

    def _run(self, fields: Fields) -> FakeRun:
        if fields["run_id"] not in self.runs:
            raise Refused(f"Run with id={fields['run_id']} not found", "RESOURCE_DOES_NOT_EXIST", 404)
        return self.runs[fields["run_id"]]

    def _active(self, fields: Fields) -> FakeRun:
        run = self._run(fields)
        if run.info["lifecycle_stage"] == "deleted":
            raise Refused("The run must be in the 'active' state.")
        return run

    # --- the registry ---

    def _registered_models_create(self, fields: Fields) -> Fields:
        name = fields["name"]
        if name in self.models:
            raise Refused(f"Registered Model (name={name}) already exists.", "RESOURCE_ALREADY_EXISTS")
        tags = texts_of(fields.get("tags", []))
        about = {"name": name, "description": fields.get("description", ""), "creation_timestamp": self._time()}
        self.models[name] = {**about, "tags": tags, "aliases": {}}
        self.versions[name] = []
        return {"registered_model": _with_pairs(self.models[name])}

    def _registered_models_get(self, fields: Fields) -> Fields:
        if fields["name"] not in self.models:
            raise Refused("no such model", "RESOURCE_DOES_NOT_EXIST", 404)
        model = self.models[fields["name"]]
        return {"registered_model": {**_with_pairs(model), "aliases": _aliases(model)}}

    def _registered_models_update(self, fields: Fields) -> Fields:
        self.models[fields["name"]]["description"] = fields["description"]
        return {}

    def _registered_models_set_tag(self, fields: Fields) -> Fields:
        self.models[fields["name"]]["tags"][fields["key"]] = fields["value"]
        return {}

    def _registered_models_delete_tag(self, fields: Fields) -> Fields:
        self.models[fields["name"]]["tags"].pop(fields["key"], None)
        return {}

    def _registered_models_alias(self, fields: Fields) -> Fields:
        self.models[fields["name"]]["aliases"][fields["alias"]] = fields["version"]
        return {}

    def _registered_models_alias_delete(self, fields: Fields) -> Fields:
        self.models[fields["name"]]["aliases"].pop(fields["alias"], None)
        return {}

    def _registered_models_search(self, fields: Fields) -> Fields:
        found = [{**_with_pairs(m), "aliases": _aliases(m)} for m in self.models.values() if _is_searched(m, fields)]
        return {"registered_models": found} if found else {}

    def _model_versions_search(self, fields: Fields) -> Fields:
        asked = fields.get("filter", "")
        mine = [vs for name, vs in self.versions.items() if "name=" not in asked or f"name='{name}'" in asked]
        found = [v for vs in mine for v in vs if "name=" in asked or _is_searched(v, fields)]
        return {"model_versions": [_with_pairs(v) for v in found]} if found else {}

    def _model_versions_create(self, fields: Fields) -> Fields:
        versions = self.versions[fields["name"]]
        made = {**fields, "version": str(len(versions) + 1), "current_stage": "None"}
        made |= {"status": self.status_of_new_versions, "creation_timestamp": self._time()}
        versions.append({**made, "tags": texts_of(fields.get("tags", []))})
        return {"model_version": _with_pairs(versions[-1])}

    def _model_versions_get(self, fields: Fields) -> Fields:
        return {"model_version": _with_pairs(self._version(fields))}

    def _model_versions_update(self, fields: Fields) -> Fields:
        self._version(fields)["description"] = fields["description"]
        return {}

    def _model_versions_set_tag(self, fields: Fields) -> Fields:
        self._version(fields)["tags"][fields["key"]] = fields["value"]
        return {}

    def _model_versions_transition_stage(self, fields: Fields) -> Fields:
        self._version(fields)["current_stage"] = fields["stage"]
        return {}

    def _time(self) -> int:
        """A time of its own, in ms, for each thing that is made."""
        return 1_000_000 + next(self._ids)

    def _version(self, fields: Fields) -> Fields:
        for version in self.versions.get(fields["name"], []):
            if version["version"] == fields["version"]:
                return version
        raise Refused("no such version", "RESOURCE_DOES_NOT_EXIST", 404)


def _call_of(request: httpx.Request, body: bytes) -> tuple[str, Fields]:
    """The call and its fields, with the ids that its path names; where it names one, the method is part of the call."""
    path, method = request.url.path, request.method
    if path.startswith(ARTIFACTS):
        return f"artifacts {method}", {"path": unquote(path.removeprefix(ARTIFACTS))}
    if path == "/v1/traces":
        return "v1/traces", {"experiment_id": request.headers["x-mlflow-experiment-id"], "body": body}
    if path == "/version":
        return "version", {}
    fields = {**request.url.params, **(json.loads(body) if body else {})}
    call = path.removeprefix(API)
    if call.startswith("traces/tr-"):
        return f"{method} traces/end", fields
    if path.startswith(API_3) or (call.startswith("logged-models") and not call.endswith("/search")):
        kind, *ids = [unquote(piece) for piece in request.url.raw_path.decode().partition("?")[0].split("/")[4:]]
        return _call_on(f"{method} {kind}", ids, fields)
    return call, fields


def _call_on(call: str, ids: list[str], fields: Fields) -> tuple[str, Fields]:
    if ids and ids[0] in ("get", "batchGetInfos", "search"):
        return f"{call}/{ids[0]}", fields
    if ids:
        fields["model_id" if call.endswith("logged-models") else "trace_id"] = ids[0]
    if len(ids) > 1:
        call = f"{call}/{ids[1]}"
    if len(ids) > 2:
        fields["assessment_id" if ids[1] == "assessments" else "key"] = ids[2]
    return call, fields


def _matches(tags: dict[str, str], fields: Fields) -> bool:
    found = _TAG.search(fields.get("filter", ""))
    return found is None or tags.get(found[1]) == found[2]


def _is_searched(thing: Fields, fields: Fields) -> bool:
    """Prompts are found only where they are asked for."""
    is_prompt: bool = thing["tags"].get("mlflow.prompt.is_prompt") == "true"
    return is_prompt == ("is_prompt" in fields.get("filter", ""))


def _aliases(model: Fields) -> list[Fields]:
    return [{"alias": alias, "version": number} for alias, number in model["aliases"].items()]


def _with_pairs(thing: Fields) -> Fields:
    return {**{key: value for key, value in thing.items() if key != "aliases"}, "tags": pairs_of(thing["tags"])}


def _metric(point: Point) -> Fields:
    key, step, time, value = point
    return {"key": key, "step": step, "timestamp": time, "value": value if math.isfinite(value) else str(value)}


def points_sent(calls: list[tuple[str, Fields]]) -> Iterator[int]:
    """How many points each batch held."""
    for call, fields in calls:
        if call == "runs/log-batch" and "metrics" in fields:
            yield len(fields["metrics"])


def failing_once(call: str, error: Exception) -> Callable[[str, Fields], None]:
    """A fault of the first such call."""
    seen: list[str] = []

    def fault(asked: str, fields: Fields) -> None:
        if asked == call and not seen:
            seen.append(asked)
            raise error

    return fault


def busy_twice(call: str) -> tuple[list[str], Callable[[str, Fields], None]]:
    """The calls of that name so far, and a fault of the first two: the server is busy."""
    asked: list[str] = []

    def fault(made: str, fields: Fields) -> None:
        if made == call:
            asked.append(made)
            if len(asked) < 3:
                raise Refused("busy", "TEMPORARILY_UNAVAILABLE", 503)

    return asked, fault


def unsupported(words: str) -> Callable[[str, Fields], None]:
    """A fault of all calls that have these words in their names: the server does not know them."""

    def fault(call: str, fields: Fields) -> None:
        if words in call:
            raise Refused("no such call", "ENDPOINT_NOT_FOUND", 404)

    return fault
