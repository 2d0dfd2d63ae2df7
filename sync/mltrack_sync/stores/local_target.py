"""A store in a folder of this machine, copied into."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING

from mltrack.disk.filesystem import LOCAL, FileSystem
from mltrack.disk.layout import is_run_id
from mltrack.errors import MltrackError
from mltrack_sync.stores.held_tokens import HeldTokens
from mltrack_sync.stores.local_source import RUNS, store_info
from mltrack_sync.stores.merged_facts import merge_facts
from mltrack_sync.stores.new_runs import remove_leftovers
from mltrack_sync.stores.point_ranges import writer_of
from mltrack_sync.stores.run_batch import RunBatch
from mltrack_sync.stores.run_needs import UnitNeeds
from mltrack_sync.stores.run_token import writer_is_live
from mltrack_sync.stores.run_writer import RunWriter
from mltrack_sync.stores.transfer import Applied, FileKind, Need, Piece, StoreInfo, TransferError, UnitSnapshot
from mltrack_sync.stores.unit_files import check_snapshot, unit_folder
from mltrack_sync.stores.unit_locks import UnitLocks
from mltrack_sync.stores.unit_writer import UnitWriter
from mltrack_sync.stores.updates import is_update

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from mltrack.store import Store
    from mltrack_sync.stores.transfer import CompleteRun, FileState, Update

__all__ = ["LocalTarget"]

UPDATES_TOGETHER = 500
"""So many small updates of runs are synced to the disk together."""


class LocalTarget:
    """A store that is copied into; many threads may use it, each for another unit."""

    def __init__(self, store: Store, *, hashing: bool = True, fs: FileSystem = LOCAL) -> None:
        """Copy into a store.

        Args:
            store: The store.
            hashing: Whether whole files are hashed whose SHA-256 is not in the snapshot: where there is more than this
                process between the two stores.
            fs: The file system to write with.
        """
        self._store = store
        self._layout = store.layout
        self._hashing = hashing
        self._fs = fs
        self._held_from: dict[str, HeldTokens] = {}
        self._lock = threading.Lock()
        self._locks = UnitLocks(store.layout.root, fs=fs)
        self._staging = threading.Lock()
        self._is_clean = False

    def info(self) -> StoreInfo:
        """Which store it is."""
        return store_info(self._store)

    def _held(self, origin: str) -> HeldTokens:
        if not is_run_id(origin):
            raise TransferError(f"{origin!a} is not the id of a store", hint="the other side is broken")
        with self._lock:
            if origin not in self._held_from:
                self._held_from[origin] = HeldTokens(self._store.path, origin, fs=self._fs)
            return self._held_from[origin]

    def tokens(self, origin: str) -> dict[str, str]:
        """The tokens of what it holds whole; see ``Target.tokens``."""
        runs = set(self._store.run_ids())
        return {
            unit: token
            for unit, token in self._held(origin).by_unit.items()
            if not unit.startswith(RUNS) or unit.removeprefix(RUNS) in runs
        }

    def needs(self, snapshot: UnitSnapshot) -> list[Need]:
        """What it lacks of a unit; see ``Target.needs``."""
        check_snapshot(snapshot)
        return [need for _, need in self._needs(unit_folder(self._layout, snapshot.unit), snapshot)]

    def _needs(self, folder: Path, snapshot: UnitSnapshot) -> list[tuple[int, Need]]:
        trusted = snapshot.unit in self._held(snapshot.origin[0]).by_unit and folder.is_dir()
        return UnitNeeds(folder, snapshot, trusted=trusted).find()

    def apply(self, snapshot: UnitSnapshot, pieces: Iterable[Piece]) -> Applied:
        """Write the pieces; see ``Target.apply``."""
        check_snapshot(snapshot)
        folder = unit_folder(self._layout, snapshot.unit)
        self._clean()
        with self._locks.alone(snapshot.unit):
            if snapshot.unit.startswith(RUNS):
                return self._write_run(folder, snapshot, pieces)
            return self._write_files(folder, snapshot, pieces)

    def discard(self, snapshot: UnitSnapshot, paths: Sequence[str]) -> None:
        """Remove files whose content is another one; see ``Target.discard``."""
        check_snapshot(snapshot)
        folder = unit_folder(self._layout, snapshot.unit)
        states = {state.path: state for state in snapshot.files if state.path in paths}
        if states.keys() != set(paths) or any(state.kind is FileKind.FACTS for state in states.values()):
            raise TransferError(f"{snapshot.unit} has no such files to remove")
        with self._locks.alone(snapshot.unit):
            for path, state in states.items():
                _check_discardable(folder, path, state)
            self._held(snapshot.origin[0]).put(snapshot.unit, "")  # first: what is removed is to be copied again
            for path in states:
                self._fs.unlink(folder / path)
                self._fs.sync_folder((folder / path).parent)

    def lacking_runs(self, units: Sequence[str]) -> set[str]:
        """The runs that have no folder; see ``Target.lacking_runs``."""
        held = set(self._store.run_ids())
        return {unit for unit in units if unit.startswith(RUNS) and unit.removeprefix(RUNS) not in held}

    def add_runs(self, runs: Iterable[CompleteRun]) -> list[Applied | MltrackError]:
        """Take runs together; see ``Target.add_runs``."""
        self._clean()
        with self._staging:  # threads that read and write small files at a time only wait for each other
            batch = RunBatch.written(self._layout, runs, fs=self._fs)
        with contextlib.closing(batch):
            for origin, tokens in batch.publish(self._locks).items():
                self._held(origin).put_many(tokens)
        return batch.outcomes

    def _clean(self) -> None:
        """Before the first unit is written, remove what copies left that were killed."""
        with self._lock:
            is_first, self._is_clean = not self._is_clean, True
        if is_first:
            remove_leftovers(self._layout, fs=self._fs)

    def _write_files(self, folder: Path, snapshot: UnitSnapshot, pieces: Iterable[Piece]) -> Applied:
        """Write a unit that is not a run: its files, then what its logs of facts add to ours."""
        starts = {index: need.start for index, need in self._needs(folder, snapshot)}
        facts = _CollectedFacts()
        files = {index: at for index, at in starts.items() if snapshot.files[index].kind is not FileKind.FACTS}
        writer = UnitWriter(self._store.path, folder, snapshot, files, hashing=self._hashing, fs=self._fs)
        try:
            for piece in facts.taken_from(snapshot, pieces):
                writer.write(piece)
            writer.settle()
        finally:
            writer.close()
        whole = writer.done == files.keys() and len(files) + len(facts.whole) >= len(starts)
        notes: list[str] = []
        for path, data in facts.whole.items() if whole else ():
            notes += merge_facts(writer.place(path), data, fs=self._fs)[1]
        if whole:
            self._held(snapshot.origin[0]).put(snapshot.unit, snapshot.token)
        return Applied(
            snapshot.unit,
            snapshot.token if whole else "",
            bytes=writer.bytes + sum(map(len, facts.whole.values())),
            files=len(writer.done) + len(facts.whole),
            notes=tuple(notes),
        )

    def _write_run(self, folder: Path, snapshot: UnitSnapshot, pieces: Iterable[Piece]) -> Applied:
        run = self._run_writer(folder, snapshot)
        run.write(pieces)
        run.settle()
        applied = run.finish()
        if applied.token:
            self._held(snapshot.origin[0]).put(snapshot.unit, snapshot.token)
        return applied

    def _run_writer(self, folder: Path, snapshot: UnitSnapshot) -> RunWriter:
        starts = {index: need.start for index, need in self._needs(folder, snapshot)}
        return RunWriter(self._store, snapshot, starts, hashing=self._hashing, fs=self._fs)

    def updates_together(self) -> int:
        """How many small updates it takes together; see ``Target.updates_together``."""
        return UPDATES_TOGETHER

    def apply_together(self, updates: Sequence[Update]) -> list[Applied | MltrackError]:
        """Write small updates of runs and sync them at once; see ``Target.apply_together``."""
        self._clean()
        outcomes: dict[str, Applied | MltrackError] = {}
        tokens: dict[str, dict[str, str]] = {}
        written: list[RunWriter] = []
        with self._locks.free(update.snapshot.unit for update in updates) as free:
            for update in updates:
                unit = update.snapshot.unit
                try:
                    if unit not in free:
                        raise TransferError(f"{unit} is being copied by another process")
                    written.append(self._update(update))
                except TransferError as error:
                    outcomes[unit] = error
            self._fs.sync_all(self._store.path, [path for run in written for path in run.unsettled()])
            for run in written:
                applied = run.finish()
                outcomes[applied.unit] = applied
                if applied.token:
                    tokens.setdefault(run.origin, {})[applied.unit] = applied.token
            for origin, found in tokens.items():
                self._held(origin).put_many(found)
        return [outcomes[update.snapshot.unit] for update in updates]

    def _update(self, update: Update) -> RunWriter:
        """Write one, without a sync.

        Raises:
            TransferError: it is not a small update of a run that is here, or can't be written.
        """
        snapshot = update.snapshot
        check_snapshot(snapshot)
        folder = unit_folder(self._layout, snapshot.unit)
        if not is_update(update) or not folder.is_dir():
            raise TransferError(f"{snapshot.unit} is not a run of which only some events are lacking")
        run = self._run_writer(folder, snapshot)
        run.write(update.pieces)
        return run


def _check_discardable(folder: Path, path: str, state: FileState) -> None:
    """Check that nothing is lost with a file.

    Raises:
        TransferError: it is being written, or has more than the other store has.
    """
    if state.kind is FileKind.WHOLE:
        return
    writer = writer_of(path)
    if writer_is_live(folder / "events" / f"{writer}.jsonl"):
        raise TransferError(f"{path} of {folder.name} is not replaced: a process writes it there")
    with contextlib.suppress(FileNotFoundError):
        if os.lstat(folder / path).st_size > state.size:
            raise TransferError(f"{path} of {folder.name} is not replaced: it has more there than here")


class _CollectedFacts:
    """The logs of facts among pieces, each whole."""

    def __init__(self) -> None:
        self.whole: dict[str, bytes] = {}
        self._parts: dict[str, list[bytes]] = {}

    def taken_from(self, snapshot: UnitSnapshot, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """The other pieces.

        Raises:
            TransferError: one is not of the snapshot.
        """
        sizes = {state.path: state.size for state in snapshot.files if state.kind is FileKind.FACTS}
        for piece in pieces:
            if piece.kind is not FileKind.FACTS:
                yield piece
                continue
            parts = self._parts.setdefault(piece.path, [])
            end = sum(map(len, parts)) + len(piece.data)
            fits = piece.path in sizes and piece.start + len(piece.data) == end <= sizes[piece.path]
            if not fits or piece.last != (end == sizes[piece.path]):
                raise TransferError(f"a piece of {piece.path!a} is not one of {snapshot.unit}")
            parts.append(piece.data)
            if piece.last:
                self.whole[piece.path] = b"".join(parts)
