"""Figures, images and dicts as bytes, in the formats and layouts that MLflow reads and its UI shows."""

from __future__ import annotations

import io
import json
import os
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from mltrack.environment import TABLES_TAG
from mltrack.errors import UsageError
from mltrack.extras import need
from mltrack.process.headroom import need_numpy
from mltrack.text.shown import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "TABLES_TAG",
    "ImagePlace",
    "dict_text",
    "figure_bytes",
    "image_bytes",
    "image_name",
    "image_place",
    "tables_tag",
    "thumbnail",
    "thumbnail_name",
    "usable_image_key",
]


def dict_text(value: Any, name: str) -> str:
    """JSON with an indent of two, or YAML, by the suffix of the name.

    NumPy's numbers and arrays become numbers and lists. Other values that JSON can't hold (enums, paths, dates, sets,
    types) become text by ``str``; in YAML they are written as Python objects. Both is what MLflow does.

    Raises:
        UsageError: the value can't be written: it contains itself, or has keys that are not text or numbers (JSON).
    """
    if PurePosixPath(name).suffix in (".yml", ".yaml"):
        need("yaml", f"{name}: YAML")
        import yaml

        try:
            return str(yaml.dump(value, Dumper=_yaml_dumper(), sort_keys=False, allow_unicode=True))
        except (yaml.YAMLError, TypeError, ValueError, RecursionError) as error:
            raise UsageError(f"{name}: can't be written as YAML: {error}", hint="give plain values") from None
    try:
        return json.dumps(value, indent=2, default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"{name}: can't be written as JSON: {error}", hint="give plain values") from None


def _plain(value: Any) -> Any:
    """NumPy's numbers and arrays as plain numbers and lists, anything else as text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _yaml_dumper() -> Any:
    """PyYAML's dumper, with NumPy's numbers and arrays as plain ones."""
    import yaml

    class Dumper(yaml.Dumper):
        def represent_data(self, data: Any) -> Any:
            held = data.tolist() if type(data).__module__ == "numpy" and hasattr(data, "tolist") else data
            return super().represent_data(held)

    return Dumper


def figure_bytes(figure: Any, name: str, options: Mapping[str, Any]) -> bytes:
    """A matplotlib or plotly figure in the format of the name's suffix.

    Raises:
        UsageError: it is not a figure, or its library does not know the format.
    """
    buffer = io.BytesIO()
    suffix = PurePosixPath(name).suffix.lstrip(".").lower()
    if hasattr(figure, "savefig"):
        try:
            figure.savefig(buffer, **{"format": suffix or "png", **options})
        except ValueError as error:
            raise UsageError(f"{name}: {error}", hint="use a name that ends in .png, .pdf or .svg") from None
        return buffer.getvalue()
    if hasattr(figure, "to_html") and hasattr(figure, "to_image"):
        try:
            if suffix == "html":
                page = {"include_plotlyjs": "cdn", **options}
                page.pop("auto_open", None)  # it is for plotly's own file, but MLflow passes it on
                return str(figure.to_html(**page)).encode()
            return bytes(figure.to_image(**{"format": suffix or "png", **options}))
        except (ValueError, RuntimeError) as error:
            words = " ".join(str(error).split())
            raise UsageError(f"{name}: {words}", hint="use a name that ends in .html, or install kaleido") from None
    raise UsageError(f"{name}: {type(figure).__name__} is not a figure", hint="give a matplotlib or plotly figure")


_SERIES_KEY = re.compile(r"[A-Za-z0-9 _\-/.]+")
_UNUSABLE = re.compile(r"[^A-Za-z0-9_\-./ ]")
_SERIES_NAME = re.compile(r"images/([^/]+)([+%])step\2(-?\d+)\2timestamp\2(\d+)\2[^/+%]+\.png")
THUMBNAIL_PIXELS = 256

"""By this tag MLflow's UI finds the tables of a run."""

TAG_CHARACTERS_MAX = 5_000
"""The longest tag that any server accepts; tables beyond that are shown as files."""


def usable_image_key(key: str) -> str:
    """The key with each character replaced by ``_`` that no image's name can have."""
    return _UNUSABLE.sub("_", str(key))


class ImagePlace(NamedTuple):
    """An image's place in a series: the key, the step, and the time in ms."""

    key: str
    step: int
    timestamp_ms: int


def image_name(artifact_file: str | None, key: str | None, step: int | None, timestamp_ms: int) -> str:
    """The artifact's name: the one given, or that of an image series as MLflow's UI looks for it.

    Args:
        artifact_file: The artifact's name, if the image is not in a series.
        key: The name of the series.
        step: The step in it; 0 by default.
        timestamp_ms: The time, in ms since the epoch.

    Raises:
        UsageError: neither or both are given, or the key has characters that a file name should not have.
    """
    if (artifact_file is None) == (key is None):
        raise UsageError("an image needs artifact_file or key, not both", hint="log_image(image, 'sample.png')")
    if artifact_file is not None:
        return artifact_file
    if not isinstance(key, str) or not _SERIES_KEY.fullmatch(key):
        raise UsageError(
            f"image key {shown(key)} is not usable", hint="use letters, digits, spaces, '_', '-', '/', '.'"
        )
    flat = key.replace("/", "~")
    return f"images/{flat}+step+{step or 0}+timestamp+{timestamp_ms}+{os.urandom(16).hex()}.png"


def image_place(name: str) -> ImagePlace | None:
    """The place in a series that an image's name gives, in the form of older MLflow too; None for other names."""
    found = _SERIES_NAME.fullmatch(name)
    if found is None:
        return None
    key = re.sub("[~#]", "/", found[1])
    return ImagePlace(key, int(found[3]), int(found[4]))


def thumbnail(image: bytes, name: str) -> tuple[bytes, str]:
    """The thumbnail that MLflow's UI shows of an image in a series, and its name."""
    need("PIL", f"{name}: an image")
    import PIL.Image

    small = PIL.Image.open(io.BytesIO(image))
    small.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    buffer = io.BytesIO()
    small.convert("RGBA" if "A" in small.getbands() or "transparency" in small.info else "RGB").save(buffer, "webp")
    return buffer.getvalue(), thumbnail_name(name)


def thumbnail_name(name: str) -> str:
    """The name of the thumbnail that MLflow's UI shows of an image in a series."""
    return name.removesuffix(".png") + "+compressed.webp"


def image_bytes(image: Any, name: str) -> bytes:
    """An image in the format of the name's suffix (.png if it has none).

    Raises:
        UsageError: it is not an image.
        MissingPackageError: Pillow is not installed.
    """
    need("PIL", f"{name}: an image")
    import PIL.Image

    if hasattr(image, "to_pil"):  # mlflow.Image, mltrack.Image
        image = image.to_pil()
    if not isinstance(image, PIL.Image.Image):
        image = PIL.Image.fromarray(_pixels(image, name))
    PIL.Image.init()
    suffix = PurePosixPath(name).suffix.lower()
    kind = PIL.Image.EXTENSION.get(suffix or ".png")
    if kind is None:
        raise UsageError(f"{name}: {suffix} is not an image format", hint="use .png, .jpg or .webp")
    buffer = io.BytesIO()
    try:
        image.save(buffer, format=kind)
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"{name}: {error}", hint="use a format that can hold such an image, like .png") from None
    return buffer.getvalue()


def _pixels(image: Any, name: str) -> Any:
    need_numpy()
    import numpy as np

    if hasattr(image, "detach") and hasattr(image, "cpu"):  # a tensor of torch
        image = image.detach().cpu()
    array = np.asarray(image)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    right_shape = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if not right_shape or array.dtype.kind not in "biuf" or not array.size:
        raise UsageError(
            f"{name}: an array of shape {array.shape} and type {array.dtype} is not an image",
            hint="give (height, width) or (height, width, 1, 3 or 4) numbers",
        )
    if array.dtype.kind == "b":
        return array.astype(np.uint8) * 255
    if array.dtype.kind == "f":
        return np.rint(_from_0_to_1(array.astype(np.float64), name) * 255).astype(np.uint8)
    if not (array.min() >= 0 and array.max() <= 255):
        raise UsageError(
            f"{name}: pixels from {array.min()} to {array.max()}, beyond 0 to 255",
            hint="floats run from 0 to 1, integers from 0 to 255",
        )
    return array.astype(np.uint8)


def _from_0_to_1(array: Any, name: str) -> Any:
    """Floats unchanged where they fit; else scaled from the least (0) to the greatest (1), as in MLflow. NaN is 0."""
    import numpy as np

    finite = array[np.isfinite(array)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if low < 0 or high > 1:
        import logging

        logging.getLogger("mltrack").warning("%s: pixels from %g to %g are scaled to 0 to 1", name, low, high)
        array = (array - low) / ((high - low) or 1.0)
    return np.clip(np.nan_to_num(array, nan=0.0, posinf=1.0, neginf=0.0), 0.0, 1.0)


def tables_tag(held: str | None, names: Iterable[str]) -> str | None:
    """The value of TABLES_TAG with these tables added, as long as it is not too long for a server."""
    try:
        tables = json.loads(held) if held else []
    except ValueError:
        return held
    if not isinstance(tables, list):
        return held
    text = held
    for name in names:
        entry = {"path": name, "type": "table"}
        if entry not in tables:
            tables.append(entry)
            longer = json.dumps(tables, ensure_ascii=False)  # as MLflow looks for a name in it
            if len(longer) > TAG_CHARACTERS_MAX:
                break
            text = longer
    return text
