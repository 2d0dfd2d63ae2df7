"""Lightning, Hugging Face's Trainer and Keras log to a run, for real: in a process of its own, as their users do."""

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
from mltrack.integrations.lightning import MltrackLogger

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
logger = MltrackLogger(run_name="lightning", log_checkpoints=True)
trainer = L.Trainer(max_epochs=2, logger=logger, log_every_n_steps=2, enable_progress_bar=False, accelerator="cpu")
trainer.fit(Model(), data)
assert trainer.checkpoint_callback.best_model_path.count("/Default/") == 1
"""

LIGHTNING_STOPPED = """
import mltrack

run = mltrack.start_run()
mltrack.Store.open(".mltrack").stop_run(run.run_id, "enough")
options = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
trainer = L.Trainer(max_epochs=9, logger=MltrackLogger(), log_every_n_steps=2, **options)
trainer.fit(Model(), data)
assert trainer.global_step == 2, trainer.global_step
run.end()
"""

TRANSFORMERS = """
import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments
from mltrack.integrations.transformers import MltrackCallback

config = BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
rows = [{"input_ids": torch.randint(0, 50, (8,)), "labels": torch.tensor(n % 2)} for n in range(32)]
arguments = TrainingArguments(
    "out", num_train_epochs=1, report_to="none", logging_steps=2, per_device_train_batch_size=8, save_strategy="no"
)
callback = MltrackCallback(run_name="transformers")
Trainer(BertForSequenceClassification(config), arguments, train_dataset=rows, callbacks=[callback]).train()
"""

STOPPED = """
import mltrack
from types import SimpleNamespace
from transformers import TrainerControl

run = mltrack.start_run()
mltrack.Store.open(".mltrack").stop_run(run.run_id, "enough")
trainer = Trainer(BertForSequenceClassification(config), arguments, train_dataset=rows, callbacks=[MltrackCallback()])
trainer.train()
assert trainer.state.global_step == 1
one_of_two = TrainerControl()
MltrackCallback(run).on_step_end(SimpleNamespace(world_size=2), trainer.state, one_of_two)
assert not one_of_two.should_training_stop  # the other one would wait for it
run.end()
"""

KERAS = """
import numpy as np
import keras
import mltrack
from mltrack.integrations.keras import MltrackCallback

model = keras.Sequential([keras.layers.Dense(1)])
model.compile(optimizer=keras.optimizers.SGD(0.25), loss="mse")
with mltrack.start_run(run_name="keras") as run:
    mltrack.log_metric("mine", 1)
    callback = MltrackCallback(log_batches=True)
    rows, labels = np.ones((32, 2)), np.ones(32)
    model.fit(rows, labels, epochs=3, batch_size=8, validation_split=0.5, verbose=0, callbacks=[callback])
    assert not run.ended
"""


def trained(folder: Path, script: str, *needed: str) -> StoredRun:
    """The only run that a script records."""
    for module in needed:
        if find_spec(module) is None:
            pytest.skip(f"{module} is not installed: pip install '.[frameworks]'")
    (folder / "train.py").write_text(script)
    environment = {"KERAS_BACKEND": "torch", "PATH": "/usr/bin:/bin", "HOME": str(folder)}
    command = [sys.executable, "-W", "ignore", "train.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    (run,) = Store.open(folder / ".mltrack").runs()
    return run


def test_lightning_logs_metrics_hyperparameters_and_checkpoints(tmp_path: Path) -> None:
    run = trained(tmp_path, LIGHTNING, "lightning")
    assert (run.info.run_name, run.info.status) == ("lightning", "FINISHED")
    assert run.params == {"width": "4"}
    assert run.summaries["train_loss"].count == 8
    assert run.summaries["train_loss"].step == 15
    assert any(artifact.path.endswith(".ckpt") for artifact in run.artifacts)


def test_lightning_ends_a_training_whose_run_is_asked_to_stop(tmp_path: Path) -> None:
    configured = LIGHTNING.partition("logger = ")[0]
    run = trained(tmp_path, configured + LIGHTNING_STOPPED, "lightning")
    assert run.summaries["train_loss"].count == 1


def test_the_trainer_of_transformers_logs_losses_and_arguments(tmp_path: Path) -> None:
    run = trained(tmp_path, TRANSFORMERS, "transformers", "accelerate")
    assert (run.info.run_name, run.info.status) == ("transformers", "FINISHED")
    assert run.params["per_device_train_batch_size"] == "8"
    assert run.params["model.hidden_size"] == "16"
    assert run.metrics("loss").column("step").to_pylist() == [2, 4]
    assert run.summaries["train_runtime"].count == 1


def test_a_trainer_on_one_process_ends_where_the_run_is_asked_to_stop(tmp_path: Path) -> None:
    configured = TRANSFORMERS.partition("callback = ")[0]
    run = trained(tmp_path, configured + STOPPED, "transformers", "accelerate")
    assert run.summaries["train_runtime"].step == 1


def test_keras_logs_epochs_and_batches_into_the_active_run(tmp_path: Path) -> None:
    run = trained(tmp_path, KERAS, "keras", "torch")
    assert (run.info.run_name, run.info.status) == ("keras", "FINISHED")
    assert {key: run.summaries[key].count for key in ("mine", "loss", "val_loss", "batch/loss")} == {
        "mine": 1,
        "loss": 3,
        "val_loss": 3,
        "batch/loss": 6,
    }
    assert float(run.params["optimizer.learning_rate"]) == 0.25
    assert run.params["epochs"] == "3"
