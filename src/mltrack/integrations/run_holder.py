"""The run that a library's logger logs to: the one given, else the active one, else one of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mltrack.recording.active import active_run
from mltrack.recording.fluent import start_run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mltrack.recording.run import Run

__all__ = ["RunHolder", "log_new_params"]


class RunHolder:
    """Finds the run when it is first needed, and ends it only if it was started here."""

    def __init__(self, run: Run | None = None, *, run_name: str | None = None) -> None:
        """``run_name`` names the run that is started where none is given and none is active."""
        self._run = self._given = run
        self._run_name = run_name
        self._is_own = False

    def get(self) -> Run:
        """The run, started if need be.

        Raises:
            StoreError: it has to be started, and the store can't be written.
        """
        if self._run is not None and self._run is not self._given and self._run.ended:
            self._run, self._is_own = None, False  # by the program: another may be active now
        if self._run is None:
            self._run = active_run()
        if self._run is None:
            self._run, self._is_own = start_run(run_name=self._run_name), True
        return self._run

    @property
    def is_found(self) -> bool:
        """Whether ``get`` would not have to look for it."""
        return self._run is not None

    @property
    def should_stop(self) -> bool:
        """Whether a guard, or ``mltrack stop``, asks the run to stop."""
        return self._run is not None and not self._run.ended and self._run.should_stop

    def end(self, status: str = "FINISHED") -> None:
        """End a run that was started here; the next ``get`` looks for one again."""
        if self._is_own and self._run is not None and not self._run.ended:
            self._run.end(status)
        if self._is_own:
            self._run, self._is_own = None, False


def log_new_params(run: Run, params: Mapping[str, Any]) -> None:
    """Log params that the run does not have: those of a resumed training may have changed, which is not an error."""
    known = run.stored().params
    run.log_params({key: value for key, value in params.items() if key not in known})
