"""Sealing: a finished writer's journals become one Parquet segment.

Order: write the segment under a temporary name, sync it, rename it, sync the folder, and only then delete the journals
it replaces. The process that seals holds the writer's lock: the writer's own at its close, or any once it is dead.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np

from mltrack.disk.filesystem import LOCAL, TEMPORARY, FileSystem
from mltrack.disk.segment import BLOCK_ROWS, PointColumns, write_segment
from mltrack.journal.points import SEAL_POINTS_MIN
from mltrack.journal.reader import open_journals, read_points, segments_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from mltrack.disk.layout import RunFolder
    from mltrack.errors import CorruptionError

__all__ = ["seal_writer"]


def seal_writer(
    folder: RunFolder,
    writer: str,
    keys: Sequence[str],
    *,
    fs: FileSystem = LOCAL,
    points_min: int = SEAL_POINTS_MIN,
    named_only: bool = False,
) -> int:
    """Seal a writer's journals; the caller holds its lock. Returns the number of points sealed.

    Damaged journals are left as they are, for `mltrack check` to report.

    Args:
        folder: The run's folder.
        writer: The writer's name.
        keys: Its metric names by number.
        fs: The file system to write with.
        points_min: With fewer points the journals stay.
        named_only: As in read_points; journals with points that have no name are left as they are, as a segment has
            every seq.

    Raises:
        OSError: the segment could not be written; the journals are untouched.
    """
    damage: list[CorruptionError] = []
    with ExitStack() as stack:
        journals = open_journals(folder, writer, stack, damage)
    if not journals or (named_only and _has_nameless(folder, writer, keys)):
        return 0
    sealed = max((name.last + 1 for name, _ in segments_of(folder, writer)), default=0)
    temporary = folder.segments / f".{writer}.{os.getpid()}.parquet{TEMPORARY}"
    source = read_points(folder, writer, lambda _: keys, first=sealed, whole=True, damage=damage)
    first, last, rows = -1, -1, 0
    held = next(source, None)
    try:
        if held is not None:
            if len(held) < points_min and sealed == 0 and len(journals) == 1 and journals[0].first_seq == 0:
                return 0
            first = int(held.seqs[0])
            if not folder.segments.is_dir():  # in a copy of a run that had none
                fs.make_folder(folder.segments)
                fs.sync_folder(folder.path)
            watch = _Last()
            rows = write_segment(temporary, watch.over(_blocks(held, source)))
            last = watch.seq
            if not damage:
                fs.publish(temporary, folder.segments / f"{writer}.{first}-{last}.parquet")
        if damage:
            return 0
    finally:
        fs.unlink(temporary)
    for journal in journals:
        fs.unlink(journal.path)
    fs.sync_folder(folder.points)
    return rows


def _has_nameless(folder: RunFolder, writer: str, keys: Sequence[str]) -> bool:
    with ExitStack() as stack:
        for journal in open_journals(folder, writer, stack, []):
            for records, _ in journal.pieces(journal.first_seq, True):
                if int(records["number"].max()) >= len(keys):
                    return True
    return False


class _Last:
    """Passes blocks through and remembers their last seq."""

    seq = -1

    def over(self, blocks: Iterable[PointColumns]) -> Iterator[PointColumns]:
        for block in blocks:
            self.seq = int(block.seqs[-1])
            yield block


def _blocks(first: PointColumns, rest: Iterable[PointColumns]) -> Iterator[PointColumns]:
    """Pieces joined into blocks of at most BLOCK_ROWS points."""
    held, rows = [first], len(first)
    for piece in rest:
        if rows + len(piece) > BLOCK_ROWS:
            yield _joined(held)
            held, rows = [], 0
        held.append(piece)
        rows += len(piece)
    yield _joined(held)


def _joined(pieces: list[PointColumns]) -> PointColumns:
    keys = max((piece.keys for piece in pieces), key=len)
    return PointColumns(
        keys,
        np.concatenate([piece.codes for piece in pieces]),
        np.concatenate([piece.seqs for piece in pieces]),
        np.concatenate([piece.steps for piece in pieces]),
        np.concatenate([piece.times for piece in pieces]),
        np.concatenate([piece.values for piece in pieces]),
    )
