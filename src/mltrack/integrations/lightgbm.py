"""LightGBM: ``lightgbm.train(..., callbacks=[MltrackCallback()])``, also with its scikit-learn classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mltrack.integrations.run_holder import RunHolder, log_new_params
from mltrack.integrations.texts import as_params

if TYPE_CHECKING:
    from mltrack.recording.run import Run

__all__ = ["MltrackCallback"]


class MltrackCallback:
    """Logs each evaluation as ``dataset-metric`` by the number of the round, and the training's settings as params.

    It logs to ``run``, else to the active run, else to one that it starts, which ends with the last round. LightGBM
    does not tell its callbacks that early stopping has ended a training: there use ``with MltrackCallback() as
    callback:`` around it, or ``callback.end()``. Otherwise the run ends with the next training that has the same
    callback, or with the program. Where a guard asks the run to stop, the training ends after the round, as by early
    stopping.
    """

    order = 25  # after LightGBM's own that print and record, before early stopping, which leaves out what comes later

    def __init__(self, run: Run | None = None, *, run_name: str | None = None) -> None:
        self._holder = RunHolder(run, run_name=run_name)

    def __call__(self, env: Any) -> None:
        """Log one round."""
        if env.iteration == env.begin_iteration:
            self._holder.end()  # of a training that was stopped early
            log_new_params(self._holder.get(), as_params(env.params))
        values = {f"{result[0]}-{result[1]}": float(result[2]) for result in env.evaluation_result_list or ()}
        if values:
            self._holder.get().log_metrics(values, step=env.iteration)
        stopping = self._holder.should_stop
        if stopping or env.iteration == env.end_iteration - 1:
            self._holder.end()
        if stopping:
            from lightgbm.callback import EarlyStopException

            raise EarlyStopException(env.iteration, env.evaluation_result_list)

    def end(self, status: str = "FINISHED") -> None:
        """End the run, if it was started here and has not ended."""
        self._holder.end(status)

    def __enter__(self) -> MltrackCallback:
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        self.end("FINISHED" if kind is None else "FAILED")
