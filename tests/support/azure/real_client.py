"""What a user's script does with MLflow and azureml-mlflow: ``python real_client.py whole|job``, in an empty folder.

It is run by the interpreter of an environment that has azureml-mlflow, and writes what it saw to result.json.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import mlflow
import requests
from azure.identity import DefaultAzureCredential

LARGE_BYTES = 70_000_000


def find_workspace() -> str:
    """The tracking URI, as the resource manager tells it to who has a token."""
    token = DefaultAzureCredential().get_token("https://management.azure.com/.default").token
    headers = {"Authorization": f"Bearer {token}"}
    answer = requests.get(
        os.environ["WORKSPACE_URL"], headers=headers, params={"api-version": "2024-04-01"}, timeout=30
    )
    answer.raise_for_status()
    return str(answer.json()["properties"]["mlFlowTrackingUri"])


def write_model(folder: Path) -> None:
    folder.mkdir()
    (folder / "MLmodel").write_text("flavors:\n  python_function:\n    loader_module: none\n")
    (folder / "weights.bin").write_bytes(bytes(range(256)) * 100)
    (folder / "empty").write_bytes(b"")


def whole() -> dict[str, Any]:
    """Everything, from the experiment to the registry."""
    mlflow.set_tracking_uri(find_workspace())
    mlflow.set_experiment("spirals")
    write_model(Path("model"))
    Path("large.bin").write_bytes(bytes(LARGE_BYTES))
    with mlflow.start_run(run_name="first") as run:
        mlflow.log_params({"lr": 0.1, "layers": 3})
        for step in range(3):
            mlflow.log_metric("loss", 1 / (step + 1), step=step)
        mlflow.log_metrics({"odd": float("nan"), "high": float("inf")}, step=7)
        mlflow.set_tags({"team": "red"})
        mlflow.log_text("hello", "notes/hello.txt")
        mlflow.log_artifacts("model", "model")
        mlflow.log_artifact("large.bin")
    client = mlflow.MlflowClient()
    run_id, uri = run.info.run_id, run.info.artifact_uri
    later = client.log_batch(run_id, params=[mlflow.entities.Param("late", "1")], synchronous=False)
    assert later is not None
    later.wait()
    try:
        client.log_artifact(run_id, "model/weights.bin", "model")
        again = ""
    except Exception as error:  # noqa: BLE001  (the client raises nothing narrower)
        again = str(error)
    client.create_registered_model("net")
    version = client.create_model_version("net", f"{uri}/model", run_id=run_id)
    local = client.create_model_version("net", f"file://{Path('model').resolve()}")
    client.set_registered_model_alias("net", "champion", "1")
    down = Path(mlflow.artifacts.download_artifacts(artifact_uri=f"{uri}/model", dst_path="down"))
    note = mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path="notes/hello.txt", dst_path="note")
    registered = Path(mlflow.artifacts.download_artifacts(artifact_uri="models:/net@champion", dst_path="registered"))
    return {
        "run_id": run_id,
        "experiment_id": run.info.experiment_id,
        "artifact_uri": uri,
        "history": [(metric.step, metric.value) for metric in client.get_metric_history(run_id, "loss")],
        "found": [found.info.run_id for found in client.search_runs([run.info.experiment_id], "params.lr = '0.1'")],
        "listed": sorted(item.path for item in client.list_artifacts(run_id)),
        "down": {path.name: path.stat().st_size for path in sorted(down.iterdir())},
        "registered": sorted(path.name for path in registered.iterdir()),
        "note": Path(note).read_text(),
        "again": again,
        "versions": [[item.version, item.status, item.source, item.run_id] for item in (version, local)],
    }


def job() -> dict[str, Any]:
    """What a submitted job does: all it needs is in its environment."""
    with mlflow.start_run() as run:
        mlflow.log_metric("from job", 1.0, step=1)
    return {"run_id": run.info.run_id}


if __name__ == "__main__":
    result = {"whole": whole, "job": job}[sys.argv[1]]()
    Path("result.json").write_text(json.dumps(result))
