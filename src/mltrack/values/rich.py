"""Values that are more than a number: histograms, images, tables and texts, and their form in journal lines."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from mltrack.disk.filesystem import read_small
from mltrack.errors import UsageError
from mltrack.extras import is_installed, need
from mltrack.process.headroom import need_numpy
from mltrack.process.trouble import TROUBLE
from mltrack.text.shown import shown
from mltrack.values.arguments import path_argument
from mltrack.values.arrays import counted, numbers, on_host, packed, spread, unpacked
from mltrack.values.media import image_bytes
from mltrack.values.plain_tables import PlainTable, table_of_rows
from mltrack.values.tables import as_frame, as_split

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt
    import pandas as pd
    from PIL.Image import Image as PillowImage

__all__ = ["RICH", "Histogram", "Image", "RichValue", "Table", "Text", "decode_value", "encode_value"]

BINS_MAX = 65_536


class Histogram:
    """How often values fell between edges.

    ``counts`` has n entries, ``edges`` n+1 in rising order; ``left_out`` counts values that were not finite.
    """

    __slots__ = ("_uniform", "counts", "edges", "left_out", "numpy_error")

    kind: ClassVar[str] = "histogram"

    counts: npt.NDArray[Any]
    edges: npt.NDArray[np.float64]
    left_out: int
    numpy_error: Exception | None
    """Why nothing could be counted (no NumPy, no memory): reported when it is logged, as it must not end a training."""

    def __init__(self, values: Any, bins: int = 64) -> None:
        """Count values (an array of any shape, a sequence, a torch tensor) in bins of equal width.

        The bins go from the least to the greatest value. NaN and infinities are counted in ``left_out``.

        Raises:
            UsageError: they are not numbers, or the number of bins is not valid.
        """
        if isinstance(bins, bool) or not isinstance(bins, int) or not 1 <= bins <= BINS_MAX:
            raise UsageError(f"{bins!r} is not a number of bins", hint=f"give an int from 1 to {BINS_MAX:,}")
        self.numpy_error = None
        try:
            self._count(values, bins)
        except TROUBLE as error:
            self.numpy_error = error

    def _count(self, values: Any, bins: int) -> None:
        array = numbers(values)
        import numpy as np

        finite = array[np.isfinite(array)] if array.dtype.kind == "f" else array
        self.left_out = array.size - finite.size
        self.counts, low, high = counted(finite, bins)
        self._uniform = True
        self.edges = spread(low, high, len(self.counts))

    @classmethod
    def from_counts(cls, counts: Any, edges: Any) -> Histogram:
        """A histogram that was counted elsewhere: n counts, n+1 rising edges.

        Raises:
            UsageError: they are not.
        """
        import numpy as np

        found, limits = numbers(counts), numbers(edges).astype(np.float64)
        if not 1 <= len(found) <= BINS_MAX or len(limits) != len(found) + 1:
            raise UsageError(f"{len(found)} counts and {len(limits)} edges", hint="give n counts and n + 1 edges")
        if not (np.isfinite(limits).all() and (np.diff(limits) > 0).all()):
            raise UsageError("the edges of a histogram must rise", hint="give finite numbers in rising order")
        if not (np.isfinite(found).all() and (found >= 0).all()):
            raise UsageError("the counts of a histogram must be 0 or more", hint="give finite counts")
        made = cls.__new__(cls)
        made.counts, made.edges, made.left_out, made._uniform = found, limits, 0, False
        return made

    def __eq__(self, other: object) -> bool:
        import numpy as np

        return (
            isinstance(other, Histogram)
            and np.array_equal(self.counts, other.counts)
            and np.array_equal(self.edges, other.edges)
            and self.left_out == other.left_out
        )

    __hash__ = None  # type: ignore[assignment]  # arrays change

    def __repr__(self) -> str:
        if getattr(self, "numpy_error", None) is not None:
            return f"Histogram(not counted: {self.numpy_error})"
        total, low, high = self.counts.sum(), self.edges[0], self.edges[-1]
        return f"Histogram({total:g} in {len(self.counts)} bins, {low:g} to {high:g})"

    def fields(self) -> dict[str, Any]:
        """Its fields in a line: the limits if all bins have one width, else all edges; the counts packed."""
        if self._uniform:
            said: dict[str, Any] = {"low": float(self.edges[0]), "high": float(self.edges[-1])}
        else:
            said = {"edges": packed(self.edges)}
        said["counts"] = packed(self.counts)
        if self.left_out:
            said["left_out"] = self.left_out
        return said

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> Histogram:
        """The histogram in a line.

        Raises:
            ValueError: it has none.
        """
        made = cls.__new__(cls)
        made.counts = unpacked(fields["counts"])
        made._uniform = "edges" not in fields
        if made._uniform:
            made.edges = spread(float(fields["low"]), float(fields["high"]), len(made.counts))
        else:
            made.edges = unpacked(fields["edges"])
        if not len(made.counts) or len(made.edges) != len(made.counts) + 1:
            raise ValueError(f"{len(made.counts)} counts and {len(made.edges)} edges")
        made.left_out = int(fields.get("left_out", 0))
        return made


@dataclass(frozen=True, slots=True)
class Text:
    """A text to log at a step, such as what a model wrote: ``run.log({"sample": mltrack.Text("...")})``."""

    text: str
    kind: ClassVar[str] = "text"

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise UsageError(f"{type(self.text).__name__} is not text", hint="give a str")

    def fields(self) -> dict[str, Any]:
        """What a line says of it."""
        return {"text": self.text}

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> Text:
        """The text in a line."""
        return cls(str(fields["text"]))


class Table:
    """A copy of a table: ``columns``, and ``rows`` of values in JSON's types."""

    __slots__ = ("columns", "rows")

    kind: ClassVar[str] = "table"

    def __init__(
        self, data: pd.DataFrame | Mapping[str, Any] | Sequence[Any], columns: Sequence[str] | None = None
    ) -> None:
        """From a data frame, a dict of columns, or rows: a list of dicts, or of lists with ``columns`` for their names.

        Raises:
            UsageError: it is none of these, or rows and columns differ in length.
        """
        if columns is not None or (isinstance(data, list) and data and all(isinstance(row, dict) for row in data)):
            split = as_split(_from_rows(data, columns))
        else:
            split = as_split(as_frame(data, "table.json"))
        self.columns: Sequence[Any] = split["columns"]
        self.rows: Sequence[Sequence[Any]] = split["data"]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Table) and (self.columns, self.rows) == (other.columns, other.rows)

    __hash__ = None  # type: ignore[assignment]  # rows are lists

    def __repr__(self) -> str:
        return f"Table({len(self.rows)} rows of {', '.join(map(str, self.columns))})"

    def to_pandas(self) -> pd.DataFrame:
        """The table as a data frame; dates are text, as in JSON."""
        need("pandas", "Table.to_pandas")
        import pandas as pd

        return pd.DataFrame(self.rows, columns=list(self.columns))

    def fields(self) -> dict[str, Any]:
        """What a line says of it."""
        return {"columns": self.columns, "data": self.rows}

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> Table:
        """The table in a line."""
        made = cls.__new__(cls)
        made.columns, made.rows = fields["columns"], fields["data"]
        return made


class Image:
    """An image: pixels to log, or a stored file to view; with the methods of ``mlflow.Image``."""

    __slots__ = ("_image", "path")

    kind: ClassVar[str] = "image"

    def __init__(self, image: Any) -> None:
        """From a PIL image, a file's path, or an array of (height, width) or (height, width, 1, 3 or 4 channels)."""
        self.path: Path | None = None
        self._image = on_host(image)
        if isinstance(image, str | os.PathLike):
            need("PIL", "an image in a file")
            import PIL.Image

            self._image = PIL.Image.open(image)

    @classmethod
    def stored(cls, path: Path) -> Image:
        """An image in a file, read when first needed."""
        made = cls.__new__(cls)
        made._image, made.path = None, path
        return made

    def __repr__(self) -> str:
        return f"Image({str(self.path)!r})" if self.path is not None else f"Image({type(self._image).__name__})"

    def encode(self, name: str) -> bytes:
        """Its bytes in the format of the name's suffix.

        Raises:
            UsageError: it is not an image.
        """
        return image_bytes(self._image, name) if self.path is None else read_small(self.path, 1 << 30)

    def to_pil(self) -> PillowImage:
        """The image as a PIL image.

        Raises:
            UsageError: it is not an image.
            OSError: its file can't be read.
        """
        import io

        need("PIL", "Image.to_pil")
        import PIL.Image

        return PIL.Image.open(io.BytesIO(self.encode("image.png")))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        width, height = self.to_pil().size
        return width, height

    def resize(self, size: tuple[int, int]) -> Image:
        """The same image in another size: (width, height) in pixels.

        Raises:
            UsageError: the size is something else; or as to_pil.
        """
        if not isinstance(size, tuple | list) or [type(length) for length in size] != [int, int] or min(size) < 1:
            raise UsageError(f"size is {shown(size)}", hint="give (width, height) in pixels")
        return Image(self.to_pil().resize((size[0], size[1])))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file, in the format of the path's suffix.

        Raises:
            UsageError: the path is none; or as to_pil.
            ValueError: no format has that suffix.
        """
        self.to_pil().save(path_argument("path", path))

    def to_list(self) -> list[Any]:
        """Its pixels, row by row: each a number, or a tuple of its channels."""
        image = self.to_pil()
        pixels = self.to_array().reshape(image.size[0] * image.size[1], -1).tolist()
        return [pixel[0] if len(pixel) == 1 else tuple(pixel) for pixel in pixels]

    def to_array(self) -> npt.NDArray[np.uint8]:
        """Its pixels, 0 to 255: (height, width), or (height, width, channels).

        Raises:
            UsageError, OSError: as to_pil.
        """
        import numpy as np

        return np.asarray(self.to_pil())


RichValue = Histogram | Image | Table | Text

RICH = (Histogram, Image, Table, Text)

_IN_LINES: dict[str, type[Histogram | Table | Text]] = {"histogram": Histogram, "table": Table, "text": Text}


def encode_value(value: Histogram | Table | Text) -> dict[str, Any]:
    """The fields of its line, ``type`` included.

    Raises:
        ImportError, MemoryError, OSError, RuntimeError: it could not be made, as the machine had run out of something.
    """
    numpy_error: Exception | None = getattr(value, "numpy_error", None)
    if numpy_error is not None:
        raise numpy_error
    return {"type": value.kind, **value.fields()}


def decode_value(fields: Mapping[str, Any]) -> Histogram | Table | Text:
    """The value in a line.

    Raises:
        KeyError, TypeError, ValueError: the line has none that is known here.
    """
    return _IN_LINES[fields["type"]].read(fields)


def _from_rows(rows: Any, columns: Sequence[str] | None) -> pd.DataFrame | PlainTable:
    if not is_installed("pandas"):
        return table_of_rows(rows, columns)
    need_numpy()
    import pandas as pd

    if not isinstance(rows, list | tuple) and getattr(rows, "ndim", 0) != 2:
        raise UsageError(f"{type(rows).__name__} does not hold rows", hint="columns are given with a list of rows")
    try:
        return pd.DataFrame(rows, columns=None if columns is None else list(columns))
    except (ValueError, TypeError) as error:
        raise UsageError(f"a table: {error}", hint="give rows as long as there are columns") from None
