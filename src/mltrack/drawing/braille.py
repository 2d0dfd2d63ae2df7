"""Curves as Braille characters of two by four dots, several over each other, each character in one's colour."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from mltrack.drawing.columns import Columns

    Floats = npt.NDArray[np.float64]
    Rows = npt.NDArray[np.int64]

__all__ = ["BLANK", "Canvas"]

DOTS_WIDE, DOTS_TALL = 2, 4
"""The dots of one character."""

BLANK = -1
"""The owner of a character without dots."""

_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])  # by row and column in a character


class Canvas:
    """A field of characters that curves are drawn on; what is drawn later is on top."""

    def __init__(self, width: int, height: int) -> None:
        """Start empty.

        Args:
            width: characters in a row.
            height: rows.
        """
        self.width = width
        self.height = height
        self._codes = np.zeros((height, width), np.int64)
        self._owners = np.full((height, width), BLANK, np.int16)

    @property
    def columns(self) -> int:
        """How many columns of dots there are."""
        return self.width * DOTS_WIDE

    def draw(self, curve: Columns, low: float, high: float, owner: int) -> None:
        """Draw a curve: in each column a line from its least to its greatest value, joined to the next one.

        Args:
            curve: as many columns as the canvas has.
            low: the value at the bottom.
            high: the value at the top.
            owner: the number that its characters get.
        """
        if not len(curve):
            return
        tall = self.height * DOTS_TALL
        at, tops, bottoms = _joined(curve, lambda values: _rows_of(values, low, high, tall))
        level = np.arange(tall)[:, None]
        dots = np.zeros((tall, self.columns), bool)
        dots[:, at] = (level >= tops) & (level <= bottoms)
        cells = dots.reshape(self.height, DOTS_TALL, self.width, DOTS_WIDE).transpose(0, 2, 1, 3)
        codes = (cells * _DOTS).sum(axis=(2, 3))
        drawn = codes > 0
        self._codes[drawn] |= codes[drawn]
        self._owners[drawn] = owner

    def rows(self) -> list[list[tuple[str, int]]]:
        """The rows, each as pieces of text with their owner; blanks are spaces."""
        found = []
        for codes, owners in zip(self._codes.tolist(), self._owners.tolist(), strict=True):
            pieces: list[tuple[str, int]] = []
            begin = 0
            text = "".join(chr(0x2800 + code) if code else " " for code in codes)
            for end in range(1, self.width + 1):
                if end == self.width or owners[end] != owners[begin]:
                    pieces.append((text[begin:end], owners[begin]))
                    begin = end
            found.append(pieces)
        return found


def _rows_of(values: Floats, low: float, high: float, tall: int) -> Rows:
    """The rows of dots for values, from the top; those out of range are outside."""
    spread = high / 4 - low / 4  # their difference may be infinite
    if not spread > 0:
        return np.full(len(values), tall // 2)
    share = np.clip((high / 4 - values / 4) / spread, -1, 2)
    return np.rint(share * (tall - 1)).astype(np.int64)


def _joined(curve: Columns, rows_of: Callable[[Floats], Rows]) -> tuple[Rows, Rows, Rows]:
    """Columns without gaps, and the first and last row of each, such that each touches the one before it."""
    tops, bottoms, firsts, lasts = map(rows_of, (curve.high, curve.low, curve.first, curve.last))
    at = np.arange(curve.at[0], curve.at[-1] + 1)
    held = np.searchsorted(curve.at, at, "right") - 1  # the column itself, or the one before a gap
    following = np.minimum(held + 1, len(curve) - 1)
    gap = curve.at[held] != at
    share = (at - curve.at[held]) / np.maximum(curve.at[following] - curve.at[held], 1)
    between = np.rint(lasts[held] + share * (firsts[following] - lasts[held])).astype(np.int64)
    tops, bottoms, firsts, lasts = (np.where(gap, between, each[held]) for each in (tops, bottoms, firsts, lasts))
    before, here = lasts[:-1], firsts[1:]
    tops[1:] = np.where(here > before + 1, np.minimum(tops[1:], before + 1), tops[1:])
    bottoms[1:] = np.where(here < before - 1, np.maximum(bottoms[1:], before - 1), bottoms[1:])
    return at, tops, bottoms
