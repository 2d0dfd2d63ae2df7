"""A bare client of the emulated workspace, that does only what it is told."""

from __future__ import annotations

import ssl
from typing import Any

import httpx

from tests.support.azure.emulator import AzureEmulator


class AzureClient:
    """Keeps one bearer token until it is told to take another."""

    def __init__(self, azure: AzureEmulator) -> None:
        self._azure = azure
        context = ssl.create_default_context(cafile=str(azure.certificate.bundle))
        self.http = httpx.Client(verify=context, timeout=30, trust_env=False)
        self.token = azure.tokens.issue().text

    def close(self) -> None:
        self.http.close()

    @property
    def authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def get(self, call: str, **query: Any) -> httpx.Response:
        return self.http.get(self._mlflow(call), params=query, headers=self.authorization)

    def post(self, call: str, **fields: Any) -> httpx.Response:
        return self.http.post(self._mlflow(call), json=fields, headers=self.authorization)

    def create_run(self, experiment: str, **fields: Any) -> dict[str, Any]:
        """The run's info, in a new experiment."""
        created = self.post("experiments/create", name=experiment).raise_for_status().json()
        answer = self.post("runs/create", experiment_id=created["experiment_id"], start_time=1, **fields)
        info: dict[str, Any] = answer.raise_for_status().json()["run"]["info"]
        return info

    def make_artifacts(self, info: dict[str, Any], *paths: str, by: str = "experimentids") -> dict[str, Any]:
        """The answer to the batch of names."""
        body = {"paths": [{"path": path} for path in paths]}
        url = f"{self.artifacts_url(info, by)}/batch/metadata"
        found: dict[str, Any] = self.http.post(url, json=body, headers=self.authorization).raise_for_status().json()
        return found

    def artifacts_url(self, info: dict[str, Any], by: str = "experimentids") -> str:
        scope = f"{self._azure.url}/history/v1.0{self._azure.scope.path}"
        return f"{scope}/{by}/{info['experiment_id']}/runs/{info['run_id']}/artifacts"

    def put(self, url: str, content: bytes, **headers: str) -> httpx.Response:
        """A single put; header names with underscores for dashes."""
        usual = {"x-ms-blob-type": "BlockBlob", "If-None-Match": "*"}
        return self.http.put(
            url, content=content, headers={**usual, **{k.replace("_", "-"): v for k, v in headers.items()}}
        )

    def _mlflow(self, call: str) -> str:
        return f"{self._azure.url}/mlflow/v2.0{self._azure.scope.path}/api/2.0/mlflow/{call}"
