"""``wandb.integration.keras``: WandbMetricsLogger and WandbModelCheckpoint, for Keras 3."""

from __future__ import annotations

import os
from typing import Any

from keras import callbacks

import mltrack.wandb as wandb
from mltrack.wandb.integration.best import need_run
from mltrack.wandb.refused import refuse

__all__ = ["WandbMetricsLogger", "WandbModelCheckpoint"]


class WandbMetricsLogger(callbacks.Callback):  # type: ignore[misc]  # keras may not be installed
    """Logs what Keras reports as ``epoch/NAME``, or as ``batch/NAME``, with the learning rate."""

    def __init__(self, log_freq: str | int = "epoch", initial_global_step: int = 0) -> None:
        """Log to the current run.

        Args:
            log_freq: "epoch", "batch", or each so many batches.
            initial_global_step: has no effect: Keras itself knows the learning rate.

        Raises:
            Error: there is no current run.
        """
        super().__init__()
        self._run = need_run("WandbMetricsLogger()")
        self._every = 1 if log_freq == "batch" else log_freq if isinstance(log_freq, int) else 0
        self._batch = 0
        group = "batch" if self._every else "epoch"
        axis = "batch/batch_step" if self._every else "epoch/epoch"
        self._run.define_metric(axis)
        self._run.define_metric(f"{group}/*", step_metric=axis)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Log what the epoch had."""
        values = {f"epoch/{name}": value for name, value in (logs or {}).items()}
        self._run.log({**values, "epoch/epoch": epoch, "epoch/learning_rate": self._rate()})

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Log what the batch had, if it is one that is logged."""
        if self._every and batch % self._every == 0:
            values = {f"batch/{name}": value for name, value in (logs or {}).items()}
            self._run.log({**values, "batch/batch_step": self._batch, "batch/learning_rate": self._rate()})
            self._batch += self._every

    def _rate(self) -> float:
        return float(self.model.optimizer.learning_rate)


class WandbModelCheckpoint(callbacks.ModelCheckpoint):  # type: ignore[misc]  # keras may not be installed
    """Keras' ModelCheckpoint, whose files are versions of the artifact ``run_ID_model``."""

    def __init__(self, filepath: Any, **options: Any) -> None:
        """Take what ModelCheckpoint takes.

        Raises:
            Error: there is no current run.
        """
        super().__init__(filepath=os.fspath(filepath), **options)
        self._run = need_run("WandbModelCheckpoint()")
        self._kept: tuple[str, int, int] | None = None

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Save and log it, if it is time."""
        super().on_train_batch_end(batch, logs)
        self._log_new(["latest", f"epoch_{self._current_epoch}_batch_{batch}"], batch, logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Save and log it, if it is time."""
        super().on_epoch_end(epoch, logs)
        self._log_new(["latest", f"epoch_{epoch}"], None, logs)

    def _log_new(self, aliases: list[str], batch: int | None, logs: dict[str, Any] | None) -> None:
        """Log the file if it was written just now."""
        try:
            path = self._get_file_path(self._current_epoch, batch, logs)
            found = os.stat(path)
        except (KeyError, FileNotFoundError):
            return
        state = (path, found.st_mtime_ns, found.st_size)
        if state != self._kept:
            self._kept = state
            artifact = wandb.Artifact(name=f"run_{self._run.id}_model", type="model")
            artifact.add_file(path)
            self._run.log_artifact(artifact, aliases=aliases)


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    raise refuse(f"integration.keras.{name}")
