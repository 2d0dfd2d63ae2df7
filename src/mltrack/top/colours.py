"""Which runs have which colours: a run keeps its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack.drawing.colours import DARK, first_choice

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["ColourBook"]


class ColourBook:
    """Which run has which colour, by number in the palettes: a run keeps the one that it got first.

    Runs that are shown together get different ones as long as there are enough; a run's id decides where the search
    begins, so that the same run has the same colour in most sessions.
    """

    def __init__(self, known: Mapping[str, int] | None = None) -> None:
        """``known`` are colours of an earlier session."""
        self._of = {run_id: number % len(DARK) for run_id, number in (known or {}).items()}

    def of(self, run_id: str) -> int:
        """The number of a run's colour."""
        return self._of.get(run_id, first_choice(run_id))

    def assign(self, shown: Iterable[str]) -> dict[str, int]:
        """The colours of runs that are shown together; those without one get one that is rare among them."""
        ids = list(dict.fromkeys(shown))
        used = [0] * len(DARK)
        for run_id in ids:
            if run_id in self._of:
                used[self._of[run_id]] += 1
        for run_id in ids:
            if run_id not in self._of:
                first = first_choice(run_id)
                order = [(first + step) % len(DARK) for step in range(len(DARK))]
                self._of[run_id] = number = min(order, key=lambda number: used[number])
                used[number] += 1
        return {run_id: self._of[run_id] for run_id in ids}
