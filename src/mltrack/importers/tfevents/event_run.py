"""One run of event files: read once for its facts, then again for points, values and files."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

from mltrack.importers.batches import make_batch
from mltrack.importers.protobuf import WireError
from mltrack.importers.source import SourceError, SourceFile, SourceValue
from mltrack.importers.tfevents.decoder import Decoder, OtherEvent
from mltrack.importers.tfevents.events import event_of
from mltrack.importers.tfevents.hparams import Session
from mltrack.importers.tfevents.records import RecordFile
from mltrack.importers.tfevents.rich_items import FILE_KINDS, VALUE_KINDS, files_of, values_of

if TYPE_CHECKING:
    import pyarrow as pa

    from mltrack.importers.batches import Columns
    from mltrack.importers.findings import Findings

__all__ = ["EventRun"]


class EventRun:
    """The event files of a folder, taken as one sequence of events."""

    def __init__(self, paths: tuple[Path, ...], root: Path, findings: Findings) -> None:
        self._findings = findings
        self._files = [
            (path.relative_to(root).as_posix(), RecordFile(path, path.relative_to(root).as_posix(), findings))
            for path in paths
        ]
        self.first_time: int | None = None
        self.last_time: int | None = None
        self.first_file = ""
        self.session = Session()
        self.kinds: Counter[str] = Counter()
        """How many things of each kind there are, scalars apart."""

    def scan(self) -> None:
        """Read all of it for the facts. Later readings give what was whole now.

        Raises:
            OSError: it can't be read.
        """
        for where, points, others in self._decoded():
            times = [int(side) for side in (points.times.min(), points.times.max())] if len(points) else []
            times += [other.event.time for other in others]
            self.last_time = max([self.last_time or 0, *times])
            for other in others:
                self.kinds.update(item.kind for item in other.event.items if item.kind != "scalar")
                for item in other.event.of_kind("hparams"):
                    try:
                        self.session.take(item.content)
                    except WireError as error:
                        self._findings.problem(where, f"hyperparameters: {error}")

    def _decoded(self) -> Iterator[tuple[str, Columns, list[OtherEvent]]]:
        decoder = Decoder(self._findings)
        for where, file in self._files:
            for chunk in file.chunks():
                if self.first_time is None and len(chunk):
                    self.first_time, self.first_file = _time_of(chunk.record(0)), file.path.name
                yield where, *decoder.decode(chunk, where)

    def points(self) -> Iterator[pa.RecordBatch]:
        """Its scalars, in the order of the files.

        Raises:
            SourceError: they can't be read.
        """
        try:
            for _, points, _ in self._decoded():
                if len(points):
                    yield make_batch(points.keys, points.codes, points.steps, points.times, points.values)
        except OSError as error:
            raise SourceError(f"can't be read: {error.strerror or error}") from error

    def values(self) -> Iterator[SourceValue]:
        """Its histograms, images and texts."""
        if not self.kinds.keys() & VALUE_KINDS:
            return
        for where, _, others in self._decoded():
            for event in (other.event for other in others):
                for item in event.items:
                    try:
                        for value in values_of(item):
                            yield SourceValue(item.tag, event.step, event.time, value)
                    except SourceError as error:
                        self._findings.problem(where, str(error))

    def media(self) -> Iterator[SourceFile]:
        """Its sounds, graphs, and images that are not PNG, as files."""
        if not self.kinds.keys() & FILE_KINDS:
            return
        seen: Counter[str] = Counter()
        paths = dict(self._files)
        for where, _, others in self._decoded():
            for other in others:
                for number, (name, data) in enumerate(_files_in(other, where, self._findings)):
                    seen[name] += 1
                    stem, dot, suffix = name.rpartition(".")
                    name = name if seen[name] == 1 else f"{stem}-{seen[name]}{dot}{suffix}"
                    yield SourceFile(name, len(data), partial(_reopened, paths[where].path, other, number))


def _time_of(record: bytes) -> int:
    try:
        return event_of(record, {}).time
    except WireError:
        return 0


def _files_in(other: OtherEvent, where: str, findings: Findings) -> Iterator[tuple[str, bytes]]:
    for item in other.event.items:
        try:
            yield from files_of(item, other.event.step)
        except SourceError as error:
            findings.problem(where, str(error))


def _reopened(path: Path, other: OtherEvent, number: int) -> IO[bytes]:
    """One of the files in an event, read again."""
    with path.open("rb") as file:
        file.seek(other.place)
        record = file.read(other.size)
    try:
        event = event_of(record, dict(other.plugins))
        found = [data for item in event.items for _, data in files_of(item, event.step)]
        return io.BytesIO(found[number])
    except (WireError, SourceError, IndexError) as error:
        raise OSError(f"the event was changed: {error}") from error
