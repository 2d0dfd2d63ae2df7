"""How far the events and the points of a run's writers go, by the files that were copied."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from mltrack.disk.codec import HEADER_SIZE, RECORD_SIZE, BadLine, decode_line
from mltrack.disk.segment import segment_name
from mltrack_sync.stores.point_ranges import writer_of
from mltrack_sync.stores.transfer import FileKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from mltrack_sync.stores.transfer import FileState

__all__ = ["next_event", "positions_after", "positions_of"]


def positions_of(
    written: Iterable[FileState], next_event: Callable[[FileState], int]
) -> tuple[dict[str, int], dict[str, int]]:
    """Of the files that were written the numbers after the last event and the last point, by writer."""
    logs: dict[str, FileState] = {}
    points: dict[str, int] = {}
    for state in written:
        writer = writer_of(state.path)
        if state.kind is FileKind.POINTS:
            after = state.first_seq + (state.size - HEADER_SIZE) // RECORD_SIZE
            points[writer] = max(points.get(writer, 0), after)
        elif state.path.startswith("segments/"):
            name = segment_name(state.path.partition("/")[2])
            points[writer] = max(points.get(writer, 0), name.last + 1 if name is not None else 0)
        elif state.path.startswith("events/"):
            logs[writer] = state
    return {writer: next_event(state) for writer, state in logs.items()}, points


def positions_after(folder: Path, written: Iterable[FileState]) -> tuple[dict[str, int], dict[str, int]]:
    """The same, of files in a run's folder."""
    return positions_of(written, lambda state: _events_up_to(folder / state.path, state.size))


def _events_up_to(path: Path, size: int) -> int:
    """The number after that of the last line before byte ``size``."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        start = size
        tail = b""
        while start > 0 and tail.count(b"\n") < 2:
            step = min(start, max(1 << 12, len(tail)))
            start -= step
            tail = os.pread(file.fileno(), size - start, start)
        return next_event(tail)
    return 0


def next_event(lines: bytes) -> int:
    """The number after that of the last of some lines."""
    with contextlib.suppress(BadLine):
        return int(decode_line(lines.rstrip(b"\n").rpartition(b"\n")[2]).get("seq", -1)) + 1
    return 0
