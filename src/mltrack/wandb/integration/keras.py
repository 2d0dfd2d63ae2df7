"""``wandb.integration.keras``: WandbMetricsLogger, WandbModelCheckpoint and WandbEvalCallback, for Keras 3."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from typing import Any

from keras import callbacks

import mltrack.wandb as wandb
from mltrack.wandb.integration.best import need_run
from mltrack.wandb.refused import refuse

__all__ = ["WandbEvalCallback", "WandbMetricsLogger", "WandbModelCheckpoint"]


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


class WandbEvalCallback(callbacks.Callback, ABC):  # type: ignore[misc]  # keras may not be installed
    """Logs a table of examples before the training, and one of predictions after each epoch, as artifacts.

    A subclass fills ``data_table`` in ``add_ground_truth`` and ``pred_table`` in ``add_model_predictions``, where
    ``data_table_ref`` is the table of examples, as it was logged.
    """

    data_table: wandb.Table
    pred_table: wandb.Table

    def __init__(self, data_table_columns: list[str], pred_table_columns: list[str], *_: Any, **__: Any) -> None:
        """Log to the current run.

        Args:
            data_table_columns: of the examples.
            pred_table_columns: of the predictions.

        Raises:
            Error: there is no current run.
        """
        super().__init__()
        self._run = need_run("WandbEvalCallback()")
        self.data_table_columns, self.pred_table_columns = data_table_columns, pred_table_columns
        self.data_table_ref: wandb.Table | None = None

    @abstractmethod
    def add_ground_truth(self, logs: dict[str, float] | None = None) -> None:
        """Add the examples: ``self.data_table.add_data(...)``."""

    @abstractmethod
    def add_model_predictions(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Add what is predicted for them: ``self.pred_table.add_data(...)``."""

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Log the examples."""
        self.init_data_table(self.data_table_columns)
        self.add_ground_truth(logs)
        self.log_data_table()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Log the predictions."""
        self.init_pred_table(self.pred_table_columns)
        self.add_model_predictions(epoch, logs)
        self.log_pred_table()

    def init_data_table(self, column_names: list[str]) -> None:
        """Begin the table of examples."""
        self.data_table = wandb.Table(columns=column_names, allow_mixed_types=True)

    def init_pred_table(self, column_names: list[str]) -> None:
        """Begin a table of predictions."""
        self.pred_table = wandb.Table(columns=column_names)

    def log_data_table(self, name: str = "val", type: str = "dataset", table_name: str = "val_data") -> None:
        """Log the examples as an artifact, which counts as used by the run."""
        self._log(name, type, self.data_table, table_name, None)
        self.data_table_ref = self.data_table

    def log_pred_table(
        self, type: str = "evaluation", table_name: str = "eval_data", aliases: list[str] | None = None
    ) -> None:
        """Log the predictions as a version of the artifact ``run_ID_pred``."""
        self._log(f"run_{self._run.id}_pred", type, self.pred_table, table_name, aliases or ["latest"])

    def _log(self, name: str, kind: str, table: wandb.Table, table_name: str, aliases: list[str] | None) -> None:
        artifact = wandb.Artifact(name=name, type=kind)
        artifact.add(table, table_name)
        self._run.log_artifact(artifact, aliases=aliases)


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    raise refuse(f"integration.keras.{name}")
