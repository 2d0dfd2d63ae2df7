"""TensorBoard's ``SummaryWriter``, onto a run: ``from mltrack.integrations.tensorboard import SummaryWriter``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mltrack.errors import UsageError
from mltrack.integrations.run_holder import RunHolder
from mltrack.integrations.texts import as_params, numbers
from mltrack.values.rich import Histogram, Image, Text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mltrack.recording.run import Run

__all__ = ["SummaryWriter"]


class SummaryWriter:
    """The methods of ``torch.utils.tensorboard.SummaryWriter`` that a run has a place for; the others say so.

    It logs to ``run``, else to the active run, else to one that it starts and ``close`` ends. A tag of several parts
    (``loss/train``) is a metric's name.
    """

    def __init__(self, log_dir: str | None = None, comment: str = "", run: Run | None = None, **options: Any) -> None:
        """As TensorBoard's; ``log_dir`` and ``comment`` name the run that is started. ``options`` have no effect."""
        self.log_dir = log_dir
        self._holder = RunHolder(run, run_name=f"{log_dir or ''}{comment}" or None)

    def __enter__(self) -> SummaryWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add_scalar(
        self, tag: str, scalar_value: Any, global_step: int | None = None, walltime: float | None = None, **_: Any
    ) -> None:
        """Log one value; ``walltime`` is in seconds since 1970."""
        time_ms = None if walltime is None else int(walltime * 1000)
        self._holder.get().log_metric(tag, float(scalar_value), step=global_step, timestamp=time_ms)

    def add_scalars(
        self, main_tag: str, tag_scalar_dict: Mapping[str, Any], global_step: int | None = None, **_: Any
    ) -> None:
        """Log several values as ``main_tag/name``."""
        values = {f"{main_tag}/{name}": value for name, value in numbers(tag_scalar_dict).items()}
        self._holder.get().log_metrics(values, step=global_step)

    def add_histogram(
        self, tag: str, values: Any, global_step: int | None = None, bins: int | str = 64, **_: Any
    ) -> None:
        """Log how often values fell into ``bins`` equal bins; TensorBoard's own ways to choose bins are 64 here."""
        self._holder.get().log({tag: Histogram(values, bins if isinstance(bins, int) else 64)}, step=global_step)

    def add_image(
        self, tag: str, img_tensor: Any, global_step: int | None = None, dataformats: str = "CHW", **_: Any
    ) -> None:
        """Log one image; ``dataformats`` says which axis is which: ``CHW``, ``HWC`` or ``HW``."""
        pixels = np.asarray(img_tensor.detach().cpu() if hasattr(img_tensor, "detach") else img_tensor)
        if sorted(dataformats) not in (sorted("CHW"), sorted("HW")) or pixels.ndim != len(dataformats):
            raise UsageError(
                f"an image of shape {pixels.shape} does not have the axes {dataformats!r}", hint="give dataformats="
            )
        axes = [dataformats.index(axis) for axis in "HWC" if axis in dataformats]
        self._holder.get().log({tag: Image(pixels.transpose(axes))}, step=global_step)

    def add_figure(self, tag: str, figure: Any, global_step: int | None = None, **_: Any) -> None:
        """Log a Matplotlib figure as an artifact below ``figures/``."""
        step = "" if global_step is None else f"_{global_step}"
        self._holder.get().log_figure(figure, f"figures/{tag}{step}.png")

    def add_text(self, tag: str, text_string: str, global_step: int | None = None, **_: Any) -> None:
        """Log a text."""
        self._holder.get().log({tag: Text(text_string)}, step=global_step)

    def add_hparams(
        self, hparam_dict: Mapping[str, Any], metric_dict: Mapping[str, Any], *_: Any, global_step: int | None = None
    ) -> None:
        """Log params, and metrics of the whole run."""
        run = self._holder.get()
        run.log_params(as_params(hparam_dict))
        run.log_metrics(numbers(metric_dict), step=global_step)

    def flush(self) -> None:
        """Make durable what was logged."""
        self._holder.get().flush()

    def close(self) -> None:
        """End the run, if it was started here."""
        self._holder.end()

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("add_", "get_")):
            raise UsageError(
                f"SummaryWriter.{name} has no place in a run",
                hint="log a file with run.log_artifact, or keep TensorBoard's writer for it",
            )
        raise AttributeError(name)
