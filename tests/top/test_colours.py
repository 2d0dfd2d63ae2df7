"""Colours of runs that are shown together, and over time."""

from __future__ import annotations

from mltrack.drawing.colours import first_choice
from mltrack.top.colours import ColourBook


def test_runs_that_are_shown_together_get_different_colours() -> None:
    ids = [run_id for run_id in map("{:032x}".format, range(500)) if first_choice(run_id) == 3][:8]
    assert sorted(ColourBook().assign(ids).values()) == list(range(8))


def test_a_run_keeps_its_colour_whatever_else_is_shown() -> None:
    book = ColourBook({"a" * 32: 3})
    first = book.assign(["b" * 32, "c" * 32])
    book.assign([f"{number:032x}" for number in range(20)])
    assert book.assign(["c" * 32, "b" * 32, "a" * 32]) == {**first, "a" * 32: 3}
