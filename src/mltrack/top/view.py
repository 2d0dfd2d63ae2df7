"""How charts are drawn: what x is, which part of it, on which scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["AXES", "CLOCK", "METRIC", "STEP", "TIME", "Axis", "View"]

STEP, TIME, CLOCK, METRIC = "step", "time", "clock", "metric"

AXES = (STEP, TIME, CLOCK)
"""Those that need no name of a metric."""


class Axis(NamedTuple):
    """What x is: the step, the time since the run's start, the time of day, or another metric at the same step."""

    kind: str = STEP
    metric: str = ""

    @property
    def title(self) -> str:
        """Its name on the screen."""
        return {TIME: "time since start", METRIC: self.metric}.get(self.kind, self.kind)


BY_STEP = Axis()


@dataclass(frozen=True, slots=True)
class View:
    """How charts are drawn. ``zoom`` is the range of x that is shown, ``cursor`` the place that is read."""

    axis: Axis = BY_STEP
    log_y: bool = False
    smoothing: float = 0.0
    zoom: tuple[float, float] | None = None
    cursor: float | None = None

    @property
    def needs_points(self) -> bool:
        """Whether the bounds of pieces of a curve are not enough to draw by."""
        return self.smoothing > 0 or self.axis.kind == METRIC or self.zoom is not None
