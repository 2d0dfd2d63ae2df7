"""LightGBM: ``lightgbm.train(..., callbacks=[MltrackCallback()])``, also with its scikit-learn classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mltrack.integrations.run_holder import RunHolder
from mltrack.integrations.texts import as_params

if TYPE_CHECKING:
    from mltrack.recording.run import Run

__all__ = ["MltrackCallback"]


class MltrackCallback:
    """Logs each evaluation as ``dataset-metric`` by the number of the round, and the training's settings as params.

    It logs to ``run``, else to the active run, else to one that it starts, which ends with the last round. A training
    that early stopping ends calls nobody back, so its run ends with the program: start one by ``mltrack.start_run``.
    """

    order = 30  # after LightGBM's own, which evaluate

    def __init__(self, run: Run | None = None, *, run_name: str | None = None) -> None:
        self._holder = RunHolder(run, run_name=run_name)

    def __call__(self, env: Any) -> None:
        """Log one round."""
        run = self._holder.get()
        if env.iteration == env.begin_iteration:
            known = run.stored().params
            run.log_params({key: value for key, value in as_params(env.params).items() if key not in known})
        values = {f"{result[0]}-{result[1]}": float(result[2]) for result in env.evaluation_result_list or ()}
        if values:
            run.log_metrics(values, step=env.iteration)
        if env.iteration == env.end_iteration - 1:
            self._holder.end()
