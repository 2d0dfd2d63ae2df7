"""Offline folders of wandb as a source."""
