"""Boxes and masks of an image: kept as files next to it, a JSON file and a PNG file for each mask."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mltrack.extras import need
from mltrack.values.arrays import on_host
from mltrack.wandb.errors import UsageError
from mltrack.wandb.media_file import MediaFile

__all__ = ["Classes", "Overlays", "overlays_of"]

KeepFile = Callable[[str, MediaFile], None]

CLASS_MAX = 255


class Classes:
    """Names of classes: dicts with ``id`` and ``name``."""

    def __init__(self, class_set: Iterable[Mapping[str, Any]]) -> None:
        """Take them.

        Raises:
            UsageError: one has no id or no name.
        """
        self.class_set = [dict(each) for each in class_set]
        if not all({"id", "name"} <= each.keys() for each in self.class_set):
            raise UsageError("a class has no id or no name", hint='give [{"id": 0, "name": "cat"}]')


@dataclass(frozen=True, slots=True)
class Overlays:
    """Boxes as wandb takes them, masks as PNG files, and names of classes."""

    boxes: Mapping[str, Any]
    masks: Mapping[str, tuple[bytes, Mapping[Any, Any]]]
    classes: list[dict[str, Any]]

    def store(self, png: bytes, key: str, step: int, keep_file: KeepFile) -> dict[str, Any]:
        """Store them; returns what the summary says of them. ``png`` is the image's file, which they name by its hash.

        The JSON file is ``media/metadata/images/KEY_STEP_HASH.json``.
        """
        said: dict[str, Any] = {}
        masks: dict[str, Any] = {}
        for name, (data, labels) in self.masks.items():
            file = MediaFile("images/mask", data, ".mask.png", {"_type": "mask", "size": len(data)})
            path = file.path(f"{key}_{name}", step)
            keep_file(path, file)
            masks[name] = {"path": path, "class_labels": labels}
        known = {"image_sha256": hashlib.sha256(png).hexdigest(), "boxes": self.boxes, "masks": masks}
        content = json.dumps({**known, "classes": self.classes}, default=_plain, ensure_ascii=False).encode()
        file = MediaFile("metadata/images", content, ".json", {"_type": "image-overlays", "size": len(content)})
        said["overlays"] = file.path(key, step)
        keep_file(file.path(key, step), file)
        return said


def overlays_of(boxes: Any, masks: Any, classes: Any) -> Overlays | None:
    """The arguments of an image; None without any.

    Raises:
        UsageError: they are not boxes, or not masks.
    """
    if not (boxes or masks or classes):
        return None
    for name, each in (boxes or {}).items():
        if not isinstance(each, Mapping) or "box_data" not in each:
            raise UsageError(f"boxes {name!r} have no box_data", hint='give {"NAME": {"box_data": [...]}}')
    named = classes if isinstance(classes, Classes) or classes is None else Classes(classes)
    return Overlays(
        dict(boxes or {}),
        {str(name): _mask(name, each) for name, each in (masks or {}).items()},
        named.class_set if named is not None else [],
    )


def _mask(name: Any, mask: Any) -> tuple[bytes, Mapping[Any, Any]]:
    """A mask's PNG file, and the names of its classes."""
    if not isinstance(mask, Mapping) or not {"mask_data", "path"} & mask.keys():
        raise UsageError(f"mask {name!r} has no mask_data", hint='give {"NAME": {"mask_data": array}}')
    labels = mask.get("class_labels") or {}
    if "path" in mask:
        return Path(os.fspath(mask["path"])).read_bytes(), labels
    import numpy as np

    pixels = np.asarray(on_host(mask["mask_data"]))
    if pixels.ndim != 2 or pixels.dtype.kind not in "biu" or (pixels.size and not 0 <= pixels.min() <= CLASS_MAX):
        raise UsageError(f"mask {name!r} has the shape {pixels.shape}", hint="give (height, width) of whole numbers")
    if pixels.size and pixels.max() > CLASS_MAX:
        raise UsageError(f"mask {name!r} has classes above {CLASS_MAX}", hint="number them from 0 on")
    need("PIL", "wandb.Image")
    import PIL.Image

    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels.astype(np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue(), labels


def _plain(value: Any) -> Any:
    """What JSON has no form of: arrays and their numbers as lists and numbers."""
    return on_host(value).tolist() if hasattr(value, "tolist") else str(value)
