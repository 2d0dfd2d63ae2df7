"""Sealing the journals that a run's dead writers left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack.disk.filesystem import LOCAL, FileSystem
from mltrack.disk.liveness import own_lock
from mltrack.journal.seal import seal_writer

if TYPE_CHECKING:
    from mltrack.disk.layout import RunFolder
    from mltrack.storage.runs.state import RunState

__all__ = ["seal_dead_writers"]


def seal_dead_writers(folder: RunFolder, state: RunState, *, fs: FileSystem = LOCAL) -> int:
    """Seal the journals of every dead writer of a run. Returns the number of points sealed.

    Raises:
        OSError: as seal_writer.
    """
    rows = 0
    for writer in state.writers.values():
        if writer.alive:
            continue
        with own_lock(folder.events / f"{writer.writer}.jsonl") as mine:
            if mine:
                rows += seal_writer(folder, writer.writer, writer.keys, fs=fs, named_only=not writer.damaged)
    return rows
