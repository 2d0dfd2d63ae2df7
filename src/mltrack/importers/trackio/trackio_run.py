"""One run of a project: its rows in the database or in Parquet, then those in the inbox."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mltrack.importers.batches import make_batch
from mltrack.importers.source import SourceError, SourceValue
from mltrack.importers.trackio.database_file import DatabaseFile
from mltrack.importers.trackio.media import rich_values
from mltrack.importers.trackio.rows import METRICS, SYSTEM

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import pyarrow as pa

    from mltrack.importers.findings import Findings
    from mltrack.importers.logged_rows import LoggedItem
    from mltrack.importers.trackio.inbox import Inbox
    from mltrack.importers.trackio.rows import Part, ProjectFile, RunHead

__all__ = ["TrackioRun"]


class TrackioRun:
    """It. ``media`` is trackio's folder of media."""

    def __init__(self, head: RunHead, file: ProjectFile | None, inbox: Inbox, media: Path, findings: Findings) -> None:
        self.head = head
        self._file = file
        self._inbox = inbox
        self._media = None if media.exists() and findings.is_outside(media) else media
        self._findings = findings
        self._has_items: bool | None = None
        """Whether it has values that are not numbers; None until all points were read."""

    @property
    def where(self) -> str:
        """What it is called in messages."""
        return f"{self._file.where if self._file is not None else 'inbox'}: {self.head.name}"

    def _parts(self, table: str) -> Iterator[Part]:
        run_id, file, last = self.head.run_id, self._file, None
        if file is not None:
            for part in file.parts(run_id, table):
                if table == SYSTEM and len(part[0]):
                    last = int(part[0].steps.max())
                yield part
        if isinstance(file, DatabaseFile):
            last = file.last_step(run_id) if table == METRICS and file.database.has(METRICS) else last
            yield from self._inbox.parts(run_id, table, last, file.has_log)
        else:
            yield from self._inbox.parts(run_id, table, last, _knows_none)

    def points(self) -> Iterator[pa.RecordBatch]:
        """What was logged; then system metrics, counted.

        Raises:
            SourceError: they can't be read further.
        """
        has_items = False
        for points, items in self._parts(METRICS):
            has_items |= bool(items)
            if len(points):
                yield make_batch(points.keys, points.codes, points.steps, points.times, points.values)
        self._has_items = has_items
        for points, _ in self._parts(SYSTEM):
            if len(points):
                names = [f"system/{key}" for key in points.keys]
                yield make_batch(names, points.codes, points.steps, points.times, points.values)

    def _items(self) -> Iterator[LoggedItem]:
        """Values that are not numbers."""
        if self._has_items is False:
            return
        for _, items in self._parts(METRICS):
            yield from items

    def values(self) -> Iterator[SourceValue]:
        """Histograms, images, tables and texts.

        Raises:
            SourceError: they can't be read further.
        """
        for item in self._items():
            try:
                for value in rich_values(item.value, self._media):
                    yield SourceValue(item.key, item.step, item.time, value)
            except SourceError as error:
                self._findings.problem(self.where, f"{item.key!r} at step {item.step}: {error}")

    def media(self) -> Iterable[LoggedItem]:
        """Values that name files.

        Raises:
            SourceError: they can't be read further.
        """
        return (item for item in self._items() if isinstance(item.value, dict | list))


def _knows_none(table: str, log_ids: Iterable[str]) -> set[str]:
    return set()
