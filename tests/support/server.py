"""A real MLflow server on loopback, and what it holds."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

START_TIMEOUT_S = 120

GUARD = '{ "$@"; kill -9 0; } & read -r _; kill -9 0'
"""Ends the whole process group when the server ends, and when the tests do: then the pipe on its input closes."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class MlflowServer:
    """Started in a process group of its own, ended by its id; it does not outlive the tests."""

    def __init__(
        self,
        folder: Path,
        artifacts: str | None = None,
        environ: Mapping[str, str] | None = None,
        store: str | None = None,
        workers: int = 1,
        artifact_root: str | None = None,
        python: Path | None = None,
    ) -> None:
        """``artifacts`` is where it keeps files, ``store`` the URI of its store: by default in its own folder.

        ``python`` is another environment's interpreter, with an MLflow of its own. ``environ`` is added to ours. With
        ``artifact_root`` clients are to write files there themselves.
        """
        self.folder = folder
        self._store = store or f"sqlite:///{folder}/mlflow.db"
        self._workers = str(workers)
        self._artifacts = artifacts or f"{folder}/artifacts"
        self._artifact_root = artifact_root
        self._python = str(python or sys.executable)
        self._environ = dict(environ or {})
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._http = httpx.Client(base_url=self.url, timeout=60)

    def start(self) -> None:
        command = [self._python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", self._workers, "--backend-store-uri", self._store]
        if self._artifact_root is None:
            command += ["--artifacts-destination", self._artifacts]
        else:
            command += ["--no-serve-artifacts", "--default-artifact-root", self._artifact_root]
        environ = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
        environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # several processes that have nothing to do here
        environ["PATH"] = os.pathsep.join([os.path.dirname(self._python), environ.get("PATH", os.defpath)])
        environ |= self._environ
        with open(self.folder / "server.log", "ab") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", GUARD, "sh", *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                env=environ,
            )
        until = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError((self.folder / "server.log").read_text()[-2000:])
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            return self._http.get("/version").status_code == 200
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(30)
            if self._process.stdin is not None:
                self._process.stdin.close()
            self._process = None

    def close(self) -> None:
        self._http.close()
        self.kill()

    # --- what it holds ---

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self._http.get(f"/api/2.0/mlflow/{path}", params=params).raise_for_status().json()
        return answer

    def post(self, path: str, **fields: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self._http.post(f"/api/2.0/mlflow/{path}", json=fields).raise_for_status().json()
        return answer

    def experiment_id(self, name: str) -> str:
        return str(self.get("experiments/get-by-name", experiment_name=name)["experiment"]["experiment_id"])

    def runs(self, experiment: str, view: str = "ALL") -> dict[str, dict[str, Any]]:
        """Runs of an experiment by our run id; more than one for an id fails."""
        asked = {"experiment_ids": [self.experiment_id(experiment)], "run_view_type": view, "max_results": 1000}
        found: dict[str, dict[str, Any]] = {}
        for run in self.post("runs/search", **asked).get("runs", []):
            run_id = tags_of(run)["mltrack.run_id"]
            assert run_id not in found, f"run {run_id} is there twice"
            found[run_id] = run
        return found

    def history(self, remote_id: str, key: str) -> Iterator[tuple[int, int, float]]:
        token: dict[str, str] = {}
        while True:
            asked = {"run_id": remote_id, "metric_key": key, "max_results": 25_000, **token}
            answer = self.get("metrics/get-history", **asked)
            for row in answer.get("metrics", []):
                yield int(row.get("step", 0)), int(row["timestamp"]), float(row["value"])
            if not answer.get("next_page_token"):
                return
            token = {"page_token": answer["next_page_token"]}

    def artifact(self, run: dict[str, Any], path: str) -> bytes:
        root = run["info"]["artifact_uri"].removeprefix("mlflow-artifacts:/")
        url = httpx.URL(f"{self.url}/api/2.0/mlflow-artifacts/artifacts/").join(f"{root}/{path}")
        return self._http.get(url).raise_for_status().content


def tags_of(run: dict[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in run["data"].get("tags", [])}


def params_of(run: dict[str, Any]) -> dict[str, str]:
    return {param["key"]: param["value"] for param in run["data"].get("params", [])}
