"""A store compared with what its receivers have by their receipts: the files of the bundles that arrived."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from mltrack.disk.artifact_files import hash_file
from mltrack.disk.segment import segment_name
from mltrack.errors import MltrackError, NotFoundError
from mltrack_sync.remotes.ledgers import ledger_path
from mltrack_sync.report import Difference, VerifyReport
from mltrack_sync.stores.bundle_ledger import base_of
from mltrack_sync.stores.local_source import RUNS, LocalSource
from mltrack_sync.stores.run_positions import positions_after
from mltrack_sync.stores.transfer import FileKind, entries_of
from mltrack_sync.stores.unit_files import unit_folder
from mltrack_sync.stores.watched import ARTIFACTS, artifacts_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mltrack.store import Store
    from mltrack_sync.ledger.ledger import LedgerState
    from mltrack_sync.remotes.kind import Remote
    from mltrack_sync.remotes.options import VerifyOptions
    from mltrack_sync.stores.transfer import FileState, UnitSnapshot

__all__ = ["compare_with_bundles"]


def compare_with_bundles(store: Store, remote: Remote, state: LedgerState, options: VerifyOptions) -> VerifyReport:
    """Compare what is selected with the bundles that arrived.

    A receipt says that every byte of a bundle was checked and is in the receiver's store. So a file is the same where
    a bundle had it whole; in full, the files of artifacts are hashed here.

    Args:
        store: The store.
        remote: The receiver.
        state: Its ledger.
        options: What is compared, and how.

    Raises:
        BundleError, OSError: what was noted of a bundle can't be read.
        NotFoundError, FilterError: the selection is not valid.
    """
    comparison = _Comparison(store, remote, state, quick=options.quick)
    for unit in LocalSource(store).units(options.selection):
        is_run = unit.unit.startswith(RUNS)
        if options.runs_only and not is_run:
            continue
        comparison.compare(unit.unit)
        if is_run:
            options.on_run(unit.unit.removeprefix(RUNS))
    differences = tuple(comparison.differences)
    return VerifyReport(remote.name, remote.url, quick=options.quick, differences=differences, **comparison.counts)


class _Comparison:
    """One comparison."""

    def __init__(self, store: Store, remote: Remote, state: LedgerState, *, quick: bool) -> None:
        self.differences: list[Difference] = []
        self.counts: dict[str, Any] = Counter()
        self._store = store
        self._source = LocalSource(store, hashing=False)
        self._quick = quick
        arrived = state.bundles.base(assume_arrived=False)
        self._base = base_of(ledger_path(store, remote).parent, arrived)

    def compare(self, unit: str) -> None:
        """Compare one unit."""
        try:
            snapshot = self._source.snapshot(unit)
        except NotFoundError:
            return  # removed meanwhile
        found = list(self._differences(snapshot))
        self.differences += found
        area = unit.partition("/")[0]
        if area == "runs":
            self.counts["runs"] += 1
            if not found:
                self._count_run(snapshot)
        elif area == "models":
            self.counts["logged_models"] += 1
        elif area == "traces":
            self.counts["traces"] += 1

    def _differences(self, snapshot: UnitSnapshot) -> Iterator[Difference]:
        held = self._base.files.get(snapshot.unit, {})
        points = positions_after(unit_folder(self._store.layout, snapshot.unit), list(held.values()))[1]
        for state, need in entries_of(snapshot, self._base.needs(snapshot)):
            if not _is_sealed_from(state, points):
                far = f"{need.start:,} bytes" if need.start else "in no bundle that arrived"
                yield self._difference(snapshot.unit, state.path, f"{state.size:,} bytes", far)
        for state in snapshot.files:
            before = held.get(state.path)
            if before is not None and before.size == state.size and before.mark != state.mark:
                yield self._difference(snapshot.unit, state.path, "other content", "as in the bundle")
            elif not self._quick and state.path.startswith(ARTIFACTS) and state.sha256:
                sha256 = hash_file(unit_folder(self._store.layout, snapshot.unit) / state.path)[1]
                if sha256 != state.sha256:
                    here, far = f"SHA-256 {sha256[:16]}", f"SHA-256 {state.sha256[:16]}"
                    yield self._difference(snapshot.unit, state.path, here, far)

    def _difference(self, unit: str, path: str, here: str, far: str) -> Difference:
        if not unit.startswith(RUNS):
            return Difference("", f"file {path}", here, far, subject=unit.replace("/", " "))
        name = path.removeprefix(ARTIFACTS)
        kind, key = ("artifact", name) if path != name else ("run", "")
        return Difference(unit.removeprefix(RUNS), f"file {path}", here, far, kind, key)

    def _count_run(self, snapshot: UnitSnapshot) -> None:
        try:
            run = self._store.run(snapshot.unit.removeprefix(RUNS))
            counts = {"params": len(run.params), "tags": len(run.tags), "datasets": len(run.datasets)}
            points = run.head().points
        except MltrackError:
            return
        artifacts = artifacts_in(snapshot)
        self.counts.update({**counts, "artifacts": len(artifacts)})
        if not self._quick:
            self.counts["points"] += points
            self.counts["artifact_bytes"] += sum(file.size for file in artifacts.values())


def _is_sealed_from(state: FileState, points: dict[str, int]) -> bool:
    """Whether a file is a segment that was made, after the bundle was, of points that were in it."""
    name = segment_name(state.path.partition("/")[2]) if state.path.startswith("segments/") else None
    return state.kind is FileKind.WHOLE and name is not None and points.get(name.writer, 0) > name.last
