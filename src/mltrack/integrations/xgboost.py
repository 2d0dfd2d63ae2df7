"""XGBoost: ``xgboost.train(..., callbacks=[MltrackCallback()])``, also with its scikit-learn classes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from xgboost.callback import TrainingCallback

from mltrack.integrations.run_holder import RunHolder, log_new_params
from mltrack.integrations.texts import as_params

if TYPE_CHECKING:
    from mltrack.recording.run import Run

__all__ = ["MltrackCallback"]


class MltrackCallback(TrainingCallback):  # type: ignore[misc]  # xgboost may not be installed
    """Logs each evaluation as ``dataset-metric`` by the number of the round, and the booster's settings as params.

    It logs to ``run``, else to the active run, else to one that it starts and ends with the training. Where a guard
    asks the run to stop, the training ends after the round.
    """

    def __init__(self, run: Run | None = None, *, run_name: str | None = None) -> None:
        super().__init__()
        self._holder = RunHolder(run, run_name=run_name)

    def before_training(self, model: Any) -> Any:
        """Log the settings that the booster has."""
        learner = json.loads(model.save_config())["learner"]
        settings = as_params(
            {"objective": learner["objective"]["name"], "booster": learner["gradient_booster"]["name"]}
        )
        settings |= as_params(learner["gradient_booster"].get("tree_train_param", {}))
        log_new_params(self._holder.get(), settings)
        return model

    def after_iteration(self, model: Any, epoch: int, evals_log: dict[str, dict[str, Any]]) -> bool:
        """Log the latest evaluations; with cross-validation, their means. True ends the training."""
        values = {}
        for data, metrics in evals_log.items():
            for metric, history in metrics.items():
                last = history[-1]
                values[f"{data}-{metric}"] = float(last[0] if isinstance(last, tuple) else last)
        if values:
            self._holder.get().log_metrics(values, step=epoch)
        return self._holder.should_stop

    def after_training(self, model: Any) -> Any:
        """Log where early stopping found the best round, and end the run, if it was started here."""
        best = model.attributes().get("best_iteration") if hasattr(model, "attributes") else None
        if best is not None:
            self._holder.get().log_metric("best_iteration", int(best))
        self._holder.end()
        return model
