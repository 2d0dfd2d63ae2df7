"""Which runs to look at: what is new among the run folders, the marks of recorders, the open runs, the moved files."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from mltrack.query.snapshot import FolderTimes, folder_times
from mltrack.store.layout import is_run_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mltrack.query.snapshot import RunRows
    from mltrack.store.layout import Layout

__all__ = ["Changes", "find_changes", "remove_marks"]

MARK_LIFE_NS = 86_400_000_000_000
"""A mark that is a day old and belongs to nobody alive is removed: its recorder died before it wrote anything."""


class Changes(NamedTuple):
    """Runs that are gone, runs to look at, and the marks there were: writers by run."""

    gone: set[str]
    look: set[str]
    marks: dict[str, list[str]]


def find_changes(
    layout: Layout, known: Mapping[str, tuple[FolderTimes, bool]], *, sweep: bool, every: bool = False
) -> Changes:
    """Compare the store with the folders ``known`` (their times, and whether they are watched).

    ``sweep`` looks at the times of all run folders, which finds runs changed by a copying tool; ``every`` wants all.
    """
    marks = _marks(layout)  # before the folders: a mark is made in a folder that is there already
    names = {name for name in _names(str(layout.runs)) if is_run_id(name)}
    look = names - known.keys()
    look |= marks.keys() & names
    look |= {name for name, (_, watched) in known.items() if watched} & names
    if every:
        look = names
    elif sweep:
        runs = str(layout.runs)
        look |= {name for name in names - look if folder_times(f"{runs}/{name}") != known[name][0]}
    return Changes(known.keys() - names, look, marks)


def _names(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except FileNotFoundError:
        return []


def _marks(layout: Layout) -> dict[str, list[str]]:
    marks: dict[str, list[str]] = {}
    for name in _names(str(layout.changed)):
        run_id, _, writer = name.partition(".")
        if is_run_id(run_id) and writer:
            marks.setdefault(run_id, []).append(writer)
    return marks


def remove_marks(layout: Layout, marks: Mapping[str, list[str]], seen: Iterable[RunRows], now_ns: int) -> None:
    """Remove the marks of writers that are taken in to their very end; call it only once that is on the disk."""
    rows = {row.run_id: row for row in seen}
    for run_id, writers in marks.items():
        row = rows.get(run_id)
        for writer in writers:
            path = layout.changed / f"{run_id}.{writer}"
            with suppress(OSError):
                if (row is not None and writer in row.settled) or _is_stray(path, writer, row, now_ns):
                    os.unlink(path)


def _is_stray(path: os.PathLike[str], writer: str, row: RunRows | None, now_ns: int) -> bool:
    if row is not None and writer in row.writers:
        return False
    return now_ns - os.stat(path).st_mtime_ns > MARK_LIFE_NS
