"""What a comparison found to have another content in the store of a remote is removed there, to be copied again.

Only where the copy here is sound: an artifact has the SHA-256 that was recorded, any other file passes ``check``; for
points that are not sealed yet, which have no checksums, that proves nothing, so they stay. A
kill afterwards costs nothing: the ledger still says that the unit differs, so the next push copies what is missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack.disk.artifact_files import hash_file
from mltrack.errors import MltrackError, NotFoundError
from mltrack.storage.check.check import check_store
from mltrack_sync.stores.local_source import RUNS
from mltrack_sync.stores.transfer import FileKind, TransferError
from mltrack_sync.stores.unit_files import unit_folder

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from mltrack.store import Store
    from mltrack_sync.stores.far_store import FarStore
    from mltrack_sync.stores.transfer import FileState, Source, UnitSnapshot

__all__ = ["discard_differing"]


def discard_differing(
    store: Store, source: Source, far: FarStore, differing: Mapping[str, Collection[str]], units: Collection[str]
) -> Iterator[str]:
    """Remove files of another content from the other store. Says what stays as it is, and why.

    Args:
        store: The store here.
        source: The same, as what is copied from.
        far: The other one.
        differing: By unit, its files with another content there.
        units: The units that are selected.

    Raises:
        RemoteError, StoreError, OSError: the other store can't be used any more.
    """
    for unit, files in sorted(differing.items()):
        if not files or unit not in units:
            continue
        try:
            snapshot = source.snapshot(unit)
            damaged = _damaged(store, snapshot, files)
            unsure = {state.path for state in snapshot.files if state.path in files and state.kind is FileKind.POINTS}
            for path in sorted(unsure):
                words = "its points have no checksums, so nobody knows which copy is the right one; remove the other"
                yield f"{path} of {unit} was not replaced there: {words}"
            for path in sorted(damaged - unsure):
                yield f"{path} of {unit} was not replaced there: it is damaged or missing here (see mltrack check)"
            wanted = sorted({state.path for state in snapshot.files if state.path in files} - damaged - unsure)
            if wanted:
                far.target.discard(snapshot, wanted)
        except (NotFoundError, TransferError) as error:
            yield str(error)


def _damaged(store: Store, snapshot: UnitSnapshot, files: Collection[str]) -> set[str]:
    """Those of the files that are not sound here."""
    states = {state.path: state for state in snapshot.files if state.path in files}
    folder = unit_folder(store.layout, snapshot.unit)
    recorded = {path for path, state in states.items() if state.sha256}
    damaged = {path for path in recorded if not _has_content(folder / path, states[path])}
    damaged |= set(files) - states.keys()
    others = {path for path, state in states.items() if path not in recorded and state.kind is not FileKind.FACTS}
    if others and not snapshot.unit.startswith(RUNS):
        return damaged | others
    if others:
        report = check_store(store.path, [snapshot.unit.removeprefix(RUNS)])
        errors = [finding.path for finding in report.findings if finding.severity == "error"]
        damaged |= others & {path.removeprefix(f"{snapshot.unit}/") for path in errors}
    return damaged


def _has_content(path: Path, state: FileState) -> bool:
    try:
        return hash_file(path) == (state.size, state.sha256)
    except (OSError, MltrackError):
        return False
