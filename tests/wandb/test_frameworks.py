"""Loggers of frameworks that themselves import wandb record into the store, for real: wandb is not installed."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from mltrack.storage.runs.stored_run import StoredRun
from mltrack.store import Store

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
from wandb.integration.keras import WandbMetricsLogger, WandbModelCheckpoint

wandb.init(project="nets", name="keras")
model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(1)])
model.compile(optimizer=keras.optimizers.SGD(0.01), loss="mse")
rows = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
checkpoints = WandbModelCheckpoint("model.keras", monitor="loss")
model.fit(rows, rows[:, :1], epochs=3, batch_size=8, verbose=0, callbacks=[WandbMetricsLogger(), checkpoints])
model.fit(rows, rows[:, :1], epochs=1, batch_size=8, verbose=0, callbacks=[WandbMetricsLogger(log_freq=4)])
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
