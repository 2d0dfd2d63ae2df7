"""One run in the store: its state, points and files; a live one up to the last call that returned."""

from __future__ import annotations

import shlex
from itertools import pairwise
from typing import TYPE_CHECKING

from mltrack.disk.absent import read_absent
from mltrack.disk.arrow_columns import array_column, column_array
from mltrack.disk.damage import Damage
from mltrack.disk.filesystem import safe_join
from mltrack.disk.segment import BLOCK_ROWS
from mltrack.entities import (
    Alert,
    Artifact,
    DatasetInput,
    Event,
    MetricSummary,
    ModelOutput,
    RunData,
    RunHead,
    RunInfo,
    WriterInfo,
)
from mltrack.errors import CorruptionError, NotFoundError
from mltrack.journal.reader import count_points
from mltrack.notebook.views import NotebookViews
from mltrack.storage.runs.point_sources import PointSources
from mltrack.storage.runs.state import RunState
from mltrack.storage.runs.summary import Summaries
from mltrack.text.nearest import meant
from mltrack.values.arguments import positions_argument, text_argument

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from pathlib import Path

    import pyarrow as pa

    from mltrack.disk.layout import RunFolder
    from mltrack.disk.segment import PointColumns
    from mltrack.disk.segment_metric import GroupBounds
    from mltrack.journal.rich_series import RichPoint, SeriesLine
    from mltrack.notebook.tables import Columns
    from mltrack.storage.runs.point_sources import PointSource
    from mltrack.storage.runs.visibility import Visibility

__all__ = ["StoredRun"]


class StoredRun(NotebookViews):
    """A run read from its folder, as of its creation or its last ``refresh()``.

    Metric summaries are read at their first use, later only what is new.
    """

    def __init__(
        self,
        folder: RunFolder,
        *,
        experiment_name: Callable[[str], str | None] | None = None,
        report: Callable[[CorruptionError], None] | None = None,
    ) -> None:
        """Read the run's events; ``report`` is called with each piece of damage that is found, now and later.

        Raises:
            NotFoundError: there is no run in that folder.
        """
        self.folder = folder
        self.state = RunState(folder, report=report)
        self.state.update()
        if not self.state.exists:
            raise NotFoundError(f"no run {folder.run_id}", hint="see: mltrack ls")
        self._experiment_name = experiment_name
        self._summaries: Summaries | None = None
        self._summed: dict[str, int] = {}  # points taken into the summaries, by writer
        self._summed_as = ""  # what counted then
        self.damage = Damage(report)
        self._sources = PointSources(self.state, self.damage)

    def again(self) -> StoredRun:
        """The run read once more from its folder, independent of this one."""
        return StoredRun(self.folder, experiment_name=self._experiment_name)

    def __repr__(self) -> str:
        return f"StoredRun({self.run_id!r}, {self.info.run_name!r}, {self.info.status})"

    @property
    def run_id(self) -> str:
        """32 hex digits."""
        return self.folder.run_id

    def refresh(self) -> list[Event]:
        """Read what was written since the last read; returns the new events."""
        return self.state.update()

    @property
    def info(self) -> RunInfo:
        """Name, experiment, status, times."""
        state = self.state
        last = 0
        if state.outcome()[2]:
            last = self._summed_up().last_time
        info = state.info(end_of_points=last)
        if self._experiment_name is not None:
            from dataclasses import replace

            named = self._experiment_name(info.experiment_id)
            if named is not None and named != info.experiment_name:
                info = replace(info, experiment_name=named)
        return info

    @property
    def params(self) -> dict[str, str]:
        """Params by key."""
        return self.state.params

    @property
    def tags(self) -> dict[str, str]:
        """Tags by key."""
        return self.state.tags

    @property
    def artifacts(self) -> list[Artifact]:
        """Its files, in order of path."""
        return self.state.artifacts

    @property
    def datasets(self) -> list[DatasetInput]:
        """The datasets it used, in the order they were logged."""
        return self.state.datasets

    @property
    def model_inputs(self) -> list[str]:
        """The ids of the logged models it used, in the order they were logged."""
        return self.state.model_inputs

    @property
    def model_outputs(self) -> list[ModelOutput]:
        """The logged models it made, in the order they were logged."""
        return self.state.model_outputs

    @property
    def data(self) -> RunData:
        """MLflow's view of params, tags and latest metrics."""
        latest = {key: summary.value for key, summary in self.summaries.items()}
        return RunData(params=self.params, tags=self.tags, metrics=latest)

    def alerts(self) -> list[Alert]:
        """What guards have found in it, in the order of time."""
        return self.state.alerts

    @property
    def lost(self) -> int:
        """The number of points that its writers lost to a full or failing disk."""
        return self.state.lost

    @property
    def lost_artifacts(self) -> dict[str, str]:
        """The artifacts that could not be stored, or not whole, and were not logged again; the reason by path."""
        return self.state.lost_artifacts

    @property
    def visibility(self) -> Visibility | None:
        """What counts of its points where it was rewound or forked; None: all that its writers logged."""
        return self.state.visibility

    @property
    def point_count(self) -> int:
        """How many points count."""
        if self.visibility is None:
            return self.head().points
        return sum(summary.count for summary in self.summaries.values())

    # --- metrics ---

    @property
    def summaries(self) -> dict[str, MetricSummary]:
        """Latest, least, greatest and count of each metric."""
        return dict(self._summed_up().by_key)

    def _summed_up(self) -> Summaries:
        visibility = self.visibility
        counts = "" if visibility is None else visibility.token
        if self._summaries is None or counts != self._summed_as:
            self._summaries, self._summed, self._summed_as = Summaries(), {}, counts
        for source in self._sources.all():
            for points in source.read(self._summed.get(source.writer, 0), self.damage):
                self._summaries.add(points)
                self._summed[source.writer] = int(points.seqs[-1]) + 1
        return self._summaries

    def metrics(self, key: str | None = None) -> pa.Table:
        """Points as an Arrow table: of one metric ``step, time, value``; of all, ``metric`` before these.

        step int64; time timestamp[ns, UTC]; value float64. One writer's points are in the order of logging, those of
        several writers in the order of time. ``.to_pandas()`` gives a data frame.

        Raises:
            NotFoundError: the run has no such metric.
            CorruptionError: a file with such points is damaged (see `mltrack check`).
        """
        import pyarrow as pa

        key = key if key is None else text_argument("key", key)
        damage: list[CorruptionError] = []
        tables: list[pa.Table] = []
        sources = self._sources.all(damage)
        for source in sources:
            if key is None:
                tables += [points.to_table() for points in source.read(0, damage)]
            else:
                tables += source.read_key(key, damage)
        if damage:
            raise damage[0]
        columns = ["step", "time", "value"] if key is not None else ["metric", "step", "time", "value"]
        tables = [table.select(columns) for table in tables if len(table)]
        if not tables:
            if key is None:
                from mltrack.disk.segment import POINTS_SCHEMA

                return pa.Table.from_batches([], POINTS_SCHEMA).select(columns)
            hint = meant(str(key), self.summaries, "its metrics")
            raise NotFoundError(f"run {self.run_id} has no metric {key!r}", hint=hint)
        whole = pa.concat_tables(tables).unify_dictionaries()
        return whole if len(sources) == 1 else _in_time_order(whole)

    def columns(self, key: str) -> Columns:
        """The points of a metric as NumPy arrays, in the order of ``metrics``: steps, times in ns, values.

        Raises:
            NotFoundError, CorruptionError: as metrics.
        """
        import numpy as np

        table = self.metrics(key)
        steps, times = (column_array(table.column(name), np.int64) for name in ("step", "time"))
        return steps, times, column_array(table.column("value"), np.float64)

    def metric_bounds(self, key: str) -> list[GroupBounds] | None:
        """The bounds of a metric's points, some 32,768 of them at a time: a chart of millions of points in no time.

        None where they are not known without reading all points: of a live, rewound or forked run.
        """
        found: list[GroupBounds] = []
        for source in self._sources.all():
            bounds = source.read_bounds(key, self.damage)
            if bounds is None:
                return None
            found += bounds
        return found

    def get_metrics(self, name: str | None = None) -> dict[str, float | list[float]]:
        """Values by metric: the number where a metric was logged once, else the list in the order of ``metrics``.

        As Azure ML's ``Run.get_metrics``. ``name`` asks for one metric only.
        """
        names = [name] if name is not None else sorted(self.summaries)
        values = {key: self.metrics(key).column("value").to_pylist() for key in names}
        return {key: found[0] if len(found) == 1 else found for key, found in values.items()}

    # --- series of rich values ---

    def series(self, key: str) -> list[RichPoint]:
        """A series of histograms, images, tables or texts, as (step, time in ns, value), in the order of time.

        Damaged lines are skipped, and added to ``self.damage``.

        Raises:
            NotFoundError: the run has no such series.
        """
        from mltrack.journal.rich_series import read_series

        found = read_series(self.folder.path, key, self._images(), keep=self.line_filter(), damage=self.damage)
        if not found:
            hint = meant(key, self.series_kinds(), "its series")
            raise NotFoundError(f"run {self.run_id} has no series {key!r}", hint=hint)
        return found

    def series_kinds(self) -> dict[str, str]:
        """The kind of each series of the run, by key: "histogram", "image", "table" or "text"."""
        from mltrack.journal.rich_series import series_kinds

        return series_kinds(self.folder.path, self._images(), keep=self.line_filter(), damage=self.damage)

    def _images(self) -> list[tuple[str, Path]]:
        """The images that may be in a series, without those that a rewind hides."""
        names = [a.path for a in self.artifacts if a.path.startswith("images/")]
        visibility = self.visibility
        if visibility is not None and names:
            from mltrack.values.media import image_place

            places = {name: image_place(name) for name in names}
            names = [
                name
                for name, place in places.items()
                if place is None or not visibility.hides_image(*self.state.stored_by(name), place.step)
            ]
        return [(name, self.folder.artifacts / name) for name in names]

    def line_filter(self) -> Callable[[SeriesLine], bool] | None:
        """Which lines of its series count; None: all."""
        visibility = self.visibility
        if visibility is None:
            return None
        return lambda line: not visibility.hides_line(line.writer, line.seq, int(line.fields["step"]))

    # --- for syncers and other tools that read incrementally ---

    def writers(self) -> list[WriterInfo]:
        """The writers of the run, and how far each one's events and points go.

        Of a fork also the writers of other runs that its history begins with, with the role "inherited".
        """
        own = [
            writer.info(count_points(self.folder, writer.writer, whole=not writer.alive, damage=self.damage))
            for writer in self.state.writers.values()
        ]
        return own if self.visibility is None else [*self._sources.inherited_writers(), *own]

    def head(self) -> RunHead:
        """How far the run goes now."""
        positions = [writer.position for writer in self.writers()]
        return RunHead(self.run_id, sum(p.events for p in positions), sum(p.points for p in positions), self.state.live)

    def read_events(self, after: Mapping[str, int] | None = None) -> list[Event]:
        """Events whose seq is at least ``after[writer]`` (0 for others), ordered by time, writer, seq."""
        from mltrack.storage.runs.state import RunState

        state = RunState(self.folder)
        events = state.update()
        known = positions_argument("after", after)
        return [event for event in events if event.seq >= known.get(event.writer, 0)]

    def read_points(
        self,
        after: Mapping[str, int] | None = None,
        *,
        rows_max: int = BLOCK_ROWS,
        writer: str | None = None,
        rewinds: Collection[str] | None = None,
    ) -> Iterator[tuple[str, PointColumns]]:
        """Points whose seq is at least ``after[writer]`` (0 for others), as (writer, piece) in the order of logging.

        Damaged files are skipped and added to ``self.damage``.

        Args:
            after: Positions by writer.
            rows_max: Pieces hold up to so many points: fewer take less memory and more time.
            writer: Only the points of this writer.
            rewinds: As if these rewinds were in force, and no others; with none, all that was logged.
        """
        known = positions_argument("after", after)
        for source in self._sources.all(rewinds=rewinds):
            if writer is not None and source.writer != writer:
                continue
            for points in source.read(known.get(source.writer, 0), self.damage, rows_max):
                yield source.writer, points

    def point_sources(self, *, rewinds: Collection[str] | None = None) -> list[PointSource]:
        """Where its points are: one for each writer, those of other runs (of a fork) first.

        ``rewinds``: as if these were in force, and no others.
        """
        return self._sources.all(rewinds=rewinds)

    def artifact_path(self, name: str) -> Path:
        """The path of a file of the run on disk.

        Raises:
            InvalidPathError: the name would leave the artifact folder.
            NotFoundError: the file does not exist.
        """
        path = safe_join(self.folder.artifacts, name)
        if not path.exists():
            elsewhere = next((a.remote for a in self.artifacts if a.path == name), "")
            if not elsewhere and name in read_absent(self.folder.path):
                message = f"artifact {name!r} of run {self.run_id} was not copied to this store"
                raise NotFoundError(message, hint=f"mltrack fetch {self.run_id} {shlex.quote(name)}")
            if elsewhere:
                message = f"artifact {name!r} of run {self.run_id} was removed here: remote {elsewhere!r} has it"
                raise NotFoundError(message, hint="download it from the remote")
            raise NotFoundError(f"run {self.run_id} has no artifact {name!r}", hint=f"see: mltrack show {self.run_id}")
        return path


def _in_time_order(table: pa.Table) -> pa.Table:
    """The rows in the order of time, which they usually have: writers follow each other."""
    import numpy as np
    import pyarrow as pa

    column = table.column("time")
    pieces = [column_array(piece, np.int64) for piece in column.chunks if len(piece)]
    joins = all(before[-1] <= piece[0] for before, piece in pairwise(pieces))
    if joins and all(bool((piece[1:] >= piece[:-1]).all()) for piece in pieces):
        return table
    times = np.concatenate(pieces)
    return table.take(array_column(np.argsort(times, kind="stable"), pa.int64()))
