"""Images, texts, distributions and the like in aim's sequences: as values, or as files where a store has no such."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from mltrack.errors import UsageError
from mltrack.importers.aim.encoding import BLOB, BLOBS, TypedObject, decode_path, decode_value, fold
from mltrack.importers.aim.sequences import Sequence, times_of
from mltrack.importers.png_image import PNG, PngImage
from mltrack.importers.source import SourceError, SourceFile, SourceValue
from mltrack.values.rich import Histogram, Text

if TYPE_CHECKING:
    from mltrack.importers.aim.rocks import RocksFolder
    from mltrack.values.rich import RichValue

__all__ = ["LOG_LINE", "LOG_RECORD", "Logged", "file_of", "line_of", "objects_of", "value_of"]

LOG_LINE, LOG_RECORD = "aim.log_line", "aim.log_record"
LEVELS = {10: "DEBUG", 20: "INFO", 30: "WARNING", 40: "ERROR", 50: "CRITICAL"}
DTYPES = {f"{kind}{bits}" for kind in ("int", "uint", "float") for bits in (8, 16, 32, 64)} - {"float8"}
BINS_MAX = 512
STEP_BYTES = 10


@dataclass(frozen=True, slots=True)
class Logged:
    """One object: its sequence, step, time in ns, its number among those of the step, and aim's fields of it."""

    sequence: Sequence
    step: int
    time: int
    number: int
    of: TypedObject


def objects_of(rocks: RocksFolder, sequence: Sequence) -> Iterator[Logged]:
    """The objects of a sequence, with their contents.

    Raises:
        SourceError: they can't be read.
    """
    times, prefix = times_of(rocks, sequence), sequence.prefix("val")
    at = len(prefix)
    items = ((key, value) for key, value in rocks.scan(prefix) if len(key) > at)
    for place, group in groupby(items, lambda item: item[0][at : at + STEP_BYTES]):
        try:
            [step] = decode_path(place)
            found = fold(_leaves(rocks, group, at + STEP_BYTES))
        except ValueError as error:
            raise SourceError(f"{sequence.key!r:.80}: {error}") from error
        for number, each in enumerate(found if isinstance(found, list) else [found]):
            if isinstance(each, TypedObject) and isinstance(step, int):
                yield Logged(sequence, step, times.get(step, 0), number, each)


def _leaves(
    rocks: RocksFolder, items: Iterator[tuple[bytes, bytes]], at: int
) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    for key, data in items:
        value = decode_value(data)
        if value is BLOB:
            content = rocks.get(BLOBS + key)
            value = None if content is None else decode_value(content)
        yield decode_path(key[at:]), value


def value_of(logged: Logged) -> SourceValue | None:
    """It as a value; None where it is to be a file.

    Raises:
        SourceError: it is damaged.
    """
    fields = logged.of.fields
    data = fields.get("data")
    value: RichValue | None = None
    if logged.of.kind == "aim.text":
        value = Text(_text(data))
    elif logged.of.kind == "aim.image" and _is_png(data):
        value = PngImage(_bytes(data))
    elif logged.of.kind == "aim.distribution":
        value = _histogram(fields)
    key = logged.sequence.key
    return None if value is None else SourceValue(key, logged.step, logged.time, value)


def _is_png(data: Any) -> bool:
    return isinstance(data, bytes) and data.startswith(PNG)


def _text(data: Any) -> str:
    if not isinstance(data, str):
        raise SourceError("a text without content")
    return data


def _bytes(data: Any) -> bytes:
    if isinstance(data, str):
        return data.encode("utf-8", "replace")
    if not isinstance(data, bytes):
        raise SourceError("an object without content")
    return data


def _histogram(fields: dict[Any, Any]) -> RichValue:
    bins, dtype, limits = fields.get("bin_count"), fields.get("dtype"), fields.get("range")
    try:
        if dtype not in DTYPES or not isinstance(bins, int) or not 0 < bins <= BINS_MAX:
            raise ValueError("bins")
        low, high = map(float, limits or ())
        counts = np.frombuffer(_bytes(fields.get("data")), dtype, bins).astype(np.float64)
        if not math.isfinite(high - low):
            raise ValueError("limits")
        if low == high:
            low, high = low - 0.5, high + 0.5
        return Histogram.from_counts(counts, np.linspace(low, high, bins + 1))
    except (ValueError, TypeError, UsageError) as error:
        raise SourceError(f"a distribution that can't be read: {error}") from None


def file_of(logged: Logged) -> SourceFile | None:
    """It as a file; None where it is a value, or a line of a log."""
    fields = logged.of.fields
    data, kind = fields.get("data"), logged.of.kind
    if kind in ("aim.text", "aim.distribution", LOG_LINE, LOG_RECORD) or (kind == "aim.image" and _is_png(data)):
        return None
    suffix = "plotly.json" if kind == "aim.figure" else str(fields.get("format") or "bin").lower()
    if data is None:
        data, suffix = json.dumps({str(key): str(value) for key, value in fields.items()}), "json"
    content = _bytes(data)
    name = f"media/{logged.sequence.key}/{logged.step}_{logged.number}.{suffix}"
    return SourceFile(name, len(content), partial(io.BytesIO, content))


def line_of(logged: Logged) -> str:
    """A line of the console, or of what the run noted, as it is in a file."""
    data = logged.of.fields.get("data") if logged.of.kind == LOG_LINE else logged.of.fields.get("message")
    text = data if isinstance(data, str) else ""
    if logged.of.kind == LOG_LINE:
        return f"{text}\n"
    moment = datetime.fromtimestamp(logged.time / 1e9, UTC).isoformat(timespec="milliseconds")
    level = logged.of.fields.get("log_level")
    return f"{moment} {LEVELS.get(level if isinstance(level, int) else 0, level)} {text}\n"
