"""Accelerate, Stable-Baselines3, Ignite and Hydra log to runs, for real: each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from mltrack.storage.runs.stored_run import StoredRun
from mltrack.store import Store

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(600)]

ACCELERATE = """
import numpy as np
import torch
from accelerate import Accelerator
from mltrack.integrations.accelerate import MltrackTracker

accelerator = Accelerator(cpu=True, log_with=MltrackTracker(run_name="accelerate"))
accelerator.init_trackers("project", config={"lr": 0.5, "net": {"depth": 2}})
model = torch.nn.Linear(2, 1)
model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), 0.01))
for step in range(4):
    loss = model(torch.ones(3, 2)).pow(2).mean()
    accelerator.backward(loss)
    optimizer.step()
    accelerator.log({"loss": loss, "stage": "warm", "accuracy": {"train": 0.5}}, step=step)
tracker = accelerator.get_tracker("mltrack")
tracker.log_images({"batch": [np.zeros((4, 4), np.uint8)] * 2}, step=1)
run = accelerator.get_tracker("mltrack", unwrap=True)
run.set_tag("by hand", "yes")
accelerator.end_training()
assert run.ended
"""

RANKS = """
from accelerate import Accelerator
from mltrack.integrations.accelerate import MltrackTracker

accelerator = Accelerator(cpu=True, log_with=MltrackTracker())
accelerator.init_trackers("project", config={"world": accelerator.num_processes})
accelerator.log({"rank": accelerator.process_index}, step=0)
accelerator.wait_for_everyone()
accelerator.end_training()
"""

AGENT = """
import matplotlib
matplotlib.use("agg")
import gymnasium
import numpy as np
import torch
from matplotlib import pyplot
from stable_baselines3 import PPO
from stable_baselines3.common.logger import Figure, FormatUnsupportedError, HParam, Image, Logger, Video
from mltrack.integrations.stable_baselines3 import MltrackOutputFormat

output = MltrackOutputFormat(run_name="agent")
logger = Logger(None, [output])
model = PPO("MlpPolicy", gymnasium.make("CartPole-v1"), n_steps=64, batch_size=32, n_epochs=1, device="cpu")
model.set_logger(logger)
model.learn(128)
logger.record("secret", 1.0, exclude="mltrack")
logger.record("kept", 1.0, exclude=("csv", "tensorboard"))
logger.record("weights", torch.arange(10.0))
logger.record("frame", Image(np.zeros((4, 5, 3), np.uint8), "HWC"))
logger.record("figure", Figure(pyplot.figure(), close=True))
logger.record("hparams", HParam({"gamma": 0.9}, {"rollout/final": 2.0}))
logger.record("film", Video(torch.zeros(1, 2, 3, 4, 4), 4))
try:
    logger.dump(500)
    raise SystemExit("a video was taken")
except FormatUnsupportedError as error:
    assert "mltrack" in str(error)
output.close()
"""

ENGINES = """
import torch
from ignite.engine import Engine, Events, create_supervised_evaluator, create_supervised_trainer
from ignite.metrics import MeanSquaredError
from mltrack.integrations.ignite import MltrackLogger, OutputHandler, global_step_from_engine

torch.manual_seed(0)
data = [(torch.randn(4, 2), torch.randn(4, 1)) for _ in range(5)]
model = torch.nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), 0.25)
trainer = create_supervised_trainer(model, optimizer, torch.nn.MSELoss())
evaluator = create_supervised_evaluator(model, {"mse": MeanSquaredError()})
trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: evaluator.run(data))
with MltrackLogger(run_name="ignite") as logger:
    logger.log_params({"seed": 0})
    loss = dict(tag="training", output_transform=lambda loss: {"loss": loss})
    logger.attach_output_handler(trainer, Events.ITERATION_COMPLETED, **loss)
    logger.attach_opt_params_handler(trainer, Events.ITERATION_STARTED, optimizer=optimizer)
    handler = OutputHandler("validation", metric_names=["mse"], global_step_transform=global_step_from_engine(trainer))
    logger.attach(evaluator, handler, Events.EPOCH_COMPLETED)
    trainer.run(data, max_epochs=2)
"""

JOB = """
import hydra
import mltrack

@hydra.main(version_base=None, config_path=".", config_name="config")
def train(config):
    for step in range(3):
        mltrack.log_metric("loss", config.net.depth / (step + 1), step=step)
    if config.net.depth == 13:
        raise ValueError("unlucky")
    return config.net.depth * 2

if __name__ == "__main__":
    train()
"""

JOB_CONFIG = """
net:
  depth: 2
  width: ${net.depth}
lr: 0.5
hydra:
  callbacks:
    mltrack:
      _target_: mltrack.integrations.hydra.MltrackCallback
      experiment_name: digits
"""


def recorded(folder: Path, *arguments: str, needed: str, expect: int = 0) -> list[StoredRun]:
    """The runs that a program records in a folder."""
    if find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed: pip install '.[frameworks]'")
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == expect, done.stderr[-3000:]
    return list(Store.open(folder / ".mltrack").runs())


def trained(folder: Path, script: str, needed: str) -> StoredRun:
    """The only run that a script records."""
    (folder / "train.py").write_text(script)
    (run,) = recorded(folder, "train.py", needed=needed)
    return run


def test_accelerate_logs_config_numbers_texts_and_images(tmp_path: Path) -> None:
    run = trained(tmp_path, ACCELERATE, "accelerate")
    assert (run.info.run_name, run.info.status) == ("accelerate", "FINISHED")
    assert run.params == {"lr": "0.5", "net.depth": "2"}
    losses = run.metrics("loss")
    assert losses.column("step").to_pylist() == [0, 1, 2, 3]
    assert losses.column("value").to_pylist() == sorted(losses.column("value").to_pylist(), reverse=True)
    assert run.summaries["accuracy/train"].count == 4
    assert run.tags["by hand"] == "yes"
    paths = [artifact.path for artifact in run.artifacts]
    assert sum("batch" in path and path.endswith(".png") for path in paths) >= 2
    assert any(path.startswith("series/") for path in paths), "the texts"


def test_of_two_ranks_of_accelerate_only_the_first_records(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(RANKS)
    launch = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "train.py")
    (run,) = recorded(tmp_path, *launch, needed="accelerate")
    assert run.params == {"world": "2"}
    assert run.metrics("rank").column("value").to_pylist() == [0.0]
    assert run.info.status == "FINISHED"


def test_an_agent_of_stable_baselines_logs_rollouts_at_its_timesteps(tmp_path: Path) -> None:
    run = trained(tmp_path, AGENT, "stable_baselines3")
    assert (run.info.run_name, run.info.status) == ("agent", "FINISHED")
    assert run.metrics("time/total_timesteps").column("step").to_pylist() == [64, 128]
    assert run.metrics("train/loss").column("step").to_pylist() == [128, 500], "what was trained before a dump"
    assert run.summaries["kept"].step == 500
    assert "secret" not in run.summaries
    assert run.params == {"gamma": "0.9"}
    assert run.summaries["rollout/final"].value == 2.0
    paths = [artifact.path for artifact in run.artifacts]
    assert "figures/figure_500.png" in paths
    assert any("frame" in path for path in paths)
    assert any("weights" in path for path in paths)


def test_engines_of_ignite_log_outputs_metrics_and_learning_rates(tmp_path: Path) -> None:
    run = trained(tmp_path, ENGINES, "ignite")
    assert (run.info.run_name, run.info.status) == ("ignite", "FINISHED")
    assert run.params == {"seed": "0"}
    assert run.metrics("training/loss").column("step").to_pylist() == list(range(1, 11))
    assert run.metrics("lr/group_0").column("value").to_pylist() == [0.25] * 10
    assert run.metrics("validation/mse").column("step").to_pylist() == [1, 2], "epochs of the trainer"


def job(folder: Path, *overrides: str, expect: int = 0) -> list[StoredRun]:
    (folder / "train.py").write_text(JOB)
    (folder / "config.yaml").write_text(JOB_CONFIG)
    return recorded(folder, "train.py", *overrides, needed="hydra", expect=expect)


def test_a_job_of_hydra_is_a_run_with_its_config_also_in_a_folder_of_its_own(tmp_path: Path) -> None:
    (run,) = job(tmp_path, "net.depth=3", "hydra.job.chdir=True")
    assert (run.info.run_name, run.info.status, run.info.experiment_name) == ("train", "FINISHED", "digits")
    assert run.params == {"net.depth": "3", "net.width": "3", "lr": "0.5"}
    assert run.tags["hydra.overrides"] == "net.depth=3"
    assert run.metrics("loss").column("value").to_pylist() == [3.0, 1.5, 1.0]
    assert run.summaries["return_value"].value == 6.0
    files = {f"hydra/{name}.yaml" for name in ("config", "hydra", "overrides")}
    assert {artifact.path for artifact in run.artifacts} == files


def test_the_jobs_of_a_multirun_are_children_and_one_that_raises_has_failed(tmp_path: Path) -> None:
    runs = job(tmp_path, "--multirun", "net.depth=1,2,13", expect=1)
    by_name = {run.info.run_name: run for run in runs}
    assert by_name.keys() == {"train", "train 0", "train 1", "train 2"}
    parent = by_name.pop("train")
    assert {run.tags["mlflow.parentRunId"] for run in by_name.values()} == {parent.run_id}
    assert [by_name[f"train {n}"].info.status for n in range(3)] == ["FINISHED", "FINISHED", "FAILED"]
    assert [by_name[f"train {n}"].params["net.depth"] for n in range(3)] == ["1", "2", "13"]
    assert parent.info.status in ("FINISHED", "FAILED")
