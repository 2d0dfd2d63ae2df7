"""Reading the runs on the screen: each is opened once, and kept open for what is new."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mltrack.errors import MltrackError
from mltrack.store import Store
from mltrack.top.curves import RunCurves
from mltrack.top.details import LogTail, images_of, read_details
from mltrack.top.view import METRIC

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mltrack.catalog.overview import RunLine
    from mltrack.disk.layout import Layout
    from mltrack.errors import CorruptionError
    from mltrack.top.curves import Curve
    from mltrack.top.details import Details, ImageFile
    from mltrack.top.view import View

__all__ = ["Found", "Reader"]

OPEN_MAX = 60
"""How many runs are kept open for reading."""

POINTS_MAX = 30_000_000
"""How many points are kept in memory of runs that are not shown any more, with those that are: 24 bytes each."""


@dataclass(slots=True)
class Found:
    """What was read: curves by run and metric, the names of metrics by run, and what went wrong."""

    curves: dict[tuple[str, str], Curve] = field(default_factory=dict)
    keys: dict[str, list[str]] = field(default_factory=dict)
    problem: str = ""


class Reader:
    """Reads one store, for one thread."""

    def __init__(self, layout: Layout) -> None:
        """Open the store; damage is kept in ``damage``, as a log message would spoil the screen."""
        self.damage: list[CorruptionError] = []
        self.store = Store(layout)
        self.store.on_damage = self.damage.append
        self._open: OrderedDict[str, RunCurves] = OrderedDict()
        self._log: tuple[str, LogTail] | None = None

    def curves_of(self, runs: Sequence[RunLine], metrics: Iterable[str], view: View) -> Found:
        """The curves of some metrics of some runs, as they are now."""
        wanted = {*metrics, *([view.axis.metric] if view.axis.kind == METRIC else [])}
        found = Found()
        for line in runs:
            try:
                opened = self._opened(line.run_id)
                opened.poll()
                keys = found.keys[line.run_id] = opened.keys()
                for metric in wanted.intersection(keys):
                    curve = opened.curve(metric, exact=view.needs_points)
                    if curve is not None:
                        found.curves[line.run_id, metric] = curve
            except (MltrackError, OSError) as error:
                found.problem = str(error)
        self._close_some(len(runs))
        return found

    def _close_some(self, shown: int) -> None:
        """Let go of runs that are not shown, those first that were used longest ago."""
        while len(self._open) > OPEN_MAX or (
            len(self._open) > shown and sum(opened.points for opened in self._open.values()) > POINTS_MAX
        ):
            self._open.popitem(last=False)

    def _opened(self, run_id: str) -> RunCurves:
        """A run, open for reading."""
        found = self._open.get(run_id)
        if found is None:
            found = self._open[run_id] = RunCurves(self.store.run(run_id))
        self._open.move_to_end(run_id)
        return found

    def details_of(self, run_id: str) -> Details:
        """A run's facts, params and tags.

        Raises:
            MltrackError, OSError: it can't be read.
        """
        run = self._opened(run_id).run
        run.refresh()
        return read_details(run)

    def params_of(self, run_ids: Iterable[str]) -> dict[str, dict[str, str]]:
        """The params of several runs.

        Raises:
            MltrackError, OSError: one can't be read.
        """
        return {run_id: dict(self._opened(run_id).run.params) for run_id in run_ids}

    def log_of(self, run_id: str) -> str:
        """The end of its program's output.

        Raises:
            MltrackError, OSError: it can't be read.
        """
        if self._log is None or self._log[0] != run_id:
            self._log = (run_id, LogTail(self._opened(run_id).run))
        self._log[1].poll()
        return self._log[1].text

    def images_of(self, run_id: str) -> list[ImageFile]:
        """Its images.

        Raises:
            MltrackError, OSError: it can't be read.
        """
        return images_of(self._opened(run_id).run)
