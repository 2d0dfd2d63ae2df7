"""A store compared with another: every file, by its bytes; in quick mode by sizes and marks."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING, Any

from mltrack.disk.filesystem import NotRegularError, open_regular
from mltrack.errors import MltrackError, NotFoundError
from mltrack_sync.report import Difference, VerifyReport
from mltrack_sync.stores.local_source import RUNS, LocalSource
from mltrack_sync.stores.merged_facts import has_facts
from mltrack_sync.stores.transfer import FileKind, Need, TransferError
from mltrack_sync.stores.unit_files import unit_folder
from mltrack_sync.stores.watched import artifacts_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mltrack.store import Store
    from mltrack_sync.remotes.kind import Remote
    from mltrack_sync.remotes.options import VerifyOptions
    from mltrack_sync.stores.far_store import FarStore
    from mltrack_sync.stores.transfer import FileState, UnitSnapshot

__all__ = ["compare_with_store"]

_CHUNK_BYTES = 1 << 20


def compare_with_store(store: Store, far: FarStore, remote: Remote, options: VerifyOptions) -> VerifyReport:
    """Compare what is selected with the other store.

    What it does not lack by its own files' sizes and marks is the same; in full, each file that both have is read on
    both sides. Files may be in another form: points that are sealed on one side only are compared by their numbers.

    Raises:
        RemoteError, StoreError, OSError: a store can't be read.
        NotFoundError, FilterError: the selection is not valid.
    """
    comparison = _Comparison(store, far, remote, quick=options.quick)
    for unit in LocalSource(store).units(options.selection):
        is_run = unit.unit.startswith(RUNS)
        if options.runs_only and not is_run:
            continue
        comparison.compare(unit.unit)
        if is_run:
            options.on_run(unit.unit.removeprefix(RUNS))
    return VerifyReport(
        remote.name,
        remote.url,
        quick=options.quick,
        differences=tuple(comparison.differences),
        differing_units=tuple(comparison.differing),
        differing_files={unit: tuple(files) for unit, files in comparison.differing_files.items()},
        **comparison.counts,
    )


class _Comparison:
    """One comparison of two stores."""

    def __init__(self, store: Store, far: FarStore, remote: Remote, *, quick: bool) -> None:
        self.differences: list[Difference] = []
        self.differing: list[str] = []
        self.differing_files: dict[str, list[str]] = {}
        self.counts: dict[str, Any] = Counter()
        self._store = store
        self._far = far
        self._bound = remote.max_artifact_size
        self._quick = quick
        self._source = LocalSource(store, hashing=False)

    def compare(self, unit: str) -> None:
        """Compare one unit."""
        try:
            snapshot = self._source.snapshot(unit, artifact_bytes_max=self._bound)
        except NotFoundError:
            return  # removed meanwhile
        try:
            found = list(self._differences(snapshot))
        except NotFoundError as error:
            lost = ("run", "present", "nothing") if unit.startswith(RUNS) else ("files", "as recorded", str(error))
            found = [self._difference(unit, *lost), *self._other_content(snapshot)]
        except TransferError as error:
            found = [self._difference(unit, "files", "as recorded", str(error)), *self._other_content(snapshot)]
        self.differences += found
        self.differing += [unit] if found else []
        area = unit.partition("/")[0]
        if area == "runs":
            self._count_run(snapshot, equal=not found)
        elif area == "models":
            self.counts["logged_models"] += 1
        elif area == "traces":
            self.counts["traces"] += 1

    def _differences(self, snapshot: UnitSnapshot) -> Iterator[Difference]:
        lacking = {need.path: need.start for need in self._far.target.needs(snapshot)}
        sizes = {state.path: state.size for state in snapshot.files}
        facts = {state.path for state in snapshot.files if state.kind is FileKind.FACTS}
        for path, start in lacking.items():
            if path in facts and self._has_facts(snapshot, path):
                continue
            far = f"{start:,} bytes" if start else "missing"
            yield self._difference(snapshot.unit, f"file {path}", f"{sizes[path]:,} bytes", far, path)
        if self._quick or not snapshot.files:
            return
        far_now = self._far.source.snapshot(snapshot.unit)
        for path, here, far in self._unequal(snapshot, far_now, lacking):
            self.differing_files.setdefault(snapshot.unit, []).append(path)
            yield self._difference(snapshot.unit, f"file {path}", f"SHA-256 {here}", f"SHA-256 {far}", path)

    def _has_facts(self, snapshot: UnitSnapshot, path: str) -> bool:
        """Whether a log that both stores append to has all that counts on the remote, in whatever lines."""
        try:
            far_now = self._far.source.snapshot(snapshot.unit)
            held, data = (
                b"".join(piece.data for piece in source.pieces(one, [Need(path, 0)]))
                for source, one in ((self._far.source, far_now), (self._source, snapshot))
            )
        except (NotFoundError, TransferError):
            return False
        return has_facts(path, held, data)

    def _other_content(self, snapshot: UnitSnapshot) -> list[Difference]:
        """The files that both have with another content, where it can't be said what is lacking."""
        if self._quick:
            return []
        try:
            far_now = self._far.source.snapshot(snapshot.unit)
            unequal = list(self._unequal(snapshot, far_now, {}))
        except (NotFoundError, TransferError):
            return []
        self.differing_files[snapshot.unit] = [path for path, _, _ in unequal]
        return [
            self._difference(snapshot.unit, f"file {path}", f"SHA-256 {here}", f"SHA-256 {far}", path)
            for path, here, far in unequal
        ]

    def _unequal(
        self, here: UnitSnapshot, far: UnitSnapshot, lacking: Mapping[str, int]
    ) -> Iterator[tuple[str, str, str]]:
        """Files that both have, and whose bytes up to the size here differ, with both checksums."""
        sizes = {state.path: state.size for state in here.files}
        theirs: dict[str, FileState] = {state.path: state for state in far.files if state.path in sizes}
        needs, asked = [], set()
        for state in far.files:  # a log may be several times in a snapshot: its first part is asked for from 0
            if state.path in theirs and state.path not in lacking and state.size and state.path not in asked:
                asked.add(state.path)
                needs.append(Need(state.path, 0))
                needs += self._rest(far, state)
        folder = unit_folder(self._store.layout, here.unit)
        digests = {path: hashlib.sha256() for path in asked}
        left = {path: sizes[path] for path in asked}
        for piece in self._far.source.pieces(far, sorted_needs(far, needs)):
            part = piece.data[: left[piece.path]]
            digests[piece.path].update(part)
            left[piece.path] -= len(part)
        for path in sorted(asked):
            mine = _digest(folder / path, sizes[path])
            if digests[path].hexdigest() != mine:
                yield path, mine[:16], digests[path].hexdigest()[:16]

    def _rest(self, snapshot: UnitSnapshot, first: FileState) -> Iterator[Need]:
        at = first.size
        for state in snapshot.files:
            if state.path == first.path and state.size > at:
                yield Need(state.path, at)
                at = state.size

    def _difference(self, unit: str, thing: str, here: str, far: str, key: str = "") -> Difference:
        if unit.startswith(RUNS):
            kind = "artifact" if key.startswith("artifacts/") else "run"
            name = key.removeprefix("artifacts/") if kind == "artifact" else ""
            return Difference(unit.removeprefix(RUNS), thing, here, far, kind, name)
        return Difference("", thing, here, far, subject=unit.replace("/", " "))

    def _count_run(self, snapshot: UnitSnapshot, *, equal: bool) -> None:
        self.counts["runs"] += 1
        try:
            run = self._store.run(snapshot.unit.removeprefix(RUNS))
            state = run.state
        except MltrackError:
            return
        if not equal:
            return
        artifacts = artifacts_in(snapshot)
        self.counts["artifacts"] += len(artifacts)
        self.counts["params"] += len(run.params)
        self.counts["tags"] += len(run.tags)
        self.counts["datasets"] += len(run.datasets)
        if not self._quick:
            self.counts["artifact_bytes"] += sum(file.size for file in artifacts.values())
            self.counts["points"] += run.head().points
        del state


def sorted_needs(snapshot: UnitSnapshot, needs: list[Need]) -> list[Need]:
    """Needs in the order of the snapshot, as ``Source.pieces`` wants them."""
    places: dict[tuple[str, int], int] = {}
    ends: dict[str, int] = {}
    for index, state in enumerate(snapshot.files):
        places[(state.path, ends.get(state.path, 0))] = index
        ends[state.path] = state.size
    return sorted(needs, key=lambda need: places[(need.path, need.start)])


def _digest(path: object, size: int) -> str:
    """The SHA-256 of a file's first bytes; "" where it can't be read."""
    import os

    digest = hashlib.sha256()
    try:
        fd = open_regular(str(path), follow=False)
    except (FileNotFoundError, NotRegularError):
        return ""
    try:
        at = 0
        while at < size and (data := os.pread(fd, min(_CHUNK_BYTES, size - at), at)):
            digest.update(data)
            at += len(data)
    finally:
        os.close(fd)
    return digest.hexdigest()
