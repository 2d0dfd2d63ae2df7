"""A run whose program ends with an exception."""

# ruff: noqa
# mypy: ignore-errors

import wandb

wandb.init(project="spirals", name="failed")
wandb.log({"loss": 1})
wandb.log({"loss": 2}, commit=False)
raise ValueError("it went wrong")
