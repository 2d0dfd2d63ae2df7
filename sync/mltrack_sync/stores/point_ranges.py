"""Which points of a writer are in its segments, by the segments' names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack.disk.codec import HEADER_SIZE, RECORD_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mltrack.disk.segment import SegmentName
    from mltrack_sync.stores.transfer import FileState

__all__ = ["covers", "has_points", "writer_of"]


def writer_of(path: str) -> str:
    """The writer of a file of a run, by its path below the run: "points/<writer>.0.points"."""
    return path.partition("/")[2].partition(".")[0]


def covers(segments: Iterable[SegmentName], writer: str, first: int, last: int) -> bool:
    """Whether segments together have all points of a writer from ``first`` to ``last``."""
    for name in sorted(name for name in segments if name.writer == writer):
        if name.first > first:
            return False
        first = max(first, name.last + 1)
        if first > last:
            return True
    return first > last


def has_points(segments: Iterable[SegmentName], state: FileState) -> bool:
    """Whether segments together have all points of a journal."""
    last = state.first_seq + (state.size - HEADER_SIZE) // RECORD_SIZE - 1
    return covers(segments, writer_of(state.path), state.first_seq, last)
