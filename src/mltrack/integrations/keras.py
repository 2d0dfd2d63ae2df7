"""Keras: ``model.fit(..., callbacks=[MltrackCallback()])``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keras.callbacks import Callback

from mltrack.integrations.run_holder import RunHolder, log_new_params
from mltrack.integrations.texts import as_params, numbers

if TYPE_CHECKING:
    from mltrack.recording.run import Run

__all__ = ["MltrackCallback"]


class MltrackCallback(Callback):  # type: ignore[misc]  # keras may not be installed
    """Logs the metrics of each epoch under Keras's names (``loss``, ``val_loss``), and the optimizer's settings.

    It logs to ``run``, else to the active run, else to one that it starts and ends with ``fit``. Where a guard asks the
    run to stop, the training ends after the batch.
    """

    def __init__(self, run: Run | None = None, *, run_name: str | None = None, log_batches: bool = False) -> None:
        """``log_batches``: log each batch as well, as ``batch/loss`` by the number of the batch."""
        super().__init__()
        self._holder = RunHolder(run, run_name=run_name)
        self._log_batches = log_batches
        self._batches = 0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Log how ``fit`` was called and the optimizer's config."""
        run = self._holder.get()
        optimizer = getattr(self.model, "optimizer", None)
        settings = as_params(optimizer.get_config(), "optimizer.") if optimizer is not None else {}
        wanted = settings | as_params({key: value for key, value in (self.params or {}).items() if key != "verbose"})
        log_new_params(run, wanted)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Log a batch, if asked for."""
        if self._log_batches and logs:
            values = {f"batch/{key}": value for key, value in numbers(logs).items()}
            self._holder.get().log_metrics(values, step=self._batches)
        self._batches += 1
        if self._holder.should_stop:
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Log the metrics of an epoch."""
        if logs:
            self._holder.get().log_metrics(numbers(logs), step=epoch)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """End the run, if it was started here."""
        self._holder.end()
