"""Gradients and parameters of a torch model."""

# ruff: noqa
# mypy: ignore-errors

import torch
import wandb

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
run = wandb.init(project="spirals", name="watched")
run.watch(model, log="all", log_freq=2)
for step in range(6):
    loss = model(torch.linspace(-1, 1, 15).reshape(5, 3) * (step + 1)).square().mean()
    loss.backward()
    run.log({"loss": loss, "detached": loss.item()})
run.unwatch(model)
model(torch.ones(1, 3)).sum().backward()
run.finish()
