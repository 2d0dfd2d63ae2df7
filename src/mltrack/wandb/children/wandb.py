"""What ``import wandb`` finds in a Python process that ``python -m mltrack.wandb`` started: ``mltrack.wandb``."""

from mltrack.wandb.install import install

install()
