"""The state of the screen, without the screen: which runs are listed and shown, and what is known of them.

One thread reads the store (``load``, ``poll``, ``poll_run``), another one draws. What they share is replaced as a
whole, never changed. Imports are few here, so that the first rows appear at once; reading.py has the rest.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from mltrack.disk.layout import is_run_id
from mltrack.errors import FilterError, MltrackError
from mltrack.text.counting import plural
from mltrack.top.colours import ColourBook
from mltrack.top.filters import GROUP_EXPERIMENT, GROUP_PARENT, metric_filter, parse_line
from mltrack.top.tree import RunTree
from mltrack.top.view import METRIC, View

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from mltrack.catalog.overview import RunLine
    from mltrack.disk.layout import Layout
    from mltrack.top.chart import Line
    from mltrack.top.curves import Curve
    from mltrack.top.details import Details, ImageFile
    from mltrack.top.reading import Reader
    from mltrack.top.remotes import RemoteState
    from mltrack.top.settings import Settings

__all__ = ["SHOWN_MAX", "SYSTEM", "Board"]

SHOWN_MAX = 20
"""How many runs of a group are drawn: the latest ones."""

GLANCE_MAX = 500
"""How many runs the first look takes: enough for a screen, as each costs some microseconds."""

SYSTEM = "system/"
"""What the names of system metrics begin with."""


class Board:
    """What is on the screen."""

    def __init__(self, layout: Layout, settings: Settings, *, clock: Callable[[], int] = time.time_ns) -> None:
        """Nothing is read yet.

        Args:
            layout: the store to show.
            settings: how; changed by what is chosen here.
            clock: ns since the epoch.
        """
        self.layout = layout
        self.settings = settings
        self.clock = clock
        self.tree = RunTree(group_by=settings.store.group_by)
        self.view = View(settings.store.x, settings.store.log_y, settings.store.smoothing)
        self.colours = ColourBook(settings.store.colours)
        self.problem = ""  # what is wrong with the filter, or with the store
        self.loaded = False
        self.to_read = 0  # how many runs the first look at the run folders has before it
        self.by_id: dict[str, RunLine] = {}
        self.selected = ""
        self.curves: dict[tuple[str, str], Curve] = {}
        self.keys: dict[str, list[str]] = {}
        self.details: Details | None = None
        self.params: dict[str, dict[str, str]] = {}  # of all runs that are shown
        self.log = ""
        self.images: list[ImageFile] = []
        self.remotes: list[RemoteState] = []
        self._reader: Reader | None = None

    @property
    def reader(self) -> Reader:
        """What reads the store."""
        if self._reader is None:
            from mltrack.top.reading import Reader

            self._reader = Reader(self.layout)
        return self._reader

    @property
    def damaged(self) -> int:
        """In how many places something could not be read or verified, so is not shown."""
        return 0 if self._reader is None else len(self._reader.damage)

    # --- runs ---

    def glance(self) -> bool:
        """Take the runs that the catalog has, without a look at the run folders; whether there are any."""
        from mltrack.catalog.overview import overview_on_disk

        kept = self.settings.store
        try:
            lines = overview_on_disk(self.layout, parse_line(kept.filter, kept.group_by), GLANCE_MAX)
        except MltrackError:
            return False  # the search that follows says why
        if lines:
            self._take(lines)
        return bool(lines)

    def count(self) -> bool:
        """Count the run folders, where the first rows wait for the catalog to be built; whether there are any."""
        self.to_read = 0 if self.tree.lines else sum(map(is_run_id, _names_in(self.layout.runs)))
        return bool(self.to_read)

    @property
    def reading(self) -> str:
        """What to say until the runs are read."""
        return f"reading {plural(self.to_read, 'run')}…" if self.to_read else "reading…"

    def load(self) -> bool:
        """Read the list of runs; whether it changed. What is wrong is in ``problem``."""
        kept = self.settings.store
        try:
            lines = self.reader.store.overview(parse_line(kept.filter, kept.group_by))
        except (MltrackError, OSError) as error:
            changed, self.problem = self.problem != str(error), str(error)
            return changed
        changed = not self.loaded or bool(self.problem) or self.tree.group_by != kept.group_by
        changed = changed or lines != self.tree.lines
        self.problem, self.loaded = "", True
        if changed:
            self._take(lines)
        return changed

    def _take(self, lines: list[RunLine]) -> None:
        tree = RunTree(closed=self.tree.closed, opened=self.tree.opened)
        tree.show(lines, self.settings.store.group_by)
        self.by_id = {line.run_id: line for line in lines}
        line, seen = self.by_id.get(self.selected), set[str]()
        while line is not None and line.parent_run_id not in seen:  # the cursor's row can be seen
            seen.add(line.parent_run_id or "")
            line = self.by_id.get(line.parent_run_id or "")
        tree.opened |= seen - {""}
        self.tree = tree

    @property
    def run(self) -> RunLine | None:
        """The run that the panes describe: the one at the cursor, or the latest of its group."""
        if self.selected in self.by_id:
            return self.by_id[self.selected]
        below = self.tree.below(self.selected, 1)
        return below[0] if below else None

    def shown(self) -> list[RunLine]:
        """The runs whose curves are drawn: the one at the cursor, or those of its group; then those that are pinned."""
        chosen: list[RunLine] = []
        if self.selected in self.by_id:
            chosen = [self.by_id[self.selected]]
            if self.selected not in self.tree.opened:
                chosen += self.tree.below(self.selected, SHOWN_MAX - 1)
        elif self.selected:
            chosen = self.tree.below(self.selected, SHOWN_MAX)
        pinned = [self.by_id[pin] for pin in self.settings.store.pins if pin in self.by_id]
        found = list({line.run_id: line for line in [*chosen, *pinned]}.values())
        self.colours.assign(line.run_id for line in [*pinned, *chosen])
        return found

    def toggle_pin(self, run_id: str) -> None:
        """Pin a run, so that it stays on the charts, or release it. Its colour is remembered."""
        pins = self.settings.store.pins
        if run_id in pins:
            pins.remove(run_id)
        elif run_id in self.by_id:
            pins.append(run_id)
            self.settings.store.colours |= self.colours.assign([run_id])

    def groupings(self) -> list[str]:
        """What runs may be grouped by, as far as the run at the cursor shows."""
        names = [GROUP_EXPERIMENT, GROUP_PARENT, "status", "user_id"]
        if self.details is not None:
            names += [f"params.{key}" for key, _ in self.details.params]
            names += [f"tags.{key}" for key, _ in self.details.tags]
        return names

    def differing(self) -> list[str]:
        """The params that are not the same in all runs that are shown."""
        names = sorted({name for params in self.params.values() for name in params})
        return [name for name in names if len({params.get(name) for params in self.params.values()}) > 1]

    # --- charts ---

    def metrics(self, *, system: bool) -> list[str]:
        """The metrics of the runs that are shown, those that most of them have first."""
        try:
            wanted = metric_filter("" if system else self.settings.store.metrics)
        except FilterError as error:
            self.problem = str(error)
            return []
        seen = Counter(key for line in self.shown() for key in self.keys.get(line.run_id, ()))
        names = [key for key in seen if key.startswith(SYSTEM) == system and wanted(key)]
        return sorted(names, key=lambda key: (-seen[key], key))

    def lines_of(self, metric: str) -> list[Line]:
        """The curves of a metric that were read, that of the cursor first."""
        from mltrack.top.chart import Line

        axis = self.view.axis
        found = []
        for line in self.shown():
            curve = self.curves.get((line.run_id, metric))
            if curve is not None:
                other = self.curves.get((line.run_id, axis.metric)) if axis.kind == METRIC else None
                colour = self.colours.of(line.run_id)
                found.append(Line(line.run_id, line.name, colour, curve, line.start_time * 1_000_000, other))
        return found

    def change_view(self, **changes: object) -> None:
        """Change how charts are drawn: see View."""
        self.view = replace(self.view, **changes)  # type: ignore[arg-type]
        kept = self.settings.store
        kept.axis, kept.x_metric = self.view.axis
        kept.log_y, kept.smoothing = self.view.log_y, self.view.smoothing

    # --- reading ---

    def poll(self, metrics: Iterable[str]) -> bool:
        """Read what is new of the runs that are shown, of these metrics; whether anything changed."""
        found = self.reader.curves_of(self.shown(), metrics, self.view)
        changed = found.keys != self.keys or found.curves.keys() != self.curves.keys()
        changed = changed or any(curve is not self.curves[key] for key, curve in found.curves.items())
        self.curves, self.keys = found.curves, found.keys
        if found.problem:
            self.problem = found.problem
        return changed

    def poll_run(self, *, log: bool = False, images: bool = False) -> bool:
        """Read the details of the run at the cursor, and its log or images; whether anything changed."""
        line = self.run
        before = (self.details, self.params, self.log, self.images)
        if line is None:
            self.details, self.log, self.images = None, "", []
        else:
            try:
                self.details = self.reader.details_of(line.run_id)
                self.params = self.reader.params_of(line.run_id for line in self.shown())
                self.log = self.reader.log_of(line.run_id) if log else self.log
                self.images = self.reader.images_of(line.run_id) if images else self.images
            except (MltrackError, OSError) as error:
                self.problem = str(error)
        return before != (self.details, self.params, self.log, self.images)

    def poll_remotes(self) -> bool:
        """Read how far the remotes are behind; whether that changed."""
        from mltrack.top.remotes import remote_states

        try:
            found = remote_states(self.reader.store)
        except (MltrackError, OSError) as error:
            self.problem = str(error)
            return True
        changed, self.remotes = found != self.remotes, found
        return changed


def _names_in(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
