"""Logged values that are more than numbers: histograms, images, tables, texts, and files of other media."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mltrack.disk.filesystem import safe_join
from mltrack.errors import InvalidPathError, UsageError
from mltrack.importers.png_image import PNG, PngImage
from mltrack.importers.source import SourceError
from mltrack.values.rich import Histogram, RichValue, Table, Text

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["is_png", "media_file", "media_names", "rich_values"]

IMAGE = "trackio.image"


def rich_values(value: Any, media: Path | None) -> Iterator[RichValue]:
    """The values in a logged value; none of media that are files only.

    Raises:
        SourceError: it is damaged.
    """
    kind = value.get("_type", "") if isinstance(value, dict) else ""
    try:
        if kind == "trackio.histogram":
            if value["values"]:
                yield Histogram.from_counts(value["values"], value["bins"])
        elif kind == "trackio.table":
            rows = value["_value"]
            columns = list(dict.fromkeys(key for row in rows for key in row))
            yield Table([[row.get(column) for column in columns] for row in rows], [str(name) for name in columns])
        elif kind == "trackio.markdown":
            yield Text(value["_value"])
        elif kind == IMAGE:
            path = media_file(value.get("file_path"), media)
            if path is not None and is_png(path):
                yield PngImage(path.read_bytes())
        elif isinstance(value, list) and any(isinstance(each, dict) and "_type" in each for each in value):
            for each in value:
                yield from rich_values(each, media)
        elif not kind:
            yield Text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    except (UsageError, KeyError, TypeError, ValueError, AttributeError, OSError) as error:
        raise SourceError(f"a value that can't be read: {error}") from error


def media_names(value: Any) -> Iterator[str]:
    """The files that a value names, images in tables included."""
    if isinstance(value, list):
        for each in value:
            yield from media_names(each)
    elif isinstance(value, dict):
        if isinstance(value.get("file_path"), str):
            yield value["file_path"]
        for each in value.values():
            if isinstance(each, dict | list):
                yield from media_names(each)


def media_file(name: object, media: Path | None) -> Path | None:
    """The file of that name in trackio's folder of media; None where it has none, or there is no such folder."""
    if media is None:
        return None
    try:
        path = safe_join(media, str(name))
    except InvalidPathError:
        return None
    return path if path.is_file() else None


def is_png(path: Path) -> bool:
    """Whether a file is a PNG image."""
    with path.open("rb") as file:
        return file.read(len(PNG)) == PNG
