"""The images, tables, texts and histograms of runs: the last of each series, and files."""

from __future__ import annotations

import io
import json
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from mltrack.disk.filesystem import read_small
from mltrack.environment import TABLES_TAG
from mltrack.errors import MltrackError
from mltrack.extras import is_installed
from mltrack.report.model import Bars, Picture, TableEnd, Words, clipped
from mltrack.text.counting import plural
from mltrack.text.figures import number
from mltrack.values.rich import Histogram, Image, Table, Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from mltrack.journal.rich_series import RichPoint
    from mltrack.storage.runs.stored_run import StoredRun

__all__ = ["Media", "collect_media"]

Piece = TypeVar("Piece")

ROWS_MAX = 30
COLUMNS_MAX = 20
CELL_CHARACTERS_MAX = 200
TEXT_CHARACTERS_MAX = 4_000
BINS_MAX = 64
PIECES_MAX = 200
"""How many tables, texts and histograms of each kind are shown."""
IMAGE_BYTES = 60_000
"""Larger images are shown smaller, where Pillow is installed."""
IMAGE_PIXELS = 640
DECODED_PIXELS_MAX = 40_000_000
TABLE_FILE_BYTES_MAX = 4 << 20
STEPS_SHOWN = 4

_MEDIA = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}
_SUFFIXES = {".png", ".jpg", ".jpeg", ".gif", ".webp"}


class Media(NamedTuple):
    """What runs logged besides numbers."""

    pictures: tuple[Picture, ...] = ()
    tables: tuple[TableEnd, ...] = ()
    words: tuple[Words, ...] = ()
    bars: tuple[Bars, ...] = ()


def collect_media(runs: Sequence[StoredRun], image_bytes_max: int, characters_max: int, left_out: list[str]) -> Media:
    """Read them: at most so many bytes of images, and so many characters of tables and of texts together."""
    candidates: list[tuple[int, Picture]] = []
    tables: list[TableEnd] = []
    words: list[Words] = []
    bars: list[Bars] = []
    unread = 0
    for run in runs:
        for key, kind in run.series_kinds().items():
            points = run.series(key)
            last = points[-1]
            match last.value:
                case Image():
                    for place, point in enumerate(_spread(points, STEPS_SHOWN if len(runs) <= STEPS_SHOWN else 1)):
                        picture = _picture(run.run_id, key, point.step, _bytes_of(point))
                        unread += picture is None
                        candidates += [(place, picture)] if picture else []
                case Table():
                    tables.append(_table(run.run_id, key, last.step, last.value.columns, last.value.rows))
                case Text():
                    words.append(Words(run.run_id, key, last.step, last.value.text[:TEXT_CHARACTERS_MAX]))
                case Histogram():
                    bars.append(_bars(run.run_id, key, last.step, last.value))
                case _:
                    raise AssertionError(kind)
        tables += _table_files(run)
        for name in _image_files(run):
            picture = _picture(run.run_id, name, None, _file_bytes(run, name))
            unread += picture is None
            candidates += [(0, picture)] if picture else []
    if unread:
        left_out.append(f"{plural(unread, 'image')} that can't be read or shown")
    pictures = _within(candidates, image_bytes_max, left_out)
    shown_words, left = _fitting("text", words, characters_max, lambda one: len(one.text), left_out)
    shown_tables, _ = _fitting("table", tables, left, _characters, left_out)
    shown_bars, _ = _fitting("histogram", bars, PIECES_MAX, lambda _: 1, left_out)
    return Media(pictures, shown_tables, shown_words, shown_bars)


def _fitting(
    what: str, pieces: Sequence[Piece], room: int, size: Callable[[Piece], int], left_out: list[str]
) -> tuple[tuple[Piece, ...], int]:
    """As many as there is room for, and the room that is left."""
    kept: list[Piece] = []
    for piece in pieces[:PIECES_MAX]:
        if size(piece) > room:
            break
        kept.append(piece)
        room -= size(piece)
    if len(kept) < len(pieces):
        left_out.append(f"{plural(len(pieces) - len(kept), what)}: name fewer runs")
    return tuple(kept), room


def _characters(table: TableEnd) -> int:
    return sum(len(cell) + 10 for row in (table.columns, *table.rows) for cell in row)


def _spread(points: Sequence[RichPoint], most: int) -> list[RichPoint]:
    """The last one, and others evenly spread before it, the last one first."""
    if len(points) <= most:
        return list(reversed(points))
    if most == 1:
        return [points[-1]]
    places = {round(at * (len(points) - 1) / (most - 1)) for at in range(most)}
    return [points[at] for at in sorted(places, reverse=True)]


# --- images ---


def _bytes_of(point: RichPoint) -> bytes | None:
    path = point.value.path if isinstance(point.value, Image) else None
    try:
        return None if path is None else read_small(path, 64 << 20)
    except (MltrackError, OSError):
        return None


def _file_bytes(run: StoredRun, name: str) -> bytes | None:
    try:
        return read_small(run.artifact_path(name), 64 << 20)
    except (MltrackError, OSError):
        return None


def _image_files(run: StoredRun) -> list[str]:
    return [
        artifact.path
        for artifact in run.artifacts
        if PurePosixPath(artifact.path).suffix.lower() in _SUFFIXES
        and not artifact.path.startswith(("images/", "outputs/code/", "code/"))
    ]


def _picture(run_id: str, name: str, step: int | None, data: bytes | None) -> Picture | None:
    if data is None:
        return None
    media = _media(data)
    if len(data) > IMAGE_BYTES or media is None:
        smaller = _smaller(data)
        if smaller is None and media is None:
            return None
        if smaller is not None and (media is None or len(smaller) < len(data)):
            data, media = smaller, "image/webp"
    return None if media is None else Picture(run_id, name, step, media, data)


def _media(data: bytes) -> str | None:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((media for start, media in _MEDIA.items() if data.startswith(start)), None)


def _smaller(data: bytes) -> bytes | None:
    """The image with fewer pixels; None where it can't be read, or Pillow is not installed."""
    if not is_installed("PIL"):
        return None
    import PIL.Image

    try:
        image = PIL.Image.open(io.BytesIO(data))
        if image.size[0] * image.size[1] > DECODED_PIXELS_MAX:
            return None
        image.thumbnail((IMAGE_PIXELS, IMAGE_PIXELS))
        buffer = io.BytesIO()
        image.convert("RGBA" if "A" in image.getbands() else "RGB").save(buffer, "webp", quality=80)
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError):
        return None
    return buffer.getvalue()


def _within(candidates: list[tuple[int, Picture]], bytes_max: int, left_out: list[str]) -> tuple[Picture, ...]:
    """The latest images of all first, as long as there is room; in the order of name, run and step."""
    kept: list[Picture] = []
    left = bytes_max
    for _, picture in sorted(candidates, key=lambda one: one[0]):
        if len(picture.data) <= left:
            kept.append(picture)
            left -= len(picture.data)
    if len(kept) < len(candidates):
        left_out.append(
            f"{plural(len(candidates) - len(kept), 'image')}: no more than {bytes_max / 1e6:g} MB of images are shown"
        )
    order = {id(picture): place for place, (_, picture) in enumerate(candidates)}
    return tuple(sorted(kept, key=lambda one: (one.name, order[id(one)])))


# --- tables and histograms ---


def _table(run_id: str, name: str, step: int | None, columns: Sequence[Any], rows: Sequence[Sequence[Any]]) -> TableEnd:
    shown = tuple(tuple(map(_cell, row[:COLUMNS_MAX])) for row in rows[:ROWS_MAX])
    return TableEnd(run_id, name, step, tuple(str(one) for one in columns[:COLUMNS_MAX]), shown, len(rows))


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return number(value)
    return clipped("" if value is None else value if isinstance(value, str) else str(value), CELL_CHARACTERS_MAX)


def _table_files(run: StoredRun) -> Iterator[TableEnd]:
    """The tables that ``log_table`` stored, which a tag names."""
    for name in _names(run.tags.get(TABLES_TAG)):
        if name.startswith("series/") or not name.endswith(".json"):
            continue
        try:
            found = json.loads(read_small(run.artifact_path(name), TABLE_FILE_BYTES_MAX))
        except (MltrackError, OSError, ValueError, RecursionError):
            continue
        columns, rows = (found.get("columns"), found.get("data")) if isinstance(found, dict) else (None, None)
        if isinstance(columns, list) and isinstance(rows, list) and all(isinstance(row, list) for row in rows):
            yield _table(run.run_id, name, None, columns, rows)


def _names(tag: str | None) -> list[str]:
    try:
        entries = json.loads(tag or "[]")
    except (ValueError, RecursionError):
        return []
    paths = [one.get("path") for one in entries if isinstance(one, dict)] if isinstance(entries, list) else []
    return [path for path in paths if isinstance(path, str)]


def _bars(run_id: str, name: str, step: int, histogram: Histogram) -> Bars:
    """The counts, neighbouring bins added where there are many."""
    each = -(-len(histogram.counts) // BINS_MAX)
    counts = tuple(float(histogram.counts[at : at + each].sum()) for at in range(0, len(histogram.counts), each))
    edges = [float(histogram.edges[at]) for at in range(0, len(histogram.counts), each)]
    return Bars(run_id, name, step, counts, (*edges, float(histogram.edges[-1])))
