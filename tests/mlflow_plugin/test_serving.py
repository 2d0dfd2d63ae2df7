"""MLflow's own commands that use a model: it is found by its alias in the store, and answers over HTTP."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

READY_S = 100
PAUSE_S = 0.2

DOUBLING = """
import mlflow

class Doubling(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input: list[float]) -> list[float]:
        return [2 * value for value in model_input]

mlflow.models.set_model(Doubling())
"""

REGISTERING = """
import mlflow

logged = mlflow.pyfunc.log_model(
    name="m", python_model="doubling.py", registered_model_name="double", pip_requirements=[]
)
mlflow.MlflowClient().set_registered_model_alias("double", "champion", logged.registered_model_version)
"""


@pytest.fixture(scope="module")
def store_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URI of a store that was moved after a model was registered in it under the alias ``champion``."""
    folder = tmp_path_factory.mktemp("serving")
    for name, script in {"doubling.py": DOUBLING, "registering.py": REGISTERING}.items():
        (folder / name).write_text(script)
    (folder / "made").mkdir()
    environment = _environment(f"mltrack://{folder}/made/.mltrack")
    done = subprocess.run(
        [sys.executable, "registering.py"], cwd=folder, env=environment, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    (folder / "made").rename(folder / "moved")
    return f"mltrack://{folder}/moved/.mltrack"


def _environment(store_uri: str) -> dict[str, str]:
    return {**os.environ, "MLFLOW_TRACKING_URI": store_uri}


def test_predict_reads_the_model_by_its_alias(store_uri: str, tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text(json.dumps({"inputs": [1.0, 2.5]}))
    command = [sys.executable, "-m", "mlflow", "models", "predict", "-m", "models:/double@champion"]
    command += ["--env-manager", "local", "-t", "json", "-i", "in.json", "-o", "out.json"]
    done = subprocess.run(
        command, cwd=tmp_path, env=_environment(store_uri), capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out.json").read_text()) == {"predictions": [2.0, 5.0]}


@pytest.fixture
def address(store_uri: str, tmp_path: Path) -> Iterator[str]:
    """Where a server answers for the model."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/double@champion"]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    path = f"{_folder_with_uvicorn(tmp_path / 'bin')}:{os.environ['PATH']}"
    with open(tmp_path / "serve.log", "wb") as log:
        server = subprocess.Popen(
            command,
            cwd=tmp_path,
            env={**_environment(store_uri), "PATH": path},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _wait_until_it_answers(f"http://127.0.0.1:{port}/ping", server, tmp_path / "serve.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def _folder_with_uvicorn(folder: Path) -> Path:
    """Where the command lies that MLflow looks for in the PATH: this Python's, also when its folder is not in it."""
    folder.mkdir()
    (folder / "uvicorn").write_text(f'#!/bin/sh\nexec {sys.executable} -m uvicorn "$@"\n')
    (folder / "uvicorn").chmod(0o755)
    return folder


def _wait_until_it_answers(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(int(READY_S / PAUSE_S)):
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                assert answer.status == 200
                return
        except OSError:
            assert server.poll() is None, log.read_text()
            time.sleep(PAUSE_S)
    raise AssertionError(log.read_text())


def test_serve_serves_the_model_by_its_alias(address: str) -> None:
    body = json.dumps({"inputs": [1.0, 2.5]}).encode()
    request = urllib.request.Request(f"{address}/invocations", data=body, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert json.load(answer) == {"predictions": [2.0, 5.0]}
