"""Stable-Baselines3: ``model.set_logger(Logger(None, [MltrackOutputFormat()]))``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stable_baselines3.common.logger import Figure, FormatUnsupportedError, HParam, Image, KVWriter, Video

from mltrack.integrations.run_holder import RunHolder, log_new_params
from mltrack.integrations.tensorboard import SummaryWriter
from mltrack.integrations.texts import as_params, loggable, numbers
from mltrack.values.rich import Histogram
from mltrack.values.rich import Image as LoggedImage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mltrack.recording.run import Run

__all__ = ["MltrackOutputFormat"]

NAME = "mltrack"
"""The format's name in ``logger.record(key, value, exclude="mltrack")``."""


class MltrackOutputFormat(KVWriter):  # type: ignore[misc]  # stable_baselines3 may not be installed
    """Logs what the agent's logger records, under its names (``rollout/ep_rew_mean``), at the number of timesteps.

    Numbers are metrics, texts texts, tensors histograms, figures and images files, ``HParam`` params and metrics.

    It logs to ``run``, else to the active run, else to one that it starts and ``close`` ends, or else the program's
    end.
    """

    def __init__(self, run: Run | None = None, *, run_name: str | None = None) -> None:
        self._holder = RunHolder(run, run_name=run_name)

    def write(self, key_values: Mapping[str, Any], key_excluded: Mapping[str, Any], step: int = 0) -> None:
        """Log the values of one ``dump``.

        Raises:
            FormatUnsupportedError: there is a video among them; the others are logged.
        """
        run = self._holder.get()
        values = {key: value for key, value in key_values.items() if NAME not in (key_excluded.get(key) or ())}
        plain = loggable(values)
        if plain:
            run.log(plain, step)
        for key, value in values.items():
            if key not in plain:
                _log_special(run, key, value, step)
        if any(isinstance(value, Video) for value in values.values()):
            raise FormatUnsupportedError([NAME], "video")

    def close(self) -> None:
        """End the run, if it was started here."""
        self._holder.end()


def _log_special(run: Run, key: str, value: Any, step: int) -> None:
    if isinstance(value, HParam):
        log_new_params(run, as_params(value.hparam_dict))
        run.log_metrics(numbers(value.metric_dict), step)
    elif isinstance(value, Figure):
        SummaryWriter(run=run).add_figure(key, value.figure, step, close=value.close)
    elif isinstance(value, Image) and isinstance(value.image, str):
        run.log({key: LoggedImage(value.image)}, step)
    elif isinstance(value, Image):
        SummaryWriter(run=run).add_image(key, value.image, step, dataformats=value.dataformats)
    elif hasattr(value, "shape"):
        run.log({key: Histogram(value)}, step)
