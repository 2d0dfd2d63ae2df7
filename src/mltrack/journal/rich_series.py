"""Series of rich values: a writer's journal of them, one checksummed JSON line each, and reading it back.

Histograms, tables and texts are in ``series/<writer>.jsonl``, however many keys and steps there are. Images are
artifacts, one for each step, with names that MLflow's UI knows and that give key, step and time.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from mltrack.disk.codec import encode_line
from mltrack.disk.filesystem import LOCAL, FileSystem
from mltrack.disk.flusher import FLUSHER
from mltrack.disk.jsonlog import JsonLog, bad_line, check_lines, each_line
from mltrack.disk.line_types import SERIES
from mltrack.process.trouble import TROUBLE
from mltrack.values.arguments import text_argument
from mltrack.values.media import image_place
from mltrack.values.rich import Image, decode_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from mltrack.errors import CorruptionError
    from mltrack.values.rich import RichValue

__all__ = [
    "SERIES_FOLDER",
    "RichPoint",
    "SeriesJournal",
    "SeriesLine",
    "journals",
    "read_lines",
    "read_series",
    "series_kinds",
]

SERIES_FOLDER = "series"
"""The folder of the journals in a run's folder."""


class RichPoint(NamedTuple):
    """One value of a series: its step, its time in ns, and the value."""

    step: int
    time: int
    value: RichValue


class SeriesLine(NamedTuple):
    """One line of a journal: its writer, its file and its place in that file."""

    time: int
    writer: str
    seq: int
    fields: Mapping[str, Any]
    offset: int

    @property
    def order(self) -> tuple[int, str, int]:
        """A sort key: by time, where equal by writer."""
        return self.time, self.writer, self.seq


class SeriesJournal:
    """One writer's rich values, behind a call that does not fail when the disk does."""

    def __init__(
        self,
        folder: Path,
        writer: str,
        *,
        on_loss: Callable[[Exception], None],
        fs: FileSystem = LOCAL,
        sync_start: Callable[[], None] = lambda: None,
    ) -> None:
        """Nothing is made on disk until the first line.

        Args:
            folder: The folder of the run's series journals.
            writer: The writer's name.
            on_loss: Called the first time lines are lost.
            fs: The file system to write with.
            sync_start: Called before anything is made: when it returns, the run's start is on the disk.
        """
        self.writer = writer
        self.lost = 0
        self._folder = folder
        self._fs = fs
        self._on_loss = on_loss
        self._sync_start = sync_start
        self._lock = threading.RLock()
        self._log: JsonLog | None = None
        self._waiting: list[dict[str, Any]] = []
        self._busy = False
        self._dirty = False

    def move_to(self, folder: Path) -> None:
        """Note that the journal is, or will be, in ``folder``: the store may have been moved."""
        self._folder = folder
        if self._log is not None:
            self._log.move_to(folder / self._log.path.name)

    @staticmethod
    def check(lines: Iterable[dict[str, Any]]) -> None:
        """Check lines that are to be added.

        Raises:
            UsageError: readers would refuse one.
        """
        check_lines(({"seq": 0, **line} for line in lines), SERIES, "a run's series")

    def append(self, lines: Iterable[dict[str, Any]]) -> None:
        """Add lines: on return they survive ``kill -9``. A signal handler's come after its own thread's.

        Raises:
            UsageError: readers would refuse one; none was added.
        """
        lines = list(lines)
        self.check(lines)
        with self._lock:
            self._waiting += lines
            if self._busy:
                return
            self._busy = True
            try:
                while self._waiting:
                    todo, self._waiting = self._waiting, []
                    self._add(todo)
            finally:
                self._busy = False

    def _add(self, lines: list[dict[str, Any]]) -> None:
        before = self._log.count if self._log is not None else 0
        try:
            log = self._open()
            self._dirty = True
            log.append({"seq": seq, **line} for seq, line in enumerate(lines, log.count))
        except TROUBLE as error:
            first = self.lost == 0
            self.lost += len(lines) - ((self._log.count if self._log is not None else 0) - before)
            if first:
                self._on_loss(error)

    def _open(self) -> JsonLog:
        if self._log is None:
            self._fs.require(self._folder.parent)
            self._sync_start()
            self._fs.make_durable_folder(self._folder)
            self._log = JsonLog(self._folder / f"{self.writer}.jsonl", records=None, fs=self._fs, create=True)
            FLUSHER.add(self)
        else:
            self._log.settle()
        return self._log

    def sync(self) -> None:
        """Make what was appended survive power loss; the flusher calls it twice a second."""
        with self._lock:
            log, dirty = self._log, self._dirty
            self._dirty = False
        try:
            if log is not None and dirty:
                log.sync()
        except OSError:
            self._dirty = True

    def pulse(self) -> None:
        """Does nothing: the pulse is on the writer's events file."""

    def close(self) -> None:
        """Make everything durable and close the file; calling it again does nothing."""
        FLUSHER.remove(self)
        self.sync()
        with self._lock:
            if self._log is not None:
                self._log.close()
                self._log = None


# --- reading ---


def journals(run_folder: Path) -> list[Path]:
    """The journals of a run, by age."""
    return sorted((run_folder / SERIES_FOLDER).glob("[!.]*.jsonl"))


def read_lines(
    path: Path, *, key: str | None = None, damage: list[CorruptionError] | None = None
) -> Iterator[SeriesLine]:
    """The lines of a journal in order, only those of ``key`` if given. Bad ones are skipped and reported.

    Raises:
        OSError: it can't be read.
    """
    wanted = b""  # lines without these bytes are not decoded; a key beyond ASCII can be written in two ways
    if key is not None and key.isascii():
        wanted = encode_line({"key": key}).split(b",", 1)[1].rstrip(b"}\n")
    for line in each_line(path, records=SERIES, holding=wanted):
        if line.fault:
            if damage is not None:
                damage.append(bad_line(path, line.offset, line.fault))
        elif key is None or line.fields["key"] == key:
            yield SeriesLine(line.fields["time"], path.stem, line.fields["seq"], line.fields, line.offset)


def read_series(
    run_folder: Path,
    key: str,
    images: Iterable[tuple[str, Path]],
    *,
    keep: Callable[[SeriesLine], bool] | None = None,
    damage: list[CorruptionError] | None = None,
) -> list[RichPoint]:
    """Every value of a series in the order of time.

    Args:
        run_folder: The run's folder.
        key: The name of the series.
        images: Name and file of each of the run's image artifacts.
        keep: Which lines count; by default all.
        damage: Gets the damage found.
    """
    text_argument("key", key)
    found: list[tuple[tuple[int, str, int], RichPoint]] = []
    for path in journals(run_folder):
        for line in read_lines(path, key=key, damage=damage):
            if line.fields["type"] not in SERIES.types:
                continue  # from a later format
            if keep is not None and not keep(line):
                continue
            try:
                value = decode_value(line.fields)
            except (KeyError, TypeError, ValueError) as error:
                if damage is not None:
                    damage.append(bad_line(path, line.offset, f"not a {line.fields['type']}: {error}"))
                continue
            found.append((line.order, RichPoint(line.fields["step"], line.time, value)))
    found += [((point.time, "", 0), point) for at, point in read_images(images) if at == key]
    return [point for _, point in sorted(found, key=lambda one: one[0])]


def read_images(images: Iterable[tuple[str, Path]]) -> Iterator[tuple[str, RichPoint]]:
    """The images among artifacts that belong to series: their key, and their point in it."""
    for name, path in images:
        place = image_place(name)
        if place is not None:
            yield place.key, RichPoint(place.step, place.timestamp_ms * 1_000_000, Image.stored(path))


def series_kinds(
    run_folder: Path,
    images: Iterable[tuple[str, Path]],
    *,
    keep: Callable[[SeriesLine], bool] | None = None,
    damage: list[CorruptionError] | None = None,
) -> dict[str, str]:
    """The kind of each series, by key: histogram, image, table or text; of several kinds the last.

    Args:
        run_folder: The run's folder.
        images: Name and file of each of the run's image artifacts.
        keep: Which lines count; by default all.
        damage: Gets the damage found.
    """
    kinds: dict[str, str] = {key: point.value.kind for key, point in read_images(images)}
    for path in journals(run_folder):
        for line in read_lines(path, damage=damage):
            if keep is not None and not keep(line):
                continue
            kinds[line.fields["key"]] = line.fields["type"]
    return dict(sorted(kinds.items()))
