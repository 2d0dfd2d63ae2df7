"""Which runs to read: new folders, runs marked by recorders, open runs, and runs whose files were moved."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from mltrack.catalog.run_rows import FolderTimes, folder_times
from mltrack.disk.layout import is_run_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mltrack.catalog.run_rows import RunRows
    from mltrack.disk.layout import Layout

__all__ = ["Changes", "find_changes", "remove_marks"]

MARK_LIFE_NS = 86_400_000_000_000
"""A mark that is a day old and whose writer is not alive is removed: its recorder died before it wrote anything."""


class Changes(NamedTuple):
    """Runs that no longer exist, runs to read, and the marks found: writers by run."""

    gone: set[str]
    to_read: set[str]
    marks: dict[str, list[str]]


def find_changes(
    layout: Layout,
    watched: Mapping[str, bool],
    *,
    times: Mapping[str, FolderTimes] | None = None,
    every: bool = False,
) -> Changes:
    """Compare the store with the run folders read before.

    Args:
        layout: The store.
        watched: The run folders read before, each with whether a writer was alive.
        times: Times of these folders, compared too if given: this finds runs changed by a copying tool.
        every: Read all runs.
    """
    marks = _marks(layout)  # before the folders: a mark is made after the run's folder
    names = set(_names(str(layout.runs)))
    to_read = {name for name in names - watched.keys() if is_run_id(name)}
    held = names & watched.keys()
    if every:
        to_read |= held
    else:
        to_read |= marks.keys() & held
        to_read |= {name for name in held if watched[name]}
        if times is not None:
            runs = str(layout.runs)
            to_read |= {name for name in held - to_read if folder_times(f"{runs}/{name}") != times[name]}
    return Changes(watched.keys() - names, to_read, marks)


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
    """Remove the marks of writers that were read to their end; call it only once that is committed.

    Args:
        layout: The store.
        marks: The marks found: writers by run.
        seen: The rows that were read and stored.
        now_ns: The time now, in ns since the epoch.
    """
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
