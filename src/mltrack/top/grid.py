"""Where charts are: in columns of equal width, in rows of equal height, as many as fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["Grid", "Rect"]

WIDTH_MIN = 44
"""Characters of a chart that has others next to it."""

HEIGHT_MIN, HEIGHT_MORE = 9, 12
"""The lines of a chart: the fewest, and how many it has where not all charts are in view."""


class Rect(NamedTuple):
    """A place in characters and lines."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Grid:
    """A grid of charts. ``columns`` is how many are wanted next to each other, 0 for as many as fit."""

    count: int
    width: int
    height: int
    columns: int = 0

    @property
    def across(self) -> int:
        """How many charts are next to each other."""
        fit = max(1, self.width // WIDTH_MIN)
        return max(1, min(self.count, self.columns or fit, fit))

    @property
    def down(self) -> int:
        """How many rows of charts there are."""
        return -(-self.count // self.across)

    @property
    def row_height(self) -> int:
        """The lines of a row: whole rows fill the height."""
        if not self.count:
            return HEIGHT_MIN
        rows_seen = max(1, min(self.down, self.height // HEIGHT_MIN))
        if rows_seen < self.down:  # not all fit: as many as are not too small
            rows_seen = max(1, self.height // HEIGHT_MORE)
        return max(HEIGHT_MIN, self.height // rows_seen)

    @property
    def lines(self) -> int:
        """The lines of all rows."""
        return self.down * self.row_height

    def rect(self, number: int) -> Rect:
        """The place of a chart."""
        row, column = divmod(number, self.across)
        start, end = (self.width * at // self.across for at in (column, column + 1))
        return Rect(start, row * self.row_height, end - start, self.row_height)

    def at(self, x: int, y: int) -> int | None:
        """The chart at a place; None between and below them."""
        if not (0 <= x < self.width and 0 <= y < self.lines):
            return None
        row = y // self.row_height
        for number in range(row * self.across, min((row + 1) * self.across, self.count)):
            rect = self.rect(number)
            if rect.x <= x < rect.x + rect.width:
                return number
        return None

    def seen(self, top: int, height: int) -> range:
        """The charts of which a part is in view, from line ``top`` on."""
        first, last = top // self.row_height, max(top + height - 1, 0) // self.row_height
        return range(min(first * self.across, self.count), min((last + 1) * self.across, self.count))
