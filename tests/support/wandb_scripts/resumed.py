"""A run that is resumed once, and one that fails."""

# ruff: noqa
# mypy: ignore-errors

import wandb

for part in range(2):
    run = wandb.init(
        project="spirals", id="def67890", name="resumed", resume="allow" if part else None, config={f"part{part}": part}
    )
    for step in range(part * 50, part * 50 + 50):
        run.log({"loss": 2 / (step + 1)}, step=step)
    run.finish(exit_code=0 if part else 1)
