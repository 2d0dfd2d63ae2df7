"""Logged values that are more than numbers: histograms, images, tables, texts and other JSON."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from mltrack.errors import UsageError
from mltrack.importers.png_image import PNG, PngImage
from mltrack.importers.source import SourceError
from mltrack.importers.wandb.histograms import histogram_of
from mltrack.importers.wandb.items import JsonError, json_value
from mltrack.values.rich import RichValue, Table, Text

__all__ = ["media_of", "rich_values"]

ReadFile = Callable[[str], bytes | None]
"""Gives the content of a file of the run by its path; None if it is not there."""


def rich_values(text: bytes, read: ReadFile) -> Iterator[RichValue]:
    """The values in a value's JSON; none of media that are files only.

    Raises:
        SourceError: it is damaged.
    """
    try:
        value = json_value(text)
        kind = value.get("_type", "") if isinstance(value, dict) else ""
        if kind == "histogram":
            yield histogram_of(_counts(value), value["bins"] if "bins" in value else _edges(value))
        elif kind in ("image-file", "images/separated"):
            for path in media_of(value):
                data = read(path)
                if data is not None and data.startswith(PNG):
                    yield PngImage(data)
        elif kind == "table-file":
            yield from _tables(read(str(value.get("path", ""))))
        elif not kind:
            yield Text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    except (JsonError, UsageError, KeyError, TypeError, ValueError, zlib.error) as error:
        raise SourceError(f"{text[:60]!r} can't be read: {error}") from error


def media_of(value: Any) -> list[str]:
    """The files of PNG images and tables, which come as values; other media come as files."""
    kind = value.get("_type", "") if isinstance(value, dict) else ""
    if kind == "table-file":
        return [str(value.get("path", ""))]
    paths = [value.get("path", "")] if kind == "image-file" else ()
    paths = value.get("filenames", ()) if kind == "images/separated" else paths
    return [str(path) for path in paths if str(path).endswith(".png")]


def _counts(value: dict[str, Any]) -> Any:
    if "values" in value:
        return value["values"]
    packed = value["packedValues"]
    return np.frombuffer(zlib.decompress(base64.b64decode(packed)), np.float64).tolist()


def _edges(value: dict[str, Any]) -> Any:
    packed = value["packedBins"]
    return (packed["min"] + packed["size"] * np.arange(packed["count"] + 1)).tolist()


def _tables(data: bytes | None) -> Iterator[Table]:
    if data is not None:
        found = json_value(data)
        yield Table([list(row) for row in found["data"]], [str(name) for name in found["columns"]])
