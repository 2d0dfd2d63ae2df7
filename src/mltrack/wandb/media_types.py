"""wandb's media: what a value becomes, an image or a histogram of the run's, or a file below ``media/``."""

from __future__ import annotations

import io
import json
import os
import wave
from pathlib import Path
from typing import Any, ClassVar

from mltrack.extras import need
from mltrack.importers.wandb.histograms import histogram_of
from mltrack.values.arrays import on_host
from mltrack.values.rich import Histogram as StoredHistogram
from mltrack.values.rich import Image as StoredImage
from mltrack.wandb.errors import UnsupportedError, UsageError
from mltrack.wandb.image_overlays import overlays_of
from mltrack.wandb.media_file import MediaFile
from mltrack.wandb.notices import say_once

__all__ = [
    "Audio",
    "Histogram",
    "Html",
    "Image",
    "Medium",
    "Molecule",
    "Object3D",
    "Plotly",
    "Video",
    "figure_medium",
]

BINS_MAX = 512


class Histogram:
    """How often values fell between edges: of values, or counted by ``numpy.histogram``."""

    def __init__(self, sequence: Any = None, np_histogram: Any = None, num_bins: int = 64) -> None:
        """Count values, NaN and infinities left out, or take counts and edges.

        Raises:
            UsageError: they are not numbers, or there are more than 512 bins.
        """
        import numpy as np

        if np_histogram:
            if len(np_histogram) != 2:
                raise UsageError("np_histogram is not counts and edges", hint="give numpy.histogram(values)")
            counts, edges = np_histogram
        else:
            values = np.asarray(on_host(sequence), float).ravel()
            counts, edges = np.histogram(values[np.isfinite(values)], num_bins)
        if len(counts) > BINS_MAX:
            raise UsageError(f"{len(counts)} bins are too many", hint=f"give at most {BINS_MAX}")
        self.histogram = [float(count) for count in counts]
        self.bins = [float(edge) for edge in edges]
        if len(self.histogram) + 1 != len(self.bins):
            raise UsageError(f"{len(self.histogram)} counts and {len(self.bins)} edges", hint="give n and n + 1")

    def stored(self) -> StoredHistogram:
        """As the run keeps it.

        Raises:
            UsageError: its edges do not rise.
        """
        return histogram_of(self.histogram, self.bins)

    def about(self) -> dict[str, Any]:
        """What the summary says of it."""
        return {"_type": "histogram", "values": self.histogram, "bins": self.bins}


class Image:
    """One image: an array, a tensor, a PIL image, a Matplotlib figure or a file's path."""

    def __init__(
        self,
        data_or_path: Any,
        mode: str | None = None,
        caption: str | None = None,
        grouping: int | None = None,
        classes: Any = None,
        boxes: Any = None,
        masks: Any = None,
        file_type: str | None = None,
        normalize: bool = True,
    ) -> None:
        """Take an image.

        Args:
            data_or_path: (height, width) or (height, width, channels); of a torch tensor channels come first. Floats
                from 0 to 1 are scaled, others are cut to whole numbers from 0 to 255.
            mode: PIL's mode, else by the number of channels.
            caption: kept in wandb-summary.json.
            grouping: has no effect.
            classes: names of classes, for boxes and masks: wandb.Classes, or dicts with ``id`` and ``name``.
            boxes: by name, as ``{"box_data": [...], "class_labels": {...}}``; kept in a JSON file.
            masks: by name, as ``{"mask_data": array, "class_labels": {...}}``; kept as PNG files.
            file_type: images are stored as PNG.
            normalize: whether floats from 0 to 1 are scaled.

        Raises:
            UsageError: it is not an image, or these are not boxes or masks.
            MissingPackageError: Pillow is not installed.
        """
        if grouping is not None:
            say_once("Image(grouping=) has no effect here")
        need("PIL", "wandb.Image")
        self.caption = caption
        self.image = _as_pil(data_or_path, mode, normalize)
        self.overlays = overlays_of(boxes, masks, classes)

    def stored(self) -> StoredImage:
        """As the run keeps it."""
        return StoredImage(self.image)

    def about(self) -> dict[str, Any]:
        """What the summary says of it."""
        width, height = self.image.size
        found = {"_type": "image-file", "width": width, "height": height, "format": "png"}
        return {**found, **({} if self.caption is None else {"caption": self.caption})}

    def png(self) -> bytes:
        """Its bytes as PNG."""
        return self.stored().encode("image.png")


def _as_pil(data: Any, mode: str | None, normalize: bool) -> Any:
    import PIL.Image

    if isinstance(data, Image):
        return data.image
    if isinstance(data, str | os.PathLike):
        if str(data).startswith(("http://", "https://", "s3://", "gs://")):
            raise UsageError(f"{data} is not a file", hint="download it, then log the file")
        with PIL.Image.open(data) as opened:
            opened.load()
            return opened.copy()
    if isinstance(data, PIL.Image.Image):
        return data
    if hasattr(data, "gcf") or hasattr(data, "savefig"):
        buffer = io.BytesIO()
        (data.gcf() if hasattr(data, "gcf") else data).savefig(buffer, format="png")
        return PIL.Image.open(buffer)
    return _pixels_as_pil(data, mode, normalize)


def _pixels_as_pil(data: Any, mode: str | None, normalize: bool) -> Any:
    import numpy as np
    import PIL.Image

    is_tensor = hasattr(data, "permute")
    pixels = np.asarray(on_host(data))
    if is_tensor and pixels.ndim == 3:
        pixels = pixels.transpose(1, 2, 0)
    pixels = pixels.squeeze() if pixels.ndim > 2 else pixels
    channels = pixels.shape[-1] if pixels.ndim == 3 else 1
    if pixels.ndim not in (2, 3) or channels not in (1, 3, 4):
        raise UsageError(f"an image can't have the shape {pixels.shape}", hint="give height, width and 1, 3 or 4")
    if normalize and pixels.dtype.kind == "f" and pixels.size and pixels.min() >= 0 and pixels.max() <= 1:
        pixels = pixels * 255
    with np.errstate(invalid="ignore"):
        pixels = pixels.astype(np.uint8)
    return PIL.Image.fromarray(pixels).convert(mode or {1: "L", 3: "RGB", 4: "RGBA"}[channels])


class Medium:
    """A medium that is a file."""

    kind: ClassVar[str]
    type_name: ClassVar[str]

    def __init__(self, data: bytes, suffix: str, caption: str | None = None) -> None:
        self._data, self._suffix, self.caption = data, suffix, caption

    def file(self) -> MediaFile:
        """The file."""
        about = {"_type": self.type_name, "size": len(self._data)}
        return MediaFile(
            self.kind, self._data, self._suffix, {**about, **({"caption": self.caption} if self.caption else {})}
        )


def _read(data: Any, what: str) -> tuple[bytes, str]:
    """The content and suffix of a path or an open file.

    Raises:
        UnsupportedError: it is something else.
        OSError: it can't be read.
    """
    if isinstance(data, str | os.PathLike):
        path = Path(data)
        return path.read_bytes(), path.suffix
    if hasattr(data, "read"):
        content = data.read()
        return content if isinstance(content, bytes) else content.encode(), ""
    raise UnsupportedError(f"mltrack.wandb's {what} takes no {type(data).__name__}", hint="write a file, give its path")


class Html(Medium):
    """A page: text, a path that ends in .html, or an open file. It is stored as it is."""

    kind = "html"
    type_name = "html-file"

    def __init__(self, data: Any, inject: bool = True, data_is_not_path: bool = False) -> None:
        """Take a page; ``inject`` has no effect: no style sheet of wandb's is added."""
        if isinstance(data, str) and (data_is_not_path or not (data.endswith(".html") and Path(data).is_file())):
            content = data.encode()
        else:
            content, _ = _read(data, "Html")
        super().__init__(content, ".html")


class Video(Medium):
    """A video: a file (.gif, .mp4, .webm or .ogg), or frames, which become a GIF."""

    kind = "videos"
    type_name = "video-file"

    def __init__(
        self, data_or_path: Any, caption: str | None = None, fps: int | None = None, format: str | None = None
    ) -> None:
        """Take a file by its path, or open, with its ``format``; or frames: (time, channels, height, width).

        Args:
            data_or_path: the file, or frames of bytes or of numbers from 0 to 1; with a first dimension more, several
                videos next to each other.
            caption: kept in wandb-summary.json.
            fps: frames a second, by default 4; that of a file is in it.
            format: the suffix of an open file; of frames only gif.

        Raises:
            UnsupportedError: frames are to be encoded as something else.
            UsageError: they have another shape.
            MissingPackageError: they are frames, and Pillow is not installed.
        """
        if hasattr(data_or_path, "__array__") or hasattr(data_or_path, "numpy"):
            if format not in (None, "gif"):
                raise UnsupportedError(
                    f"mltrack.wandb's Video writes no {format} of frames", hint="take format='gif', or write a file"
                )
            content, suffix = _gif(data_or_path, fps or 4), ".gif"
        else:
            content, suffix = _read(data_or_path, "Video")
        super().__init__(content, suffix or f".{format or 'gif'}", caption)


def _gif(frames: Any, fps: int) -> bytes:
    import numpy as np

    need("PIL", "wandb.Video")
    import PIL.Image

    found = np.asarray(on_host(frames))
    if found.ndim == 5:  # videos next to each other
        found = np.concatenate(list(found), axis=-1)
    if found.ndim != 4 or not len(found) or found.shape[1] not in (1, 3, 4):
        raise UsageError(
            f"frames of the shape {found.shape}", hint="give (time, channels, height, width), with 1, 3 or 4 channels"
        )
    if found.dtype != np.uint8:
        found = (found * (255 if found.max() <= 1 else 1)).clip(0, 255).astype(np.uint8)
    first, *others = (
        PIL.Image.fromarray(frame[0] if len(frame) == 1 else np.moveaxis(frame, 0, -1)).convert("RGB")
        for frame in found
    )
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=others, duration=round(1000 / fps), loop=0)
    return buffer.getvalue()


class Audio(Medium):
    """A sound: a file's path, or samples, which become a WAV file of 16 bits."""

    kind = "audio"
    type_name = "audio-file"

    def __init__(self, data_or_path: Any, sample_rate: int | None = None, caption: str | None = None) -> None:
        """Take a file, or samples from -1 to 1: (n) or (n, channels), with their rate in Hz.

        Raises:
            UsageError: samples come without a rate.
        """
        if isinstance(data_or_path, str | os.PathLike):
            content, suffix = _read(data_or_path, "Audio")
        elif sample_rate is None:
            raise UsageError("samples have no sample_rate", hint="wandb.Audio(samples, sample_rate=44100)")
        else:
            content, suffix = _wave(data_or_path, sample_rate), ".wav"
        super().__init__(content, suffix, caption)


def _wave(samples: Any, rate: int) -> bytes:
    import numpy as np

    array = np.asarray(on_host(samples))
    if array.dtype.kind == "f":
        array = np.round(np.clip(array, -1, 1) * 32767)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(array.shape[1] if array.ndim == 2 else 1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(array.astype("<i2").tobytes())
    return buffer.getvalue()


class Object3D(Medium):
    """A scene's file (.obj, .gltf, .glb, .babylon, .stl, .pts.json), or a cloud of points (n, 3, 4 or 6)."""

    kind = "object3D"
    type_name = "object3D-file"

    def __init__(self, data_or_path: Any, caption: str | None = None, **_: Any) -> None:
        """Take a file, a cloud of points, or a dict of a scene."""
        if hasattr(data_or_path, "tolist"):
            content, suffix = json.dumps(on_host(data_or_path).tolist()).encode(), ".pts.json"
        elif isinstance(data_or_path, dict):
            content, suffix = json.dumps(data_or_path, default=_listed).encode(), ".pts.json"
        else:
            content, suffix = _read(data_or_path, "Object3D")
            if str(data_or_path).endswith(".pts.json"):
                suffix = ".pts.json"
        super().__init__(content, suffix, caption)


def _listed(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)


class Molecule(Medium):
    """A molecule's file: .pdb, .mol, .sdf and others."""

    kind = "molecule"
    type_name = "molecule-file"

    def __init__(self, data_or_path: Any, caption: str | None = None, **options: Any) -> None:
        """Take a file by its path, or open, with ``file_type``."""
        content, suffix = _read(data_or_path, "Molecule")
        super().__init__(content, suffix or f".{options.get('file_type', 'pdb')}", caption)


class Plotly(Medium):
    """A Plotly figure, as its JSON."""

    kind = "plotly"
    type_name = "plotly-file"

    def __init__(self, val: Any) -> None:
        """Take a figure.

        Raises:
            UsageError: it is not one of Plotly's.
        """
        if not hasattr(val, "to_json"):
            raise UsageError(
                f"{type(val).__name__} is not a Plotly figure", hint="wandb.Image(figure) for Matplotlib's"
            )
        super().__init__(str(val.to_json()).encode(), ".plotly.json")


def figure_medium(value: Any) -> Image | Plotly | None:
    """A Matplotlib or Plotly figure that is logged as it is; None for anything else."""
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    if name.startswith("plotly.") and hasattr(value, "to_json"):
        return Plotly(value)
    if name.startswith("matplotlib.") and (hasattr(value, "savefig") or hasattr(value, "figure")):
        return Image(value if hasattr(value, "savefig") else value.figure)
    if name == "builtins.module" and value.__name__ == "matplotlib.pyplot":
        return Image(value)
    return None
