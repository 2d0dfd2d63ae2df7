"""Config, nested values, kinds of values, and steps that rise."""

# ruff: noqa
# mypy: ignore-errors

import argparse

import numpy as np
import wandb

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--net", default="mlp")
run = wandb.init(
    project="spirals",
    name="basics",
    group="sweep",
    job_type="train",
    notes="größe",
    tags=["a", "b"],
    config={
        "model": {"depth": 3, "name": "mlp", "empty": {}},
        "layers": [1, 2],
        "bias": True,
        "none": None,
        "tuple": (1, 2),
    },
)
wandb.config.update(parser.parse_args())
wandb.config.seed = 7
wandb.config["rate"] = np.float32(0.5)
wandb.config.setdefaults({"seed": 8, "other": 9})
wandb.config.update({"seed": 70}, allow_val_change=True)
assert wandb.config.model["depth"] == 3 and "lr" in wandb.config and dict(wandb.config)["lr"] == 0.1
for step in range(20):
    wandb.log({"loss": 1 / (step + 1), "train": {"accuracy": step / 20, "deep": {"er": step}}})
wandb.log({"half": 1}, commit=False)
wandb.log({"other half": 2})
wandb.log(
    {"odd": float("nan"), "odd2": float("inf"), "odd3": float("-inf"), "flag": True, "word": "text", "nothing": None}
)
wandb.log({"whole": 2**53 + 1, "tiny": 1e-300, "f32": np.float32(0.1), "i64": np.int64(3), "b": np.bool_(True)})
wandb.log({"one": np.array([2.5]), "few": np.arange(3), "list": [1, 2.5, "x"], "many": np.linspace(0, 1, 100)})
wandb.log({"jump": 1}, step=40)
wandb.log({"jump": 2, "more": 1}, step=50)
wandb.log({"even more": 1}, step=50)
wandb.log({"committed": 1}, step=60, commit=True)
wandb.log({"next": 1})
assert run.step == 62, run.step
wandb.log({"at the end": 1}, commit=False)
wandb.finish()
