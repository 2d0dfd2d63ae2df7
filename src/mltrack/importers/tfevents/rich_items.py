"""What is more than a number in events: histograms, images, texts, and what becomes a file."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mltrack.errors import UsageError
from mltrack.importers.png_image import PNG, PngImage
from mltrack.importers.protobuf import Fields, WireError
from mltrack.importers.source import SourceError
from mltrack.values.rich import Histogram, RichValue, Table, Text

if TYPE_CHECKING:
    from mltrack.importers.tfevents.events import Item

__all__ = ["FILE_KINDS", "KEPT_KINDS", "VALUE_KINDS", "files_of", "values_of"]

VALUE_KINDS = frozenset({"histogram", "image", "text"})
FILE_KINDS = frozenset({"image", "audio", "graph_def", "meta_graph_def"})
KEPT_KINDS = VALUE_KINDS | FILE_KINDS | {"scalar", "hparams", "session log"}
"""What has a place in a store; session logs only say that a program began."""

FAR = 1e300
"""Buckets that go on to infinity end here or later."""

_SUFFIXES = {b"GIF8": "gif", b"\xff\xd8": "jpg", b"RIFF": "webp", b"BM": "bmp"}
_UNUSABLE = re.compile(r"[^\w\-./ ]|\.\.+|//+|^/|/$")

Numbers = npt.NDArray[np.float64]


def values_of(item: Item) -> Iterator[RichValue]:
    """The values in an item.

    Raises:
        SourceError: it is damaged.
    """
    try:
        if item.kind == "histogram":
            yield from _histograms(item)
        elif item.kind == "image":
            yield from (PngImage(data) for data in _images(item) if data.startswith(PNG))
        elif item.kind == "text" and item.tensor is not None:
            yield _text(item.tensor.shape, item.tensor.texts)
    except (WireError, UsageError, ValueError, IndexError) as error:
        raise SourceError(f"{item.kind} {item.tag!r}: {error}") from error


def files_of(item: Item, step: int) -> Iterator[tuple[str, bytes]]:
    """The files in an item, with their names among the artifacts.

    Raises:
        SourceError: it is damaged.
    """
    name = _UNUSABLE.sub("_", item.tag) or "_"
    try:
        if item.kind in ("graph_def", "meta_graph_def"):
            yield f"graphs/{name}_{step}.pb", item.content
        elif item.kind == "audio":
            for number, data in enumerate(_sounds(item)):
                yield f"media/{name}/{step}_{number}.wav", data
        elif item.kind == "image":
            for number, data in enumerate(_images(item)):
                if not data.startswith(PNG):
                    suffix = next((found for start, found in _SUFFIXES.items() if data.startswith(start)), "bin")
                    yield f"media/{name}/{step}_{number}.{suffix}", data
    except WireError as error:
        raise SourceError(f"{item.kind} {item.tag!r}: {error}") from error


def _images(item: Item) -> list[bytes]:
    if item.tensor is not None:
        return list(item.tensor.texts[2:])  # after width and height
    return [Fields(item.content).content(4)]


def _sounds(item: Item) -> list[bytes]:
    if item.tensor is not None:
        return list(item.tensor.texts[:: 2 if len(item.tensor.shape) > 1 else 1])  # each with a label
    return [Fields(item.content).content(4)]


def _text(shape: tuple[int, ...], texts: tuple[bytes, ...]) -> Text | Table:
    words = [text.decode("utf-8", "replace") for text in texts]
    if len(shape) != 2 or shape[0] * shape[1] != len(words):
        return Text("\n".join(words))
    rows, width = shape
    return Table([words[row * width : (row + 1) * width] for row in range(rows)], [str(i) for i in range(width)])


# --- histograms ---


def _histograms(item: Item) -> Iterator[Histogram]:
    if item.tensor is not None:
        numbers: Any = item.tensor.numbers
        if numbers is None or numbers.ndim != 2 or numbers.shape[1] != 3:
            raise WireError(f"a tensor of shape {item.tensor.shape}")
        if len(numbers):
            yield _histogram(np.concatenate([numbers[:1, 0], numbers[:, 1]]), numbers[:, 2])
        return
    fields = Fields(item.content)
    limits = np.frombuffer(fields.packed(6, "d"), "<f8").astype(np.float64)
    counts = np.frombuffer(fields.packed(7, "d"), "<f8").astype(np.float64)
    if len(limits) != len(counts):
        raise WireError(f"{len(limits)} limits and {len(counts)} counts")
    if len(limits):
        yield _histogram(*_with_ends(limits, counts, fields.double(1), fields.double(2)))


def _with_ends(limits: Numbers, counts: Numbers, least: float, most: float) -> tuple[Numbers, Numbers]:
    """Edges of buckets of which only the upper limits are known: the first begins at the least value."""
    if len(limits) > 1 and not abs(limits[-1]) < FAR:
        limits = np.append(limits[:-1], most if limits[-2] < most < FAR else math.nextafter(limits[-2], math.inf))
    if len(limits) > 1 and not counts[0]:
        return limits, counts[1:]
    start = least if least < limits[0] and math.isfinite(least) else math.nextafter(limits[0], -math.inf)
    return np.append(start, limits), counts


def _histogram(edges: Numbers, counts: Numbers) -> Histogram:
    """Buckets without width are joined with the one before."""
    edges = edges.astype(np.float64)
    if len(edges) == 2 and edges[0] == edges[1]:
        edges = np.array([edges[0], math.nextafter(edges[0], math.inf)])
    rising = np.append(True, np.diff(edges) > 0)
    if not rising.all():
        rising[:2] = True
        edges[1] = edges[1] if edges[1] > edges[0] else math.nextafter(edges[0], math.inf)
        places = np.cumsum(rising[1:]) - 1
        counts = np.bincount(places, weights=counts).astype(np.float64)
        edges = edges[rising]
    return Histogram.from_counts(counts, edges)
