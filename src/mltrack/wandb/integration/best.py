"""Of which metrics the least value is the best one, and of which the greatest: ``define_metric`` keeps it."""

from __future__ import annotations

import mltrack.wandb as wandb
from mltrack.wandb.wandb_run import Run

__all__ = ["define_best", "log_importance", "need_run"]

_LEAST = {
    "binary_logloss",
    "error",
    "fair",
    "gamma",
    "huber",
    "l1",
    "l2",
    "mae",
    "mape",
    "merror",
    "mphe",
    "poisson",
    "rmse",
    "rmsle",
}
_GREATEST = {"auc", "aucpr", "average_precision", "map", "ndcg"}


def need_run(what: str) -> Run:
    """The current run.

    Raises:
        Error: there is none.
    """
    run: Run | None = wandb.run
    if run is None:
        raise wandb.Error(f"wandb.init() must be called before {what}")
    return run


def define_best(name: str, metric: str) -> None:
    """Keep the best value of a metric that is logged as ``name``, where it is known which one that is."""
    plain = metric.lower().partition("@")[0]
    if "loss" in plain or plain in _LEAST:
        need_run(name).define_metric(name, summary="min")
    elif plain in _GREATEST:
        need_run(name).define_metric(name, summary="max")


def log_importance(importance: dict[str, float], *, commit: bool) -> None:
    """Log how much each feature counts, as a bar chart's table."""
    table = wandb.Table(data=[[name, value] for name, value in importance.items()], columns=["Feature", "Importance"])
    chart = wandb.plot.bar(table, "Feature", "Importance", title="Feature Importance")
    need_run("its importance is logged").log({"Feature Importance": chart}, commit=commit)
