"""The MLflow front: checks a call as Azure does, has a real MLflow server do it, and gives the answer Azure's names."""

from __future__ import annotations

import json
import re
import secrets
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import httpx

from .exchange import Refused, Request, Response, as_json
from .identifiers import GUID, Scope, run_guid, run_hex
from .limits import AzureLimits, Batch, RunTally, check_call

_ABSENT = ("logged-models", "traces", "assessments", "scorers", "runs/outputs", "gateway", "prompt-optimization")
_NAMED_EXPERIMENT = {"experiments/create": "name", "experiments/get-by-name": "experiment_name"}
_NAME_TERM = re.compile(r"\b(name\s*(?:=|!=|LIKE|ILIKE)\s*')", re.IGNORECASE)
_RUN_TERM = re.compile(rf"(\brun_id\s*=\s*')({GUID.pattern})'", re.IGNORECASE)

Point = tuple[str, str, int, int, str]


class MlflowFront:
    """Stands before the MLflow server at ``backend_url``. Model versions are pending for ``pending_gets`` gets."""

    def __init__(self, scope: Scope, backend_url: str) -> None:
        self.scope = scope
        self.pending_gets = 0
        self.tally = RunTally()
        self.points: Counter[Point] = Counter()
        self._http = httpx.Client(base_url=backend_url, timeout=120, limits=httpx.Limits(max_connections=64))
        self._pending: Counter[str] = Counter()
        self._lock = threading.Lock()

    def close(self) -> None:
        self._http.close()

    def answer(self, request: Request, call: str, version: str, limits: AzureLimits) -> Response:
        """One call of MLflow's REST API."""
        if version != "2.0" or call.startswith(_ABSENT):
            return Response(404)
        fields = dict(_query(request)) if request.method == "GET" else request.fields()
        if request.method == "GET" and request.body:
            fields.update(request.fields())
        check_call(call, fields, limits)
        if call == "runs/get-run-data-status":
            return as_json({"is_complete": True})
        name = str(fields.get("experiment_name", ""))
        if call == "experiments/get-by-name" and "/" in name:
            raise Refused(404, "UserError", f"No experiment {name!r}", error_code="RESOURCE_DOES_NOT_EXIST")
        batch = Batch.of(call, fields) if "run_id" in fields else None
        run_id = run_hex(str(fields.get("run_id", "")))
        if batch is not None:
            self.tally.check(run_id, batch, limits)
        self._inward(call, fields)
        response = self._forward(request.method, call, fields)
        if batch is not None:
            self.tally.add(run_id, batch)
            self._count(run_id, batch)
        return self._outward(request, call, response)

    # --- to the server behind ---

    def _inward(self, call: str, fields: dict[str, Any]) -> None:
        for key in ("run_id", "run_uuid"):
            if isinstance(fields.get(key), str):
                fields[key] = run_hex(fields[key])
        if "experiment_id" in fields:
            fields["experiment_id"] = self.experiment_id(str(fields["experiment_id"]))
        if "experiment_ids" in fields:
            fields["experiment_ids"] = [self.experiment_id(str(item)) for item in fields["experiment_ids"]]
        field = _NAMED_EXPERIMENT.get(call)
        if call.startswith(("registered-models/", "model-versions/")):
            field = "name"
        if field and isinstance(fields.get(field), str):
            fields[field] = self.scope.prefix + fields[field]
        if call in ("experiments/search", "registered-models/search", "model-versions/search"):
            self._narrow(call, fields)

    def _narrow(self, call: str, fields: dict[str, Any]) -> None:
        wanted = _NAME_TERM.sub(rf"\g<1>{self.scope.prefix}", str(fields.get("filter") or ""))
        wanted = _RUN_TERM.sub(lambda found: f"{found[1]}{run_hex(found[2])}'", wanted)
        if call == "model-versions/search" or "name" in wanted:
            fields["filter"] = wanted
        else:
            mine = f"name LIKE '{self.scope.prefix}%'"
            fields["filter"] = f"{wanted} AND {mine}" if wanted else mine

    def experiment_id(self, guid: str) -> str:
        """The id on the server behind."""
        found = self.scope.experiment_id(guid)
        if found is None:
            message = f"Experiment {guid} was not found in workspace {self.scope.workspace}."
            raise Refused(404, "UserError", message, error_code="RESOURCE_DOES_NOT_EXIST")
        return found

    def experiment_named(self, name: str) -> str:
        """The id on the server behind, of an experiment by its name."""
        asked = {"experiment_name": self.scope.prefix + name}
        answer = self._forward("GET", "experiments/get-by-name", asked).json()
        return str(answer["experiment"]["experiment_id"])

    def _forward(self, method: str, call: str, fields: Mapping[str, Any]) -> httpx.Response:
        target = "runs/log-batch" if call == "runs/log-batch-async" else call
        url = f"/api/2.0/mlflow/{target}"
        try:
            if method == "GET":
                response = self._http.get(url, params=urlencode(fields, doseq=True))
            else:
                response = self._http.request(method, url, json=fields)
        except httpx.TransportError as error:
            raise Refused(503, "ServiceUnavailable", str(error), error_code="TEMPORARILY_UNAVAILABLE") from error
        if response.status_code == 200:
            return response
        try:
            said = response.json()
        except ValueError:
            said = {"message": response.text[:300]}
        message = str(said.get("message", "")).replace(self.scope.prefix, "")
        raise Refused(response.status_code, "UserError", message, error_code=str(said.get("error_code", "")))

    def _count(self, run_id: str, batch: Batch) -> None:
        with self._lock:
            for item in batch.metrics:
                step, time_ms = int(item.get("step") or 0), int(item.get("timestamp") or 0)
                self.points[(run_guid(run_id), str(item["key"]), step, time_ms, str(item["value"]))] += 1

    # --- and back ---

    def _outward(self, request: Request, call: str, response: httpx.Response) -> Response:
        if call == "metrics/get-history":
            return Response(200, response.content, {"Content-Type": "application/json; charset=utf-8"})
        if call == "runs/log-batch-async":
            return as_json({"batch_tracking_id": secrets.token_hex(8)})
        fields = json.loads(response.content.replace(self.scope.prefix.encode(), b"") or b"{}")
        self.rename(fields, request.base_url)
        if call == "model-versions/create":
            version = fields["model_version"]
            self._pending[f"{version['name']}/{version['version']}"] = self.pending_gets
        if call in ("model-versions/create", "model-versions/get"):
            self._keep_pending(fields["model_version"], call)
        return as_json(fields)

    def _keep_pending(self, version: dict[str, Any], call: str) -> None:
        key = f"{version['name']}/{version['version']}"
        with self._lock:
            if self._pending[key] > 0:
                version["status"] = "PENDING_REGISTRATION"
                self._pending[key] -= call.endswith("/get")

    def rename(self, fields: Any, base_url: str) -> None:
        """Give everything in an answer the names that Azure gives."""
        if isinstance(fields, list):
            for item in fields:
                self.rename(item, base_url)
        if not isinstance(fields, dict):
            return
        for key in ("run_id", "run_uuid"):
            if isinstance(fields.get(key), str):
                fields[key] = run_guid(fields[key])
        if isinstance(fields.get("experiment_id"), str) and fields["experiment_id"].isdigit():
            fields["experiment_id"] = self.scope.experiment_guid(fields["experiment_id"])
        root = f"azureml://{base_url.partition('://')[2]}/mlflow/v2.0{self.scope.path}"
        if "artifact_uri" in fields and "experiment_id" in fields:  # not the one of a model version
            run = f"experiments/{quote(fields['experiment_id'], safe='')}/runs/{fields['run_id']}"
            fields["artifact_uri"] = f"{root}/{run}/artifacts"
        if "artifact_location" in fields:
            fields["artifact_location"] = f"{root}/experiments/{fields['experiment_id']}"
        for item in fields.values():
            self.rename(item, base_url)


def _query(request: Request) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in parse_qsl(request.query_string, keep_blank_values=True):
        if key in found:
            found[key] = [*(found[key] if isinstance(found[key], list) else [found[key]]), value]
        else:
            found[key] = value
    return found
