"""Hugging Face's Trainer: ``Trainer(..., callbacks=[MltrackCallback()])``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from mltrack.integrations.run_holder import RunHolder, log_new_params
from mltrack.integrations.texts import as_params, numbers

if TYPE_CHECKING:
    from mltrack.recording.run import Run

__all__ = ["MltrackCallback"]


class MltrackCallback(TrainerCallback):  # type: ignore[misc]  # transformers may not be installed
    """Logs what the Trainer logs, under the Trainer's names, and the arguments and the model's config as params.

    It logs to ``run``, else to the active run, else to one that it starts with the training and ends with it. Of a
    training on several processes, the first one logs. Turn the Trainer's own integrations off by ``report_to="none"``.
    Where a guard asks the run to stop, a training on one process ends after the step; of several, the others would wait
    for the one that left: start these by ``mltrack run``, which ends them all.
    """

    def __init__(self, run: Run | None = None, *, run_name: str | None = None) -> None:
        self._holder = RunHolder(run, run_name=run_name)

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Log the arguments, and the model's config."""
        if not state.is_world_process_zero:
            return
        config: Any = getattr(model, "config", None)
        params = as_params(config.to_dict(), "model.") if hasattr(config, "to_dict") else {}
        log_new_params(self._holder.get(), params | as_params(args.to_dict()))

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Log numbers as metrics, at the training's step."""
        if state.is_world_process_zero and logs:
            self._holder.get().log_metrics(numbers(logs), step=state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """End the training, if it is on one process and the run is asked to stop."""
        if self._holder.should_stop and args.world_size == 1:
            control.should_training_stop = True

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """End the run, if it was started here."""
        self._holder.end()
