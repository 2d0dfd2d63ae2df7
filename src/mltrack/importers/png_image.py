"""An image of a source that is a PNG already: its bytes are kept as they are."""

from __future__ import annotations

from mltrack.values.rich import Image

__all__ = ["PNG", "PngImage"]

PNG = b"\x89PNG\r\n\x1a\n"
"""What such a file begins with."""


class PngImage(Image):
    """The image in the bytes of a PNG file."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        """``data`` is not checked further than by what it begins with."""
        super().__init__(None)
        self._data = data

    def encode(self, name: str) -> bytes:
        """Its bytes, whatever the suffix of the name."""
        return self._data
