"""``wandb.integration.lightgbm``: wandb_callback, for LightGBM's ``callbacks``, and log_summary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mltrack.wandb as wandb
from mltrack.wandb.integration.best import define_best, log_importance, need_run

__all__ = ["log_summary", "wandb_callback"]


class _Callback:
    order = 20
    before_iteration = False

    def __init__(self, log_params: bool, define_metric: bool) -> None:
        self._log_params, self._defines = log_params, define_metric

    def __call__(self, env: Any) -> None:
        run, row = need_run("the training begins"), _row(env.evaluation_result_list)
        if env.iteration == env.begin_iteration:
            if self._log_params:
                run.config.update(env.params)
            for name, (metric, _) in row.items() if self._defines else ():
                define_best(name, metric)
        run.log({**{name: value for name, (_, value) in row.items()}, "iteration": env.iteration})


def _row(results: Any) -> dict[str, tuple[str, float]]:
    """What was evaluated: by the name it is logged as, the metric and the value."""
    row = {}
    for item in results:
        if len(item) == 4:
            row[f"{item[0]}_{item[1]}"] = (item[1], item[2])
        else:  # of a cross-validation mean and standard deviation
            data, metric = item[1].split() if " " in item[1] else item[:2]
            row[f"{data}_{metric}-mean"] = (metric, item[2])
            row[f"{data}_{metric}-stdv"] = (metric, item[4])
    return row


def wandb_callback(log_params: bool = True, define_metric: bool = True) -> Any:
    """A callback that logs what LightGBM evaluates as ``DATA_METRIC``, with ``iteration``.

    Args:
        log_params: take the training's params as config.
        define_metric: the summary has the best value of a metric, not the last one.
    """
    return _Callback(log_params, define_metric)


def log_summary(model: Any, feature_importance: bool = True, save_model_checkpoint: bool = False) -> None:
    """Log what is known after the training: best iteration and score, how much features count, the model.

    Raises:
        Error: there is no current run.
    """
    run = need_run("log_summary()")
    run.summary["best_iteration"] = model.best_iteration
    run.summary["best_score"] = {name: dict(scores) for name, scores in model.best_score.items()}
    if feature_importance:
        found = zip(model.feature_name(), model.feature_importance().tolist(), strict=True)
        log_importance(dict(found), commit=False)
    if save_model_checkpoint:
        path = Path(run.dir) / f"model_ckpt_{model.best_iteration}.txt"
        model.save_model(path, num_iteration=model.best_iteration)
        artifact = wandb.Artifact(name=f"model_{run.id}", type="model")
        artifact.add_file(str(path))
        run.log_artifact(artifact, aliases=["best"])
