"""What really arrived: read from the MLflow server behind the emulator, and from its blob store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from .identifiers import run_hex
from .workspace import AzureEmulator, run_container


class Backend(Protocol):
    """The MLflow server, asked directly."""

    url: str

    def get(self, path: str, **params: Any) -> dict[str, Any]: ...

    def post(self, path: str, **fields: Any) -> dict[str, Any]: ...


class Contents:
    """Runs by the tag "mltrack.run_id", histories and artifacts, in the form that a plain MLflow server is read in."""

    def __init__(self, azure: AzureEmulator, backend: Backend) -> None:
        self._azure = azure
        self._backend = backend

    def experiment_id(self, name: str) -> str:
        """Of an experiment, as Azure gives it."""
        return self._azure.scope.experiment_guid(self._number(name))

    def all_runs(self, experiment: str, view: str = "ALL") -> list[dict[str, Any]]:
        """Every run of an experiment."""
        asked = {"experiment_ids": [self._number(experiment)], "run_view_type": view, "max_results": 1000}
        runs: list[dict[str, Any]] = self._backend.post("runs/search", **asked).get("runs", [])
        self._azure.front.rename(runs, self._azure.url)
        return runs

    def runs(self, experiment: str, view: str = "ALL") -> dict[str, dict[str, Any]]:
        """The runs by our run id; more than one for an id fails. Those that a rewind replaced are left out."""
        found: dict[str, dict[str, Any]] = {}
        for run in self.all_runs(experiment, view):
            tags = {tag["key"]: tag["value"] for tag in run["data"].get("tags", [])}
            if run["info"]["lifecycle_stage"] == "deleted" and "mltrack.run_id" not in tags:
                continue
            run_id = tags["mltrack.run_id"]
            assert run_id not in found, f"run {run_id} is there twice"
            found[run_id] = run
        return found

    def history(self, remote_id: str, key: str) -> Iterator[tuple[int, int, float]]:
        """All points of a metric: step, time in ms, value."""
        token: dict[str, str] = {}
        while True:
            asked = {"run_id": run_hex(remote_id), "metric_key": key, "max_results": 25_000, **token}
            answer = self._backend.get("metrics/get-history", **asked)
            for row in answer.get("metrics", []):
                yield int(row.get("step", 0)), int(row["timestamp"]), float(row["value"])
            if not answer.get("next_page_token"):
                return
            token = {"page_token": answer["next_page_token"]}

    def artifact(self, run: dict[str, Any], path: str) -> bytes:
        """The bytes of an artifact."""
        content = self._azure.artifacts.content(run_container(run["info"]["run_id"]), path)
        assert content is not None, f"{path} has no content"
        return content

    def artifacts(self, run: dict[str, Any]) -> dict[str, bytes | None]:
        """All artifacts of a run; None is a name without content."""
        container = run_container(run["info"]["run_id"])
        return {path: self._azure.artifacts.content(container, path) for path in self._azure.artifacts.paths(container)}

    def models(self) -> dict[str, list[dict[str, Any]]]:
        """The versions of each registered model, in order."""
        prefix = self._azure.scope.prefix
        answer = self._backend.get("registered-models/search", filter=f"name LIKE '{prefix}%'")
        found: dict[str, list[dict[str, Any]]] = {}
        for model in answer.get("registered_models", []):
            asked = {"filter": f"name='{model['name']}'", "max_results": 1000}
            versions = self._backend.get("model-versions/search", **asked).get("model_versions", [])
            self._azure.front.rename(versions, self._azure.url)
            for version in versions:
                version["name"] = version["name"].removeprefix(prefix)
            found[model["name"].removeprefix(prefix)] = sorted(versions, key=lambda version: int(version["version"]))
        return found

    def model(self, name: str) -> dict[str, Any]:
        """A registered model: tags, aliases, description."""
        asked = self._backend.get("registered-models/get", name=self._azure.scope.prefix + name)
        found: dict[str, Any] = asked["registered_model"]
        return found

    def _number(self, experiment: str) -> str:
        name = self._azure.scope.prefix + experiment
        return str(self._backend.get("experiments/get-by-name", experiment_name=name)["experiment"]["experiment_id"])
