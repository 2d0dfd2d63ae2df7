"""Series of rich values on a real MLflow server: images, tables, histograms and texts where its page looks for them."""

from __future__ import annotations

import json
import subprocess
import sys

import mlflow
import numpy as np

import mltrack
from mltrack.store import Store
from mltrack_sync import Remote, push
from tests.support.both_sides import assert_equal
from tests.support.mlflow_recording import forget_where
from tests.support.server import MlflowServer


def test_series_arrive_where_mlflow_shows_them(
    store: Store, remote: Remote, server: MlflowServer, experiment: str
) -> None:
    with mltrack.start_run() as run:
        for n in range(2):
            run.log(
                {
                    "loss": n / 2,
                    "grad/größe": mltrack.Histogram(np.arange(9.0)),
                    "val/sample": mltrack.Image(np.zeros((4, 4, 3))),
                    "predictions": mltrack.Table({"x": [n, n + 1]}),
                    "note": mltrack.Text(f"step {n}"),
                }
            )
    push(store, remote)
    assert_equal(store, server, experiment)
    (there,) = server.runs(experiment).values()
    tags = {tag["key"]: tag["value"] for tag in there["data"]["tags"]}
    assert tags["mlflow.loggedImages"] == "True"
    client = mlflow.MlflowClient(server.url)
    run_id = there["info"]["run_id"]
    images = [artifact.path for artifact in client.list_artifacts(run_id, "images")]
    assert len(images) == 4
    for path in images:
        assert path.startswith("images/val~sample+step+")
    mlflow.set_tracking_uri(server.url)  # load_table asks by it, whatever its client is of
    try:
        for entry in json.loads(tags["mlflow.loggedArtifacts"]):
            loaded = client.load_table(there["info"]["experiment_id"], entry["path"], run_ids=[run_id])
            assert sorted(set(loaded["step"])) == [0, 1]
    finally:
        forget_where()


def test_series_of_a_crashed_process_arrive_as_far_as_they_were_logged(
    store: Store, remote: Remote, server: MlflowServer, experiment: str
) -> None:
    code = """
import os, sys, mltrack
mltrack.set_store(sys.argv[1])
mltrack.set_experiment(sys.argv[2])
run = mltrack.start_run()
run.log({"note": mltrack.Text("last words")})
os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", code, str(store.path), experiment])
    assert done.returncode == -9
    push(store, remote)
    assert_equal(store, server, experiment)
    (there,) = server.runs(experiment).values()
    table = server.artifact(there, "series/texts/note.json")
    assert table is not None
    assert json.loads(table)["data"][0][2] == "last words"
