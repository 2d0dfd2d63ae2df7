"""Small runs of which another store has nothing yet: each with all its bytes, so that many are moved together."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from mltrack.errors import MltrackError
from mltrack.storage.runs.stand_ins import STANDS_IN
from mltrack_sync.stores.file_marks import mark_of_bytes
from mltrack_sync.stores.transfer import CompleteRun, FileKind, Need, SourceChangedError, TransferError, UnitSnapshot
from mltrack_sync.stores.unit_files import check_snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from mltrack_sync.stores.transfer import Source

__all__ = [
    "RUN_BYTES_MAX",
    "RUN_FILES_MAX",
    "check_complete",
    "file_sizes",
    "has_both",
    "is_small",
    "read_complete",
    "read_each",
    "with_checksums",
]

RUN_BYTES_MAX = 512 << 10
"""The most bytes of a run that is moved together with others."""

RUN_FILES_MAX = 200


def file_sizes(snapshot: UnitSnapshot) -> dict[str, int]:
    """The sizes of a snapshot's files; of a log that is in it several times, the last and greatest one."""
    return {state.path: state.size for state in snapshot.files}


def is_small(snapshot: UnitSnapshot, sizes: Mapping[str, int] | None = None) -> bool:
    """Whether a run is moved together with others: no process records into it, here or elsewhere, and it is small.

    ``sizes`` are those of its files, where they are known already.
    """
    if snapshot.live or len(snapshot.files) > RUN_FILES_MAX:
        return False
    sizes = sizes or file_sizes(snapshot)
    return sum(sizes.values()) <= RUN_BYTES_MAX and not any(path.startswith("live/") for path in sizes)


def has_both(run: CompleteRun) -> bool:
    """Whether a run has writers next to one that stands in for others: which of its points count is to be found out."""
    logs = [path for path in run.contents if path.startswith("events/")]
    return len(logs) > 1 and any(STANDS_IN in run.contents[path].partition(b"\n")[0] for path in logs)


def read_each(
    source: Source, units: Iterable[str], *, artifact_bytes_max: int | None = None
) -> Iterator[CompleteRun | None]:
    """Runs of any source, one after the other; see ``Source.complete_runs``."""
    for unit in units:
        found = None
        try:
            snapshot = source.snapshot(unit, artifact_bytes_max=artifact_bytes_max)
            if is_small(snapshot):
                found = read_complete(source, snapshot)
        except (MltrackError, OSError):
            pass  # whoever copies it by itself meets the same, and says so
        yield found


def read_complete(source: Source, snapshot: UnitSnapshot) -> CompleteRun:
    """Read all of a small run.

    Raises:
        SourceChangedError, TransferError, OSError: see ``Source.pieces``.
    """
    needs, ends = [], dict.fromkeys(file_sizes(snapshot), 0)
    for state in snapshot.files:
        needs.append(Need(state.path, ends[state.path]))
        ends[state.path] = state.size
    parts: dict[str, list[bytes]] = {path: [] for path in ends}
    for piece in source.pieces(snapshot, needs):
        parts[piece.path].append(piece.data)
    return CompleteRun(snapshot, {path: b"".join(found) for path, found in parts.items()})


def with_checksums(run: CompleteRun) -> CompleteRun:
    """The run with the SHA-256 of each WHOLE file in its snapshot, for a way on which bytes could change."""
    if all(state.sha256 or state.kind is not FileKind.WHOLE for state in run.snapshot.files):
        return run
    files = tuple(
        replace(state, sha256=hashlib.sha256(run.contents[state.path]).hexdigest())
        if state.kind is FileKind.WHOLE and not state.sha256
        else state
        for state in run.snapshot.files
    )
    return replace(run, snapshot=replace(run.snapshot, files=files))


def check_complete(run: CompleteRun) -> None:
    """Check a run: its contents against its snapshot, and where it comes from outside the snapshot too.

    Raises:
        TransferError: something of it can't be.
        SourceChangedError: a file's content is not what its checksum says.
    """
    snapshot, contents = run.snapshot, run.contents
    if not run.read_here:
        check_snapshot(snapshot)
    sizes = file_sizes(snapshot)
    if not snapshot.unit.startswith("runs/") or not is_small(snapshot, sizes):
        raise TransferError(f"{snapshot.unit} is not a small run", hint="the other side is broken")
    for state in snapshot.files:
        data, mark, sha256 = contents.get(state.path, b""), state.mark, state.sha256
        if mark and not run.read_here and mark_of_bytes(data[: state.size]) != mark:
            raise _changed(snapshot, state.path)
        if sha256 and hashlib.sha256(data).hexdigest() != sha256:
            raise _changed(snapshot, state.path)
    if has_both(run):
        raise TransferError(f"{snapshot.unit} has points that stand in for others: it is copied by itself")
    if {path: len(data) for path, data in contents.items()} != sizes:
        raise TransferError(f"{snapshot.unit} did not come with the files of its snapshot")


def _changed(snapshot: UnitSnapshot, path: str) -> SourceChangedError:
    return SourceChangedError(f"{path} of {snapshot.unit} did not arrive as it was measured", path=path)
