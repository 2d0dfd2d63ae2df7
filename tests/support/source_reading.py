"""What a source's runs give, in Python's own types."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack.importers.batches import columns_of

if TYPE_CHECKING:
    from mltrack.importers.source import SourceRun

__all__ = ["Points", "contents", "points_of"]

Points = dict[str, list[tuple[int, int, float]]]


def points_of(run: SourceRun) -> Points:
    """Step, time in ns and value by metric, in the order in which they are given."""
    found: Points = {}
    for batch in run.points():
        columns = columns_of(batch)
        for code, step, time, value in zip(
            columns.codes.tolist(), columns.steps.tolist(), columns.times.tolist(), columns.values.tolist(), strict=True
        ):
            found.setdefault(columns.keys[code], []).append((step, time, value))
    return found


def contents(run: SourceRun) -> dict[str, bytes]:
    """Its files by name."""
    found = {}
    for file in run.files():
        with file.open() as stream:
            found[file.path] = stream.read()
    return found
