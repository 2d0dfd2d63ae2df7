"""Autologging by programs that know nothing of mltrack, each a process of its own with MLFLOW_TRACKING_URI set."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mltrack.store import Store

pytestmark = pytest.mark.slow

SKLEARN = """
import mlflow
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

mlflow.set_experiment("flowers")
mlflow.sklearn.autolog(registered_model_name="iris")
x, y = load_iris(return_X_y=True)
LogisticRegression(max_iter=200).fit(x, y)
mlflow.MlflowClient().set_registered_model_alias("iris", "champion", 1)
for uri in ("models:/iris@champion", "models:/iris/1", "models:/iris/latest", "models:/iris/None"):
    assert list(mlflow.pyfunc.load_model(uri).predict(x[:1])) == [0], uri
"""

BOOSTED = """
import mlflow
import numpy
import {library} as boosted

mlflow.autolog()
x = numpy.linspace(0, 1, 60).reshape(20, 3)
data = boosted.{data}(x, label=x[:, 0])
boosted.train({{"verbosity": 0}}, data, {rounds}=3)
"""

LIGHTNING = """
import lightning
import mlflow
import torch

class Line(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, _):
        loss = torch.nn.functional.mse_loss(self.layer(batch), batch * 2)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

mlflow.pytorch.autolog()
points = torch.utils.data.DataLoader(torch.rand(8, 1), batch_size=4)
trainer = lightning.Trainer(
    max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
)
trainer.fit(Line(), points)
"""

KERAS = """
import keras
import mlflow
import numpy

mlflow.tensorflow.autolog()
x = numpy.linspace(0, 1, 16).reshape(16, 1)
model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
model.fit(x, 2 * x, epochs=2, verbose=0)
"""


def _need(*libraries: str) -> None:
    """Skip where one of these is missing; without importing them here, as some start threads and take seconds."""
    for library in libraries:
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"{library} is not installed")


def _train(script: str, folder: Path) -> Store:
    (folder / "train.py").write_text(script)
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"mltrack://{folder}/.mltrack"}
    done = subprocess.run(
        [sys.executable, "train.py"], cwd=folder, env=environment, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith("mlruns")) == []
    return Store.open(folder / ".mltrack")


def test_scikit_learn_logs_itself_and_its_model_loads_back(tmp_path: Path) -> None:
    store = _train(SKLEARN, tmp_path)
    (run,) = store.runs()
    assert (run.info.status, run.info.experiment_name) == ("FINISHED", "flowers")
    assert run.data.params["max_iter"] == "200" and run.data.metrics["training_accuracy_score"] > 0.9
    assert {artifact.path for artifact in run.artifacts} >= {"estimator.html", "training_confusion_matrix.png"}
    (model,) = store.logged_models.models()
    assert (model.status, model.source_run_id) == ("READY", run.info.run_id)
    assert {artifact.path for artifact in store.logged_models.artifacts(model.model_id)} >= {"MLmodel", "model.pkl"}
    version = store.registry.by_alias("iris", "champion")
    assert (version.version, version.source, version.run_id) == (1, f"models:/{model.model_id}", run.info.run_id)


def _check_trained(store: Store, *metrics: str) -> None:
    (run,) = store.runs()
    assert run.info.status == "FINISHED" and set(metrics) <= set(run.data.metrics)
    (model,) = store.logged_models.models()
    assert (model.status, model.source_run_id) == ("READY", run.info.run_id)


@pytest.mark.parametrize(
    ("library", "data", "rounds"),
    [("lightgbm", "Dataset", "num_boost_round"), ("xgboost", "DMatrix", "num_boost_round")],
)
def test_boosted_trees_log_themselves(library: str, data: str, rounds: str, tmp_path: Path) -> None:
    _need(library)
    _check_trained(_train(BOOSTED.format(library=library, data=data, rounds=rounds), tmp_path))


def test_lightning_logs_itself(tmp_path: Path) -> None:
    _need("torch", "lightning")
    _check_trained(_train(LIGHTNING, tmp_path), "loss")


def test_keras_logs_itself(tmp_path: Path) -> None:
    _need("tensorflow", "keras", "tensorboard")
    _check_trained(_train(KERAS, tmp_path), "loss")
