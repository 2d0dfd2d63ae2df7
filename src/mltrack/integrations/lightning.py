"""Lightning and Fabric: ``Trainer(logger=MltrackLogger())``."""

from __future__ import annotations

import weakref
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from mltrack.extras import is_installed

try:
    from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment
    from lightning.pytorch.utilities import rank_zero_only
except ModuleNotFoundError:
    if not is_installed("pytorch_lightning"):
        raise  # it names the package that is to be installed today
    from pytorch_lightning.loggers.logger import Logger, rank_zero_experiment
    from pytorch_lightning.utilities import rank_zero_only

from mltrack.integrations.run_holder import RunHolder, log_new_params
from mltrack.integrations.texts import as_params, numbers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mltrack.recording.run import Run

__all__ = ["MltrackLogger"]

STATUSES = {"success": "FINISHED", "finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}


class MltrackLogger(Logger):  # type: ignore[misc]  # lightning may not be installed
    """Logs what a LightningModule logs, and its hyperparameters as params, from the process of rank 0.

    It logs to ``run``, else to the active run, else to one that it starts and ends with the training. Where a guard
    asks the run to stop, a training on one process ends after the step that is logged next; of several, the others
    would wait for the one that left: start these by ``mltrack run``, which ends them all.
    """

    def __init__(self, run: Run | None = None, *, run_name: str | None = None, log_checkpoints: bool = False) -> None:
        """``log_checkpoints``: copy the best checkpoints into the run's artifacts when the training ends."""
        super().__init__()
        self._holder = RunHolder(run, run_name=run_name)
        self._log_checkpoints = log_checkpoints
        self._checkpoints: Any = None
        self._module: weakref.ref[Any] | None = None

    @property
    def name(self) -> str:
        """The experiment's name, which is the folder of Lightning's checkpoints."""
        return str(self._holder.get().info.experiment_name)

    @property
    def version(self) -> str:
        """The run's id, the folder below."""
        return self._holder.get().run_id

    @property
    @rank_zero_experiment  # type: ignore[untyped-decorator]
    def experiment(self) -> Run:
        """The run, for anything that is logged by hand."""
        return self._holder.get()

    @rank_zero_only  # type: ignore[untyped-decorator]
    def log_hyperparams(self, params: Mapping[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Log hyperparameters that are not logged yet."""
        wanted = as_params(vars(params) if isinstance(params, Namespace) else params)
        log_new_params(self._holder.get(), wanted)

    @rank_zero_only  # type: ignore[untyped-decorator]
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics of one step."""
        self._holder.get().log_metrics(numbers(metrics), step=step)
        trainer = self._trainer()
        if trainer is not None and trainer.world_size == 1 and self._holder.should_stop:
            trainer.should_stop = True

    def log_graph(self, model: Any, input_array: Any = None) -> None:
        """Remember the module that is trained, as it knows the trainer; the graph itself is not logged."""
        self._module = weakref.ref(model)

    def _trainer(self) -> Any:
        """The trainer that logs here; None with Fabric, where the program has the loop."""
        module = None if self._module is None else self._module()
        return None if module is None else getattr(module, "_trainer", None)

    @rank_zero_only  # type: ignore[untyped-decorator]
    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        """Remember whose checkpoints these are."""
        self._checkpoints = checkpoint_callback

    @rank_zero_only  # type: ignore[untyped-decorator]
    def finalize(self, status: str) -> None:
        """Log the checkpoints, if asked for, and end the run, if it was started here."""
        if not self._holder.is_found:
            return
        if self._log_checkpoints and self._checkpoints is not None:
            for path in dict.fromkeys([*self._checkpoints.best_k_models, self._checkpoints.best_model_path]):
                if path:
                    self._holder.get().log_artifact(path, "checkpoints")
            self._checkpoints = None
        self._holder.end(STATUSES.get(status, "FINISHED"))
