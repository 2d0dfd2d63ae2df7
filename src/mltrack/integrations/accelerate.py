"""Hugging Face's Accelerate: ``Accelerator(log_with=MltrackTracker())``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from accelerate.tracking import GeneralTracker, on_main_process

from mltrack.integrations.run_holder import RunHolder, log_new_params
from mltrack.integrations.texts import as_params, loggable
from mltrack.values.rich import Image

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mltrack.recording.run import Run

__all__ = ["MltrackTracker"]


class MltrackTracker(GeneralTracker):  # type: ignore[misc]  # accelerate may not be installed
    """Logs what ``accelerator.log`` logs, and the config of ``init_trackers`` as params, from the main process.

    It logs to ``run``, else to the active run, else to one that it starts and ``accelerator.end_training`` ends.
    ``accelerator.get_tracker("mltrack", unwrap=True)`` is the run. Its experiment is that of ``set_experiment``: of a
    tracker that it did not make, Accelerate does not pass the project's name on.
    """

    name = "mltrack"
    requires_logging_directory = False
    main_process_only = True

    def __init__(self, run: Run | None = None, *, run_name: str | None = None) -> None:
        super().__init__()
        self._holder = RunHolder(run, run_name=run_name)

    @property
    @on_main_process  # type: ignore[untyped-decorator]
    def tracker(self) -> Run:
        """The run, for anything that is logged by hand; None in other processes than the main one."""
        return self._holder.get()

    @on_main_process  # type: ignore[untyped-decorator]
    def start(self) -> None:
        """Find or start the run."""
        self._holder.get()

    @on_main_process  # type: ignore[untyped-decorator]
    def store_init_configuration(self, values: Mapping[str, Any]) -> None:
        """Log the config of ``init_trackers`` as params."""
        log_new_params(self._holder.get(), as_params(values))

    @on_main_process  # type: ignore[untyped-decorator]
    def log(self, values: Mapping[str, Any], step: int | None = None, **kwargs: Any) -> None:
        """Log numbers and texts; those of a mapping as ``name/key``. Without ``step``, steps are counted."""
        found = loggable(values)
        if found:
            self._holder.get().log(found, step)

    @on_main_process  # type: ignore[untyped-decorator]
    def log_images(self, values: Mapping[str, Sequence[Any]], step: int | None = None, **kwargs: Any) -> None:
        """Log a batch of images (arrays, PIL images or paths) under each name, as ``name/0``, ``name/1``, ..."""
        images = {
            f"{name}/{number}": Image(image) for name, batch in values.items() for number, image in enumerate(batch)
        }
        if images:
            self._holder.get().log(images, step)

    @on_main_process  # type: ignore[untyped-decorator]
    def finish(self) -> None:
        """End the run, if it was started here."""
        self._holder.end()
