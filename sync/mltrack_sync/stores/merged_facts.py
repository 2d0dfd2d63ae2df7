"""Merging a log of facts of another store into this store's, under the lock that every change of it takes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from mltrack.disk.codec import BadLine, decode_line
from mltrack.disk.filesystem import LOCAL, FileSystem
from mltrack.disk.jsonlog import BAD_LINES_MAX
from mltrack.disk.line_types import EXPERIMENTS, MODEL, REGISTRY
from mltrack.disk.shared_log import SharedLog
from mltrack.text.counting import plural
from mltrack_sync.stores.merge_experiments import merge_experiments
from mltrack_sync.stores.merge_model import merge_model
from mltrack_sync.stores.merge_registry import merge_registry
from mltrack_sync.stores.transfer import TransferError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from mltrack.disk.fields import Records

    Line = dict[str, Any]
    Merge = Callable[[Iterable[Line], Iterable[Line]], tuple[list[Line], list[str]]]

__all__ = ["has_facts", "merge_facts"]


class _Log(NamedTuple):
    records: Records
    merge: Merge


_LOGS = {
    "experiments.jsonl": _Log(EXPERIMENTS, merge_experiments),
    "models.jsonl": _Log(REGISTRY, merge_registry),
    "model.jsonl": _Log(MODEL, merge_model),
}


def merge_facts(path: Path, data: bytes, *, fs: FileSystem = LOCAL) -> tuple[int, list[str]]:
    """Add what is new in the other store's log to ours; on return it is on the disk.

    Args:
        path: Our log, which need not exist; its folder does.
        data: The other store's, whole lines.
        fs: The file system to write with.

    Returns:
        How many lines were added, and what the user should know.

    Raises:
        TransferError: what came is not such a log.
        StoreError, BusyError, OSError: ours can't be changed.
    """
    kind = _LOGS[path.name]
    theirs, bad = _decoded(data, kind.records)
    if bad and not theirs:
        raise TransferError(f"{path.name} of the other store can't be read", hint="there: mltrack check")
    notes = [f"{plural(bad, 'damaged line')} of {path.name} of the other store skipped"] if bad else []
    log = SharedLog(path, kind.records, clock=time.time_ns, fs=fs)
    with log.changing():
        ours: list[Line] = []
        log.replay(ours.append)
        lines, said = kind.merge(ours, theirs)
        if lines and kind.records.numbered:
            first = max((line["seq"] + 1 for line in ours), default=0)
            first = max(first, len(ours) + len(log.damage))
            lines = [{"seq": first + at, **line} for at, line in enumerate(lines)]
        if lines:
            log.append(*lines)
    return len(lines), [*notes, *said]


def has_facts(name: str, held: bytes, data: bytes) -> bool:
    """Whether a log that holds ``held`` would get nothing from another store's ``data``, whole lines, by a merge."""
    kind = _LOGS[name]
    theirs, bad = _decoded(data, kind.records)
    return not bad and not kind.merge(_decoded(held, kind.records)[0], theirs)[0]


def _decoded(data: bytes, records: Records) -> tuple[list[Line], int]:
    """The good lines, and how many are not."""
    found: list[Line] = []
    bad = 0
    for line in data.split(b"\n")[:-1]:
        try:
            found.append(decode_line(line, records))
        except BadLine:
            bad += 1
            if bad > BAD_LINES_MAX:
                break
    return found, bad
