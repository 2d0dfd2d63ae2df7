"""``wandb.integration.xgboost``: WandbCallback, for XGBoost's ``callbacks``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from xgboost.callback import TrainingCallback

import mltrack.wandb as wandb
from mltrack.wandb.integration.best import define_best, log_importance, need_run

__all__ = ["WandbCallback"]


class WandbCallback(TrainingCallback):  # type: ignore[misc]  # xgboost may not be installed
    """Logs what XGBoost evaluates as ``DATA-METRIC`` with the number of the iteration as ``epoch``."""

    def __init__(
        self,
        log_model: bool = False,
        log_feature_importance: bool = True,
        importance_type: str = "gain",
        define_metric: bool = True,
    ) -> None:
        """Log to the current run.

        Args:
            log_model: log the model as an artifact when the training has ended.
            log_feature_importance: log how much each feature counts, then.
            importance_type: by what that is measured.
            define_metric: the summary has the best value of a metric, not the last one.

        Raises:
            Error: there is no current run.
        """
        super().__init__()
        self._run = need_run("WandbCallback()")
        self._log_model, self._log_importance = log_model, log_feature_importance
        self._importance_type, self._defines = importance_type, define_metric

    def before_training(self, model: Any) -> Any:
        """Take XGBoost's configuration as config."""
        self._run.config.update(json.loads(model.save_config()))
        return model

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        """Log what was evaluated."""
        row = {f"{data}-{name}": (name, log[-1]) for data, found in evals_log.items() for name, log in found.items()}
        if self._defines:
            for key, (name, _) in row.items():
                define_best(key, name)
        self._defines = False
        values = {key: value[0] if isinstance(value, tuple) else value for key, (_, value) in row.items()}
        self._run.log({**values, "epoch": epoch})
        return False

    def after_training(self, model: Any) -> Any:
        """Log the model and its best score."""
        if self._log_model:
            name = f"{self._run.id}_model.json"
            path = Path(self._run.dir) / name
            model.save_model(str(path))
            artifact = wandb.Artifact(name=name, type="model")
            artifact.add_file(str(path))
            self._run.log_artifact(artifact)
        if self._log_importance:
            log_importance(model.get_score(importance_type=self._importance_type), commit=True)
        if model.attr("best_score") is not None:
            best = {"best_score": float(model.attr("best_score")), "best_iteration": int(model.attr("best_iteration"))}
            self._run.log(best)
        return model
