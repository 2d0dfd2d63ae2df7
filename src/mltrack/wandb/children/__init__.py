"""A folder for PYTHONPATH; see ``mltrack.wandb.install``."""
