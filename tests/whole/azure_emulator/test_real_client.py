"""The emulator held against the real azureml-mlflow package, so that it is no mirror of our own ideas."""

from __future__ import annotations

import json
import math
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT
from tests.support.azure.emulator import AzureEmulator, Contents, throttled, unavailable
from tests.support.azure.real_environment import real_environment

pytestmark = [pytest.mark.azureml, pytest.mark.timeout(900)]

REAL_CLIENT = ROOT / "tests/support/azure/real_client.py"
CREDENTIALS = ("AZURE_", "AZUREML_", "MLFLOW_", "IDENTITY_", "MSI_", "DATABRICKS_")
LARGE_BYTES = 70_000_000

Script = Callable[..., dict[str, Any]]


@pytest.fixture
def script(azure: AzureEmulator, tmp_path: Path) -> Script:
    """Runs one part of real_client.py, which knows nothing of the emulator."""
    python = real_environment()

    def run(part: str, **environ: str) -> dict[str, Any]:
        folder = tmp_path / part
        folder.mkdir()
        usual = {key: value for key, value in os.environ.items() if not key.startswith(CREDENTIALS)}
        command = [str(python), "-P", str(REAL_CLIENT), part]
        done = subprocess.run(
            command,
            env={**usual, "HOME": str(folder), **environ},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        found: dict[str, Any] = json.loads((folder / "result.json").read_text())
        return found

    return run


def test_an_unmodified_script_logs_reads_back_and_registers(
    azure: AzureEmulator, azure_contents: Contents, script: Script
) -> None:
    # MLflow's own client always asks for pages of 25,000, which the service did not take at all times.
    azure.limits = replace(azure.limits, history_rows_max=25_000)
    saw = script("whole", WORKSPACE_URL=f"{azure.url}{azure.scope.path}", **azure.environ())

    (run,) = azure_contents.all_runs("spirals")
    assert (run["info"]["run_id"], run["info"]["experiment_id"]) == (saw["run_id"], saw["experiment_id"])
    assert (run["info"]["run_name"], run["info"]["status"]) == ("first", "FINISHED")
    assert run["info"]["artifact_uri"] == saw["artifact_uri"]
    params = {item["key"]: item["value"] for item in run["data"]["params"]}
    assert params == {"lr": "0.1", "layers": "3", "late": "1"}
    assert {"key": "team", "value": "red"} in run["data"]["tags"]
    points = [(0, 1.0), (1, 0.5), (2, 1 / 3)]
    assert [(step, value) for step, _, value in azure_contents.history(saw["run_id"], "loss")] == points
    assert [tuple(point) for point in saw["history"]] == points
    ((_, _, odd),) = azure_contents.history(saw["run_id"], "odd")
    assert math.isnan(odd)
    assert saw["found"] == [saw["run_id"]]

    arrived = azure_contents.artifacts(run)
    weights = bytes(range(256)) * 100
    assert arrived.keys() == {"notes/hello.txt", "model/MLmodel", "model/weights.bin", "model/empty", "large.bin"}
    assert (arrived["notes/hello.txt"], arrived["model/empty"]) == (b"hello", b"")
    assert arrived["model/weights.bin"] == weights
    assert arrived["large.bin"] == bytes(LARGE_BYTES)
    assert saw["listed"] == ["large.bin", "model", "notes"]
    assert saw["down"] == {name: len(arrived[f"model/{name}"] or b"") for name in ("MLmodel", "empty", "weights.bin")}
    assert saw["note"] == "hello"
    assert {"MLmodel", "empty", "weights.bin"} <= set(saw["registered"])
    assert saw["again"].endswith("/model/weights.bin already exists.")

    (first, second) = saw["versions"]
    assert first == ["1", "READY", f"{saw['artifact_uri']}/model", saw["run_id"]]
    assert second[:2] == ["2", "READY"]
    assert second[2].startswith("azureml://artifacts/LocalUpload/")
    assert [version["source"] for version in azure_contents.models()["net"]] == [first[2], second[2]]
    assert azure_contents.model("net")["aliases"] == [{"alias": "champion", "version": "1"}]


def test_the_real_client_sends_what_we_expect(azure: AzureEmulator, script: Script) -> None:
    azure.limits = replace(azure.limits, history_rows_max=25_000)
    script("whole", WORKSPACE_URL=f"{azure.url}{azure.scope.path}", **azure.environ())
    kinds = azure.traffic.kinds()
    assert kinds["identity"] >= 1
    assert kinds["unknown"] == 0
    assert kinds["blob/block-list"] == 1
    assert kinds["blob/block"] == math.ceil(LARGE_BYTES / (4 << 20))
    puts = azure.traffic.of("blob/put")
    assert puts
    for put in puts:
        assert (put.headers["x-ms-blob-type"], put.headers["if-none-match"]) == ("BlockBlob", "*")
    assert not any("authorization" in seen.headers for seen in azure.traffic.of("blob/*"))
    assert all("authorization" in seen.headers for seen in azure.traffic.of("artifacts/*"))
    asked = azure.traffic.of("identity")[0]
    assert asked.query_string == "api-version=2019-08-01&resource=https://management.azure.com"


def test_the_real_client_survives_short_tokens_and_throttling(
    azure: AzureEmulator, azure_contents: Contents, script: Script
) -> None:
    azure.limits = replace(azure.limits, history_rows_max=25_000)
    azure.tokens.life_s = 2
    azure.faults.on("mlflow/runs/log-batch", throttled(retry_after=0))
    azure.faults.on("mlflow/runs/update", unavailable(503))
    azure.faults.on("artifacts/list", throttled(retry_after=0))
    azure.faults.on("blob/block", unavailable(503))
    saw = script("whole", WORKSPACE_URL=f"{azure.url}{azure.scope.path}", **azure.environ())
    assert azure.traffic.count(status=429) == 2
    assert azure.traffic.count(status=503) == 2
    assert azure.traffic.count("identity") > 5
    assert azure.traffic.count(status=401) == 0
    assert len(azure_contents.artifacts(azure_contents.all_runs("spirals")[0])) == 5
    assert len(saw["history"]) == 3


def test_a_job_renews_its_own_token(
    azure: AzureEmulator, azure_contents: Contents, azure_client: Any, script: Script
) -> None:
    info = azure_client.create_run("spirals")
    job = azure.job_environ(info["experiment_id"], info["run_id"], life_s=60)
    assert script("job", AZUREML_CURRENT_CLOUD="AzureCloud", **job)["run_id"] == info["run_id"]
    assert [value for _, _, value in azure_contents.history(info["run_id"], "from job")] == [1.0]
    assert azure.traffic.count("run-token", 200) == 1
    assert azure.traffic.count("identity") == 0
    assert "/experimentids/" in azure.traffic.of("run-token")[0].path
