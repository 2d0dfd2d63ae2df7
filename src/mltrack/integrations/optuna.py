"""Optuna: a run for each trial, ``study.optimize(tracker.track(objective), ...)``."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from optuna.exceptions import TrialPruned

from mltrack.integrations.run_holder import log_new_params
from mltrack.integrations.texts import as_params
from mltrack.recording.active import active_run
from mltrack.recording.fluent import start_run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mltrack.recording.run import Run

__all__ = ["MltrackTracker"]

STUDY_TAG, NUMBER_TAG, STATE_TAG = "optuna.study", "optuna.trial", "optuna.state"


class MltrackTracker:
    """Records each trial as a run: its params, its value and intermediate values, its place in the study.

    The run is a child of the run that was active when the study began, if there was one. What the objective logs goes
    to the trial's run. A pruned trial is FINISHED with the tag ``optuna.state`` PRUNED, as it did not fail; one whose
    objective raises is FAILED.
    """

    def __init__(self, metric_names: Sequence[str] = ("value",)) -> None:
        """``metric_names`` name the values that the objective returns, one for each."""
        self._names = list(metric_names)

    def track(self, objective: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """The objective, with a run of its own for each trial."""
        parent = active_run()

        @functools.wraps(objective)
        def tracked(trial: Any) -> Any:
            name = f"{trial.study.study_name} {trial.number}"
            tags = {STUDY_TAG: trial.study.study_name, NUMBER_TAG: trial.number}
            parent_id = None if parent is None else parent.run_id
            with start_run(run_name=name, nested=True, parent_run_id=parent_id, tags=tags) as run:
                try:
                    values = objective(trial)
                except TrialPruned:
                    self._close(run, trial, "PRUNED", None)
                    run.end()
                    raise
                except BaseException:
                    self._close(run, trial, "FAIL", None)
                    raise
                self._close(run, trial, "COMPLETE", values)
            return values

        return tracked

    def _close(self, run: Run, trial: Any, state: str, values: Any) -> None:
        """Log what is known of a trial at its end."""
        log_new_params(run, as_params(trial.params))
        frozen = trial.study.get_trials(deepcopy=False)[trial.number]
        for step, value in sorted(frozen.intermediate_values.items()):
            run.log_metric("intermediate_value", value, step=step)
        run.set_tags({STATE_TAG: state} | {f"optuna.{key}": value for key, value in trial.user_attrs.items()})
        if values is not None:
            found = values if isinstance(values, list | tuple) else [values]
            names = self._names if len(self._names) == len(found) else [f"value_{n}" for n in range(len(found))]
            run.log_metrics(dict(zip(names, map(float, found), strict=True)))
