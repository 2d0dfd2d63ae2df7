"""Loggers of frameworks that themselves import wandb record into the store, for real: wandb is not installed."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from mltrack.storage.runs.stored_run import StoredRun
from mltrack.store import Store
from mltrack.values.rich import Table

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(600)]

LIGHTNING = """
import torch
import lightning as L
from lightning.pytorch.loggers import WandbLogger

class Model(L.LightningModule):
    def __init__(self, width=4):
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(width, 1)

    def training_step(self, batch, number):
        loss = self.layer(batch[0]).pow(2).mean()
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)

data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(64, 4)), batch_size=8)
logger = WandbLogger(project="spirals", name="lightning", log_model=True)
logger.watch(model := Model(), log_freq=2)
trainer = L.Trainer(max_epochs=2, logger=logger, log_every_n_steps=2, enable_progress_bar=False, accelerator="cpu")
trainer.fit(model, data)
"""

TRANSFORMERS = """
import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

config = BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
rows = [{"input_ids": torch.randint(0, 50, (8,)), "labels": torch.tensor(n % 2)} for n in range(32)]
arguments = TrainingArguments(
    "out", num_train_epochs=1, report_to="wandb", logging_steps=2, per_device_train_batch_size=8, save_strategy="no",
    run_name="transformers",
)
Trainer(BertForSequenceClassification(config), arguments, train_dataset=rows).train()
"""

XGBOOST = """
import numpy as np
import wandb
import xgboost
from wandb.integration.xgboost import WandbCallback

wandb.init(project="trees", name="xgboost")
rows = np.random.default_rng(0).normal(size=(60, 3))
data = xgboost.DMatrix(rows, rows[:, 0] > 0)
settings = {"objective": "binary:logistic", "eval_metric": ["auc", "logloss"]}
xgboost.train(
    settings, data, 5, evals=[(data, "train")], verbose_eval=False, early_stopping_rounds=3,
    callbacks=[WandbCallback(log_model=True)],
)
wandb.finish()
"""

LIGHTGBM = """
import lightgbm
import numpy as np
import wandb
from wandb.integration.lightgbm import log_summary, wandb_callback

wandb.init(project="trees", name="lightgbm")
rows = np.random.default_rng(0).normal(size=(200, 3))
data = lightgbm.Dataset(rows, rows[:, 0] > 0)
settings = {"objective": "binary", "metric": ["binary_logloss", "auc"], "verbose": -1}
model = lightgbm.train(settings, data, 5, valid_sets=[data], valid_names=["train"], callbacks=[wandb_callback()])
log_summary(model, save_model_checkpoint=True)
lightgbm.cv(settings, data, 3, nfold=2, callbacks=[wandb_callback(log_params=False)])
wandb.finish()
"""

KERAS = """
import os
os.environ["KERAS_BACKEND"] = "torch"
import keras
import numpy as np
import wandb
from wandb.integration.keras import WandbEvalCallback, WandbMetricsLogger, WandbModelCheckpoint

wandb.init(project="nets", name="keras")
model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(1)])
model.compile(optimizer=keras.optimizers.SGD(0.01), loss="mse")
rows = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
checkpoints = WandbModelCheckpoint("model.keras", monitor="loss")
model.fit(rows, rows[:, :1], epochs=3, batch_size=8, verbose=0, callbacks=[WandbMetricsLogger(), checkpoints])
model.fit(rows, rows[:, :1], epochs=1, batch_size=8, verbose=0, callbacks=[WandbMetricsLogger(log_freq=4)])
wandb.finish()
"""


MODEL = """
model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(1)])
model.compile(optimizer="sgd", loss="mse")
rows = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
"""

EXAMPLES = """
class Examples(WandbEvalCallback):
    def add_ground_truth(self, logs=None):
        for number in range(3):
            self.data_table.add_data(number, float(rows[number, 0]))

    def add_model_predictions(self, epoch, logs=None):
        found = self.model.predict(rows[:3], verbose=0)
        for number in self.data_table_ref.get_index():
            self.pred_table.add_data(epoch, *self.data_table_ref.data[number], float(found[number, 0]))

wandb.init(project="nets", name="keras")
model.fit(rows, rows[:, :1], epochs=2, verbose=0, callbacks=[Examples(["n", "x"], ["epoch", "n", "x", "found"])])
wandb.finish()
"""

CATBOOST = """
import catboost
import numpy as np
import wandb
from wandb.integration.catboost import WandbCallback, log_summary

wandb.init(project="trees", name="catboost")
rows = np.random.default_rng(0).normal(size=(60, 3))
model = catboost.CatBoostClassifier(iterations=5, verbose=False, allow_writing_files=False)
held_out = (rows[50:], rows[50:, 0] > 0)
model.fit(rows[:50], rows[:50, 0] > 0, eval_set=held_out, callbacks=[WandbCallback()])
log_summary(model, save_model_checkpoint=True)
wandb.finish()
"""

SKLEARN = """
import numpy as np
import wandb
from sklearn.cluster import KMeans
from sklearn.linear_model import LinearRegression, LogisticRegression

wandb.init(project="digits", name="sklearn")
rows = np.random.default_rng(0).normal(size=(80, 3))
classes = (rows[:, 0] > 0).astype(int)
model = LogisticRegression().fit(rows[:60], classes[:60])
wandb.sklearn.plot_classifier(
    model, rows[:60], rows[60:], classes[:60], classes[60:], model.predict(rows[60:]), model.predict_proba(rows[60:]),
    ["no", "yes"], log_learning_curve=True,
)
line = LinearRegression().fit(rows, rows[:, 1])
wandb.sklearn.plot_regressor(line, rows[:60], rows[60:], rows[:60, 1], rows[60:, 1] + 0.1)
groups = KMeans(3, n_init=1, random_state=0).fit(rows)
wandb.sklearn.plot_clusterer(groups, rows, groups.labels_, ["a", "b", "c"])
wandb.finish()
"""


def recorded(folder: Path, needed: str, script: str) -> StoredRun:
    """The run that a script records which is not touched."""
    for module in (needed,):
        if find_spec(module) is None:
            pytest.skip(f"{module} is not installed: pip install '.[frameworks]'")
    (folder / "train.py").write_text(script)
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder)}
    command = [sys.executable, "-W", "ignore", "-m", "mltrack.wandb", "train.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    (run,) = Store.open(folder / ".mltrack").runs()
    assert run.info.status == "FINISHED"
    return run


def test_lightnings_own_wandb_logger_records_metrics_params_and_checkpoints(tmp_path: Path) -> None:
    run = recorded(tmp_path, "lightning", LIGHTNING)
    assert (run.info.run_name, run.info.experiment_name, run.params["width"]) == ("lightning", "spirals", "4")
    assert run.summaries["train_loss"].count == 8
    assert run.metrics("trainer/global_step").column("value").to_pylist()[0] == 1
    assert any(key.startswith("gradients/") for key in run.series_kinds())
    assert any(artifact.path.endswith("model.ckpt") for artifact in run.artifacts)


def test_hugging_faces_own_wandb_callback_records_what_it_reports(tmp_path: Path) -> None:
    run = recorded(tmp_path, "transformers", TRANSFORMERS)
    assert (run.info.run_name, run.params["num_train_epochs"]) == ("transformers", "1")
    assert run.metrics("train/global_step").column("value").to_pylist()[:2] == [2, 4]
    assert run.summaries["train/loss"].count == 2


def test_xgboosts_wandb_callback_records_evaluations_and_the_model(tmp_path: Path) -> None:
    run = recorded(tmp_path, "xgboost", XGBOOST)
    assert run.info.run_name == "xgboost"
    assert run.params["learner.objective.name"] == "binary:logistic"
    assert run.metrics("epoch").column("value").to_pylist() == [0, 1, 2, 3, 4]
    for name in ("train-logloss", "train-auc"):
        assert run.metrics(name).column("step").to_pylist() == [0, 1, 2, 3, 4]
    assert run.summaries["train-logloss.min"].value == run.summaries["train-logloss"].min
    assert run.series_kinds()["Feature Importance_table"] == "table"
    assert any(artifact.path.endswith("_model.json") for artifact in run.artifacts)


def test_lightgbms_wandb_callback_records_evaluations_and_the_summary(tmp_path: Path) -> None:
    run = recorded(tmp_path, "lightgbm", LIGHTGBM)
    assert run.params["objective"] == "binary"
    assert run.metrics("train_binary_logloss").column("step").to_pylist() == [0, 1, 2, 3, 4]
    assert run.metrics("iteration").column("value").to_pylist() == [0, 1, 2, 3, 4, 0, 1, 2]
    assert run.summaries["train_auc.max"].value == run.summaries["train_auc"].max
    assert any(name.endswith("auc-stdv") for name in run.summaries)
    assert any(artifact.path.startswith("artifacts/model/") for artifact in run.artifacts)


def test_keras_wandb_callbacks_record_epochs_batches_and_checkpoints(tmp_path: Path) -> None:
    run = recorded(tmp_path, "keras", KERAS)
    assert run.metrics("epoch/epoch").column("value").to_pylist() == [0, 1, 2, 0]
    assert run.summaries["epoch/loss"].count == 4
    assert run.metrics("epoch/learning_rate").column("value").to_pylist() == pytest.approx([0.01] * 4)
    assert run.metrics("batch/batch_step").column("value").to_pylist() == [0, 4]
    assert any(artifact.path.endswith("model.keras") for artifact in run.artifacts)


def test_a_keras_callback_of_examples_records_both_tables(tmp_path: Path) -> None:
    run = recorded(tmp_path, "keras", KERAS.partition("wandb.init")[0] + "\n" + MODEL + EXAMPLES)
    names = [artifact.path for artifact in run.artifacts]
    assert "artifacts/dataset/val/val_data.table.json" in names
    (last,) = (name for name in names if name.endswith("_pred@2/eval_data.table.json"))
    found = json.loads(run.artifact_path(last).read_text())
    assert found["columns"] == ["epoch", "n", "x", "found"]
    assert [row[:2] for row in found["data"]] == [[1, 0], [1, 1], [1, 2]]


def test_catboosts_wandb_callback_records_evaluations_and_the_summary(tmp_path: Path) -> None:
    run = recorded(tmp_path, "catboost", CATBOOST)
    assert run.params["iterations"] == "5"
    for name in ("learn-Logloss", "validation-Logloss"):
        assert run.metrics(name).column("step").to_pylist() == [0, 1, 2, 3, 4]
    assert run.series_kinds()["Feature Importance_table"] == "table"
    assert any(artifact.path.startswith("artifacts/model/") for artifact in run.artifacts)


def test_charts_of_models_of_scikit_learn_are_the_tables_that_they_are_drawn_from(tmp_path: Path) -> None:
    run = recorded(tmp_path, "sklearn", SKLEARN)
    kinds = run.series_kinds()
    charts = "calibration_curve class_proportions confusion_matrix elbow_curve feature_importances learning_curve"
    charts += " outlier_candidates precision_recall residuals roc silhouette_plot summary_metrics"
    assert kinds == {f"{chart}_table": "table" for chart in charts.split()}
    ((_, _, matrix),) = run.series("confusion_matrix_table")
    assert isinstance(matrix, Table)
    assert matrix.columns == ["Predicted", "Actual", "Count"]
    assert sum(row[2] for row in matrix.rows) == 20
    importances = run.series("feature_importances_table")[0][2]
    assert isinstance(importances, Table)
    assert importances.rows[0][0] == "feature_0"
