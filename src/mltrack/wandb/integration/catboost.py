"""``wandb.integration.catboost``: WandbCallback, for CatBoost's ``callbacks``, and log_summary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mltrack.wandb as wandb
from mltrack.wandb.integration.best import log_importance, need_run
from mltrack.wandb.refused import refuse

__all__ = ["WandbCallback", "log_summary"]


class WandbCallback:
    """Logs what CatBoost evaluates as ``DATA-METRIC``."""

    def __init__(self, metric_period: int = 1) -> None:
        """Log to the current run, every ``metric_period`` iterations.

        Raises:
            Error: there is no current run.
        """
        self._run = need_run("WandbCallback()")
        self._every = max(1, int(metric_period))

    def after_iteration(self, info: Any) -> bool:
        """Log what was evaluated; the training goes on."""
        if info.iteration % self._every == 0:
            values = {f"{data}-{name}": log[-1] for data, found in info.metrics.items() for name, log in found.items()}
            self._run.log({**values, f"iteration@metric-period-{self._every}": info.iteration})
        return True


def log_summary(
    model: Any,
    log_all_params: bool = True,
    save_model_checkpoint: bool = False,
    log_feature_importance: bool = True,
) -> None:
    """Log what a model is like that was trained.

    Args:
        model: the model.
        log_all_params: its params as config.
        save_model_checkpoint: the model as an artifact.
        log_feature_importance: how much each feature counts.

    Raises:
        Error: there is no current run.
    """
    run = need_run("log_summary()")
    if log_all_params:
        run.config.update(model.get_all_params())
    best = model.get_best_iteration()
    if best is not None:
        run.summary["best_iteration"] = best
    run.summary["best_score"] = model.get_best_score()
    if save_model_checkpoint:
        path = Path(run.dir) / "model"
        model.save_model(str(path))
        artifact = wandb.Artifact(name=f"model_{run.id}", type="model")
        artifact.add_file(str(path))
        run.log_artifact(artifact, aliases=["latest", "best"])
    if log_feature_importance:
        rows = model.get_feature_importance(prettified=True)
        found = zip(rows["Feature Id"], rows["Importances"], strict=True)
        log_importance({str(name): float(value) for name, value in found}, commit=True)


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    raise refuse(f"integration.catboost.{name}")
