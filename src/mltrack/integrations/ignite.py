"""PyTorch-Ignite: ``MltrackLogger().attach_output_handler(trainer, ...)``."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import ignite.distributed as idist
from ignite.handlers.base_logger import BaseLogger, BaseOptimizerParamsHandler, BaseOutputHandler
from ignite.handlers.utils import global_step_from_engine

from mltrack.integrations.run_holder import RunHolder
from mltrack.integrations.texts import loggable

if TYPE_CHECKING:
    from mltrack.recording.run import Run

__all__ = ["MltrackLogger", "OptimizerParamsHandler", "OutputHandler", "global_step_from_engine"]


class MltrackLogger(BaseLogger):  # type: ignore[misc]  # ignite may not be installed
    """Logs outputs, metrics and the optimizer's settings of engines that it is attached to, from the process of rank 0.

    It logs to ``run``, else to the active run, else to one that it starts and ``close`` (or ``with``) ends. It has the
    run's methods, too: ``logger.log_params({...})``.
    """

    def __init__(self, run: Run | None = None, *, run_name: str | None = None) -> None:
        self._holder = RunHolder(run, run_name=run_name)

    @cached_property
    def is_first(self) -> bool:
        """Whether this is the process of rank 0; asked when something is first logged."""
        return bool(idist.get_rank() == 0)

    def log_values(self, values: dict[str, Any], step: int) -> None:
        """Log numbers and texts of one step; in other processes than the first, nothing."""
        if self.is_first and values:
            self._holder.get().log(loggable(values), step)

    def close(self) -> None:
        """End the run, if it was started here."""
        self._holder.end()

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None:
        self._holder.end("FINISHED" if kind is None else "FAILED")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if not self.is_first:
            return lambda *args, **kwargs: None
        return getattr(self._holder.get(), name)

    def _create_output_handler(self, *args: Any, **kwargs: Any) -> OutputHandler:
        return OutputHandler(*args, **kwargs)

    def _create_opt_params_handler(self, *args: Any, **kwargs: Any) -> OptimizerParamsHandler:
        return OptimizerParamsHandler(*args, **kwargs)


class OutputHandler(BaseOutputHandler):  # type: ignore[misc]
    """Logs an engine's output and metrics as ``tag/name``; its parameters are those of Ignite's other loggers."""

    def __call__(self, engine: Any, logger: MltrackLogger, event_name: Any) -> None:
        """Log what there is at an event."""
        if not isinstance(logger, MltrackLogger):
            raise TypeError("Handler 'OutputHandler' works only with MltrackLogger")
        step = self.global_step_transform(engine, event_name)
        if not isinstance(step, int):
            raise TypeError(f"global_step_transform returned {step!r}, which is not an int")
        logger.log_values(self._setup_output_metrics_state_attrs(engine, log_text=True, key_tuple=False), step)


class OptimizerParamsHandler(BaseOptimizerParamsHandler):  # type: ignore[misc]
    """Logs a setting of an optimizer's groups, such as ``lr/group_0``."""

    def __call__(self, engine: Any, logger: MltrackLogger, event_name: Any) -> None:
        """Log what there is at an event."""
        if not isinstance(logger, MltrackLogger):
            raise TypeError("Handler 'OptimizerParamsHandler' works only with MltrackLogger")
        prefix = f"{self.tag}/" if self.tag else ""
        groups = enumerate(self.optimizer.param_groups)
        values = {f"{prefix}{self.param_name}/group_{n}": float(group[self.param_name]) for n, group in groups}
        logger.log_values(values, engine.state.get_event_attrib_value(event_name))
