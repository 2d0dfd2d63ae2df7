"""Journals that were sealed here although their writer goes on elsewhere, written again so that they can be continued.

That can be: a store on a shared file system without locks between machines, or a marker that was removed by hand, lets
a writer look dead. A copy from another store brings such a journal again from its first byte. A bundle holds only what
is new, so what it continues is made again of the segments, which have the same points.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack.disk.codec import HEADER_SIZE, RECORD_SIZE, encode_header, encode_records
from mltrack.disk.filesystem import LOCAL, FileSystem
from mltrack.disk.liveness import own_lock
from mltrack.journal.reader import read_points, segments_of
from mltrack_sync.stores.point_ranges import covers, writer_of

if TYPE_CHECKING:
    from mltrack.errors import CorruptionError
    from mltrack.store import Store
    from mltrack_sync.stores.transfer import FileState

__all__ = ["can_restore", "restore_journal"]

_UNNAMED = 0xFFFFFFFF


def can_restore(store: Store, run_id: str, state: FileState, start: int) -> bool:
    """Whether segments have all points of a journal up to byte ``start``, and there is no such file."""
    folder = store.layout.run(run_id)
    if (folder.path / state.path).exists() or start <= HEADER_SIZE:
        return False
    writer = writer_of(state.path)
    last = state.first_seq + (start - HEADER_SIZE) // RECORD_SIZE - 1
    return covers([name for name, _ in segments_of(folder, writer)], writer, state.first_seq, last)


def restore_journal(store: Store, run_id: str, state: FileState, start: int, *, fs: FileSystem = LOCAL) -> None:
    """Write a journal again up to byte ``start``; its segments stay, as between the two steps of sealing.

    Nothing is written where a process records or seals at this moment, a segment is damaged, or a point has no name.

    Args:
        store: The store.
        run_id: The run.
        state: The journal, as the snapshot has it.
        start: As for can_restore.
        fs: The file system to write with.

    Raises:
        OSError: it can't be written.
    """
    import numpy as np

    folder, writer = store.layout.run(run_id), writer_of(state.path)
    known = store.run(run_id).state.writers.get(writer)
    if known is None:
        return
    numbers = {key: number for number, key in enumerate(known.keys)}
    damage: list[CorruptionError] = []
    count = (start - HEADER_SIZE) // RECORD_SIZE
    with own_lock(folder.events / f"{writer}.jsonl") as mine:
        if not mine or (folder.path / state.path).exists():
            return
        data, at = [encode_header(writer, state.first_seq)], HEADER_SIZE
        source = read_points(folder, writer, lambda _: known.keys, first=state.first_seq, whole=True, damage=damage)
        for points in source:
            piece = points.take(slice(0, count - (at - HEADER_SIZE) // RECORD_SIZE))
            if not len(piece):
                break
            number_of = np.array([numbers.get(key, _UNNAMED) for key in piece.keys], np.uint32)
            records = encode_records(at, piece.steps, piece.times, piece.values, 0)
            records["number"] = number_of[piece.codes]
            if (records["number"] == _UNNAMED).any():
                return
            data.append(records.tobytes())
            at += len(data[-1])
        if not damage and at == HEADER_SIZE + count * RECORD_SIZE:
            fs.make_folder(folder.points)
            fs.publish_bytes(folder.path / state.path, b"".join(data))
