"""Series of rich values on a real MLflow server: images, tables, histograms and texts where its page looks for them."""

from __future__ import annotations

import json

import mlflow
import numpy as np
from both_sides import assert_equal
from mlflow_server import MlflowServer

import mltrack
from mltrack.reading import Store
from mltrack_sync import Remote, push


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
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(server.url)  # load_table asks by it, whatever its client is of
    try:
        for entry in json.loads(tags["mlflow.loggedArtifacts"]):
            loaded = client.load_table(there["info"]["experiment_id"], entry["path"], run_ids=[run_id])
            assert sorted(set(loaded["step"])) == [0, 1]
    finally:
        mlflow.set_tracking_uri(before)
