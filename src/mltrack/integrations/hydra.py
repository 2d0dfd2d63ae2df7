"""Hydra: a run for each job, by ``hydra.callbacks.mltrack._target_: mltrack.integrations.hydra.MltrackCallback``."""

from __future__ import annotations

import numbers
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobStatus
from hydra.experimental.callback import Callback
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mltrack.disk.layout import find_store
from mltrack.environment import MLTRACK_PARENT_RUN_ID, MLTRACK_STORE
from mltrack.integrations.run_holder import log_new_params
from mltrack.integrations.texts import as_params
from mltrack.recording.active import active_run
from mltrack.recording.current_store import current_layout, is_store_set, set_store, workspace_of
from mltrack.recording.fluent import start_run

if TYPE_CHECKING:
    from mltrack.recording.run import Run

__all__ = ["MltrackCallback"]

JOB_TAG, NUMBER_TAG, OVERRIDES_TAG = "hydra.job", "hydra.job.num", "hydra.overrides"


class MltrackCallback(Callback):  # type: ignore[misc]  # hydra may not be installed
    """Makes each job a run, active while the job's function runs: what that logs goes there.

    Its params are the job's config, its tags the overrides; the files of ``.hydra`` become artifacts below ``hydra/``,
    and a number that the function returns is the metric ``return_value``. A job that raises is FAILED. The jobs of a
    multirun are children of a run of their own. Where a run is active already, it is the parent.
    """

    def __init__(
        self, experiment_name: str | None = None, run_name: str | None = None, log_outputs: bool = False
    ) -> None:
        """As named in Hydra's config.

        Args:
            experiment_name: the experiment of the runs; else that of the environment.
            run_name: the name of the run, or of a multirun's parent; else that of the job.
            log_outputs: copy all files of the job's output folder into the run's artifacts, below ``outputs/``.
        """
        self._experiment_name = experiment_name
        self._run_name = run_name
        self._log_outputs = log_outputs
        self._parent: Run | None = None
        self._run: Run | None = None

    def on_multirun_start(self, config: Any, **kwargs: Any) -> None:
        """Start the parent of the jobs' runs; other processes that run jobs find its id in the environment."""
        tags = {JOB_TAG: config.hydra.job.name, OVERRIDES_TAG: " ".join(config.hydra.overrides.task)}
        self._parent = self._start(self._run_name or str(config.hydra.job.name), tags)
        os.environ[MLTRACK_PARENT_RUN_ID] = self._parent.run_id

    def on_multirun_end(self, config: Any, **kwargs: Any) -> None:
        """End it."""
        os.environ.pop(MLTRACK_PARENT_RUN_ID, None)
        if self._parent is not None:
            self._parent.end()

    def on_job_start(self, config: Any, **kwargs: Any) -> None:
        """Start the job's run, and log its config and overrides."""
        job = config.hydra.job
        number = OmegaConf.select(config, "hydra.job.num")
        tags = {JOB_TAG: job.name, OVERRIDES_TAG: " ".join(config.hydra.overrides.task)}
        if number is not None:
            tags[NUMBER_TAG] = str(number)
        _keep_store(config)
        name = self._run_name or str(job.name)
        self._run = self._start(name if number is None else f"{job.name} {number}", tags)
        log_new_params(self._run, as_params(_task_config(config)))

    def on_job_end(self, config: Any, job_return: Any, **kwargs: Any) -> None:
        """Log Hydra's files and what the function returned, and end the run."""
        run, self._run = self._run, None
        if run is None or run.ended:
            return
        folder = Path(config.hydra.runtime.output_dir)
        if config.hydra.output_subdir is not None and (folder / config.hydra.output_subdir).is_dir():
            run.log_artifacts(folder / config.hydra.output_subdir, "hydra")
        if self._log_outputs:
            run.log_artifacts(folder, "outputs")
        completed = job_return.status == JobStatus.COMPLETED
        if completed and isinstance(job_return.return_value, numbers.Real):
            run.log_metric("return_value", float(job_return.return_value))
        run.end("FINISHED" if completed else "FAILED")

    def _start(self, name: str, tags: dict[str, str]) -> Run:
        experiment_id = None
        if self._experiment_name is not None:
            experiment_id = workspace_of(current_layout()).get_or_create(self._experiment_name).experiment_id
        parent_id = os.environ.get(MLTRACK_PARENT_RUN_ID) if active_run() is None else None
        return start_run(experiment_id=experiment_id, run_name=name, nested=True, parent_run_id=parent_id, tags=tags)


def _keep_store(config: Any) -> None:
    """Where jobs run in folders of their own (``hydra.job.chdir``), the store is still that of the program's folder."""
    started_in = OmegaConf.select(config, "hydra.runtime.cwd")
    if started_in is not None and MLTRACK_STORE not in os.environ and not is_store_set():
        store = find_store(start=Path(started_in))
        if store != find_store():
            set_store(store)


def _task_config(config: Any) -> dict[Any, Any]:
    """The job's config without Hydra's own; interpolations that can't be resolved stay as they are written."""
    found: dict[Any, Any] = {}
    for name in config:
        if name == "hydra":
            continue
        try:
            value = config[name]
            found[name] = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        except OmegaConfBaseException:
            raw = OmegaConf.to_container(config, resolve=False)
            found[name] = raw[name] if isinstance(raw, dict) else None
    return found
