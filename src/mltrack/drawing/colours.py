"""Colours of runs: told apart by people with any colour vision, and the same for a run in each report."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["DARK", "DASHES", "LIGHT", "MIDDLE", "colour_styles", "first_choice", "look_of", "looks_of"]

LIGHT = ("#22599c", "#d25700", "#147d62", "#3f2069", "#8a773a", "#1423b5", "#b71812", "#57374e")
"""On a light background, and dark enough for lines: any two differ to people with any colour vision (see the tests)."""
DARK = ("#63b7fb", "#e08707", "#22d999", "#c856a4", "#f0e442", "#8c7dea", "#f0603a", "#e0e0e0")
"""The same on a dark background."""
MIDDLE = ("#2b8fcf", "#d9661f", "#139f78", "#c4619a", "#a08a1c", "#7c63c4", "#4fa9de", "#808080")
"""Where the background is not known, as in a notebook: Okabe and Ito's hues, which dashes tell apart as well."""
DASHES = ((), (7, 3), (2, 3), (9, 3, 2, 3), (14, 4), (5, 2, 2, 2, 2, 2), (1, 2))
"""Lengths of lines and gaps, in pixels: where a colour is used again, the next of these tells both apart."""

SLOTS = len(LIGHT) * len(DASHES)


def looks_of(run_ids: Iterable[str]) -> dict[str, int]:
    """A look for each run, a number from 0: colour ``look % 8``, dashes ``look // 8``.

    It follows from the id, so a run has it in each report, unless another run of the report has the same; up to eight
    runs have eight colours without dashes.
    """
    ids = sorted(set(run_ids))
    taken: set[int] = set()
    found = {}
    for place, run_id in enumerate(ids):
        row = place // len(LIGHT) % len(DASHES) * len(LIGHT)
        wish = first_choice(run_id)
        free = [row + (wish + more) % len(LIGHT) for more in range(len(LIGHT))]
        found[run_id] = next((slot for slot in free if slot not in taken), free[0])
        taken.add(found[run_id])
        if len(taken) == SLOTS:
            taken.clear()
    return found


def first_choice(run_id: str) -> int:
    """The number of the colour that a run gets unless another run has it."""
    return zlib.crc32(run_id.encode("utf-8", "surrogatepass")) % len(LIGHT)


def look_of(look: int, colours: tuple[str, ...] = MIDDLE) -> tuple[str, tuple[int, ...]]:
    """The colour and the dashes of a look."""
    return colours[look % len(colours)], DASHES[look // len(LIGHT) % len(DASHES)]


def colour_styles() -> str:
    """Style rules: lines of the classes c0 to c7 have the colours, light or dark as the page is."""
    rules = [
        "".join(f".c{at} {{ stroke: {colour}; }}\n" for at, colour in enumerate(colours)) for colours in (LIGHT, DARK)
    ]
    return f"{rules[0]}@media (prefers-color-scheme: dark) {{\n{rules[1]}}}\n"
