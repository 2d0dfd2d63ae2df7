"""Rows of wandb's history: which step a value belongs to, nested names, and the summary.

A call's values are stored when it returns, not when its row is complete. Steps rise by one with each row; a step that
is given and lies before the present one is used for that call alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from mltrack.importers.wandb.names import join_key
from mltrack.values.media import usable_image_key
from mltrack.values.rich import Histogram as StoredHistogram
from mltrack.values.rich import Image as StoredImage
from mltrack.values.rich import Table as StoredTable
from mltrack.values.rich import Text
from mltrack.wandb.errors import UsageError
from mltrack.wandb.media_file import MediaFile
from mltrack.wandb.media_types import Histogram, Image, Medium, figure_medium
from mltrack.wandb.metric_definitions import Aggregates, Definitions
from mltrack.wandb.notices import say_once
from mltrack.wandb.plain_values import LIST_LENGTH_MAX, as_array, is_array, json_text, leaves, number_of, plain
from mltrack.wandb.plot import Chart
from mltrack.wandb.table_type import Table

if TYPE_CHECKING:
    from mltrack.wandb.run_summary import Summary

__all__ = ["RowRun", "Rows"]

BINS = 32
"""Of the histogram of a long array."""


class RowRun(Protocol):
    """The part of a run that rows are stored through."""

    def log_metrics(
        self, metrics: Mapping[str, float], step: int | None = None, *, timestamp: int | None = None
    ) -> None:
        """Store numbers."""

    def log(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Store values that are more than a number."""


class Rows:
    """The rows of one run."""

    def __init__(
        self,
        run: RowRun,
        definitions: Definitions,
        summary: Summary,
        keep_file: Callable[[str, MediaFile], None],
        *,
        first_step: int = 0,
    ) -> None:
        """Begin.

        Args:
            run: where values go.
            definitions: what define_metric says.
            summary: what has the last values.
            keep_file: stores a file of a medium at a path.
            first_step: of the first row.
        """
        self.step = first_step
        self._run = run
        self._definitions = definitions
        self._summary = summary
        self._keep_file = keep_file
        self._aggregates: dict[str, Aggregates] = {}
        self._row: dict[str, float] = {}
        self._latest: dict[str, float] = {}
        self._logged: set[str] = set()
        self._lock = threading.RLock()

    def log(self, data: Mapping[str, Any], step: int | None, commit: bool | None) -> None:
        """Log the values of a call.

        Raises:
            TypeError: the data are not a mapping with texts as keys.
            UsageError, InvalidMetricError: a value or the step is not valid.
        """
        if not isinstance(data, Mapping):
            raise TypeError("wandb.log must be passed a dictionary")
        if any(not isinstance(key, str) for key in data):
            raise TypeError("Key values passed to `wandb.log` must be strings.")
        with self._lock:
            if step is not None and step < self.step:
                say_once("a step before the present one was logged: wandb drops such values, here they are kept")
                self._store(data, int(step))
                return
            if step is not None and step > self.step:
                self.end_row()
                self.step = int(step)
            self._row |= self._store(data, self.step)
            if commit or (commit is None and step is None):
                self.end_row()
                self.step += 1

    def end_row(self) -> None:
        """Complete the row: x axes that it lacks have the value they had before."""
        with self._lock:
            row, self._row = self._row, {}
            if self._definitions:
                found = self._missing_axes(row)
                if found:
                    self._run.log_metrics(found, step=self.step)

    def _missing_axes(self, row: Mapping[str, float]) -> dict[str, float]:
        found = {}
        for name in row:
            definition = self._definitions.find(name)
            axis = definition.step_metric if definition and definition.step_sync is not False else None
            if axis is not None and axis not in row and axis in self._latest:
                found[axis] = self._latest[axis]
        return found

    def log_summary(self, values: Mapping[str, Any]) -> None:
        """Log those numbers set by hand in the summary of which no metric is logged."""
        with self._lock:
            named = {name: number_of(value) for name, value in leaves(values)}
            found = {
                name: float(number)
                for name, number in named.items()
                if number is not None and name not in self._logged and not name.startswith("_")
            }
            if found:
                self._run.log_metrics(found, step=max(self.step - (not self._row), 0))

    # --- values ---

    def _store(self, data: Mapping[str, Any], step: int) -> dict[str, float]:
        """Store the values of a call; returns its numbers by their names."""
        timestamp = number_of(data.get("_timestamp"))
        numbers: dict[str, float] = {}
        others: list[tuple[str, Any]] = []
        for path, value in _charts_as_tables(data):
            name = join_key(path)
            if path[0].startswith("_"):
                if name not in ("_timestamp", "_step", "_runtime"):
                    say_once(f"names that begin with _ are wandb's own, and are not logged: {name!r}")
                continue
            number = number_of(value)
            if number is not None:
                numbers[name] = float(number)
                self._note(path, number)
            elif value is not None:
                others += [(name, one) for one in self._rich(path, value, step)]
        if numbers:
            self._run.log_metrics(
                {**numbers, **self._aggregated(numbers)},
                step=step,
                timestamp=None if timestamp is None else int(timestamp * 1000),
            )
            self._latest |= numbers
            self._logged |= numbers.keys()
        for name, value in others:
            self._run.log({usable_image_key(name) if isinstance(value, StoredImage) else name: value}, step=step)
        return numbers

    def _aggregated(self, numbers: Mapping[str, float]) -> dict[str, float]:
        """The metrics that define_metric adds: the least value so far as ``loss.min``, and so on."""
        found: dict[str, float] = {}
        for name, number in numbers.items() if self._definitions else ():
            definition = self._definitions.find(name)
            operations = [one for one in definition.summary if one != "none"] if definition else []
            if operations:
                held = self._aggregates.setdefault(name, Aggregates())
                held.add(number)
                values = {one: held.value(one) for one in operations}
                known = {one: value for one, value in values.items() if value is not None}
                self._summary.note(name, known)
                found |= {join_key((name, one)): value for one, value in known.items()}
        return found

    def _note(self, path: tuple[str, ...], value: Any) -> None:
        """Set the summary's value, unless define_metric says otherwise."""
        definition = self._definitions.find(join_key(path)) if self._definitions else None
        if definition is not None and definition.summary:
            return
        if len(path) == 1:
            self._summary.note(path[0], value)
            return
        held = self._summary.get(path[0])
        outer = inner = dict(held) if isinstance(held, dict) else {}
        for part in path[1:-1]:
            below = inner.get(part)
            inner[part] = dict(below) if isinstance(below, dict) else {}
            inner = inner[part]
        inner[path[-1]] = value
        self._summary.note(path[0], outer)

    def _rich(self, path: tuple[str, ...], value: Any, step: int) -> list[Any]:
        """A value that is more than a number as the run keeps it: none for files, several for a list of media."""
        medium = figure_medium(value)
        value = medium if medium is not None else Table(dataframe=value) if hasattr(value, "iloc") else value
        if isinstance(value, Sequence) and not isinstance(value, str) and value and all(map(_is_medium, value)):
            return [one for each in value for one in self._rich(path, each, step)]
        if isinstance(value, Medium):
            file = value.file()
            self._keep_file(file.path(join_key(path), step), file)
            self._note(path, {**file.about, "path": file.path(join_key(path), step)})
            return []
        if isinstance(value, Histogram | Image | Table):
            more = self._store_overlays(value, join_key(path), step) if isinstance(value, Image) else {}
            self._note(path, {**value.about(), **more})
            return [value.stored(self._keep_cell) if isinstance(value, Table) else value.stored()]
        if isinstance(value, StoredHistogram | StoredTable | Text):
            return [value]
        if is_array(value) and as_array(value).size > LIST_LENGTH_MAX:
            return self._rich(path, _histogram_of(value), step)
        found = plain(value)
        self._note(path, found)
        return [Text(found if isinstance(found, str) else json_text(found))]

    def _store_overlays(self, image: Image, key: str, step: int) -> dict[str, Any]:
        if image.overlays is None:
            return {}
        return image.overlays.store(image.png(), key, step, self._keep_file)

    def _keep_cell(self, value: Image | Medium) -> dict[str, Any]:
        """Store a medium in a table's cell."""
        if isinstance(value, Image):
            more = self._store_overlays(value, "table", self.step)
            file = MediaFile("images", value.png(), ".png", {**value.about(), **more})
        else:
            file = value.file()
        path = file.path("table", self.step)
        self._keep_file(path, file)
        return {**file.about, "path": path}


def _is_medium(value: Any) -> bool:
    return isinstance(value, Histogram | Image | Table | Medium)


def _histogram_of(values: Any) -> Histogram:
    array = as_array(values)
    if array.dtype.kind not in "biuf":
        raise UsageError(f"an array of {array.dtype} is not numbers", hint="log a list of texts, or a wandb.Table")
    return Histogram(array.astype(float), num_bins=BINS)


def _charts_as_tables(data: Mapping[str, Any], path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    """Nested values with the parts of their names; of a chart its table, under the key with ``_table`` added."""
    found: list[tuple[tuple[str, ...], Any]] = []
    for key, value in data.items():
        if isinstance(value, Chart):
            found.append(((*path, f"{key}_table"), value.table))
        elif isinstance(value, Mapping) and value:
            found += _charts_as_tables({str(name): inner for name, inner in value.items()}, (*path, str(key)))
        else:
            found.append(((*path, str(key)), value))
    return found
