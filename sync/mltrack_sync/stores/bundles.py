"""Bundles: what a store has, or what is new since the last one for a receiver, as one file; and back into a store."""

from __future__ import annotations

import contextlib
import shlex
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mltrack.disk.codec import FORMAT_VERSION
from mltrack.disk.filesystem import LOCAL, FileSystem
from mltrack.errors import UsageError
from mltrack_sync.remotes.config import Remotes
from mltrack_sync.remotes.ledgers import ledger_path, open_ledger
from mltrack_sync.remotes.options import PullOptions
from mltrack_sync.remotes.receivers import receiver_named
from mltrack_sync.report import PullReport
from mltrack_sync.selection import Selection
from mltrack_sync.stores.bundle_format import BundleError, Manifest
from mltrack_sync.stores.bundle_ledger import (
    accept_receipt,
    base_of,
    has_pulled,
    note_pulled,
    note_written,
    read_receipt,
    receipt_of,
)
from mltrack_sync.stores.bundle_reader import BundleSource, open_bundle
from mltrack_sync.stores.bundle_writer import Base, WrittenBundle, write_bundle
from mltrack_sync.stores.far_store import FarStore
from mltrack_sync.stores.folders import disk_errors, local_disk_errors
from mltrack_sync.stores.local_source import RUNS, LocalSource
from mltrack_sync.stores.local_target import LocalTarget
from mltrack_sync.stores.pull import pull_from_store
from mltrack_sync.stores.restored_journals import can_restore, restore_journal
from mltrack_sync.stores.transfer import FileKind

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from mltrack.store import Store
    from mltrack_sync.ledger.ledger import Ledger
    from mltrack_sync.progress import Progress
    from mltrack_sync.stores.transfer import FileState

__all__ = ["BundleOptions", "accept", "bundle", "make_receipt", "pull_bundle"]


@dataclass(frozen=True, slots=True)
class BundleOptions:
    """What goes into a bundle.

    Attributes:
        selection: The runs, and what goes with them.
        receiver: Whom it is for: then it holds only what is new since the bundles that this receiver confirmed.
        assume_arrived: Take it that every bundle written for the receiver has arrived: for a road without a way back.
        artifact_bytes_max: Larger files of artifacts are left out (0: all of them); None is no limit.
        progress: Shows how far it is.
    """

    selection: Selection = field(default_factory=Selection)
    receiver: str = ""
    assume_arrived: bool = False
    artifact_bytes_max: int | None = None
    progress: Progress | None = None


def bundle(
    store: Store, path: str | os.PathLike[str], options: BundleOptions | None = None, *, fs: FileSystem = LOCAL
) -> WrittenBundle | None:
    """Write a bundle; None, and no file, where there is nothing new for its receiver.

    Args:
        store: The store.
        path: The file, which must not exist.
        options: What goes into it; by default everything.
        fs: The file system to write with.

    Raises:
        UsageError, NotFoundError, FilterError: the path or the selection is not valid.
        BusyError: another process writes a bundle for that receiver.
        RemoteError: the file can't be written.
    """
    options = options or BundleOptions()
    source = LocalSource(store, hashing=False)
    with _ledger_of(store, options.receiver) as held, disk_errors(str(path), is_file=True):
        base, number, after, after_id = Base(), 0, 0, ""
        if held is not None:
            ledger, folder = held
            entries = ledger.state.bundles.base(assume_arrived=options.assume_arrived)
            base, number = base_of(folder, entries), ledger.state.bundles.last + 1
            if entries:
                after, after_id = entries[-1].number, entries[-1].bundle_id
        manifest = Manifest(
            "", store.store_id, FORMAT_VERSION, source.info().host, options.receiver, number, after, after_id
        )
        written = write_bundle(
            source,
            source.units(options.selection),
            Path(path),
            manifest,
            base=base,
            artifact_bytes_max=options.artifact_bytes_max,
            progress=options.progress,
            fs=fs,
        )
        if written is not None and held is not None:
            note_written(held[0], held[1], written, fs=fs)
    return written


@contextlib.contextmanager
def _ledger_of(store: Store, receiver: str) -> Iterator[tuple[Ledger, Path] | None]:
    """The ledger of a receiver and its folder, while nobody else uses it; None without a receiver."""
    if not receiver:
        yield None
        return
    from mltrack.disk.locks import file_lock
    from mltrack.disk.trust import refuse_links

    named = next((each for each in Remotes(store).all() if each.name == receiver), None)
    if named is not None:
        raise UsageError(
            f"{receiver!r} is the remote {named.url}", hint="give the receiver of bundles another name with --for"
        )
    remote = receiver_named(receiver)
    folder = ledger_path(store, remote).parent
    refuse_links(store.layout.root, folder)
    folder.mkdir(parents=True, exist_ok=True)
    with file_lock(folder / "lock", timeout_s=0), contextlib.closing(open_ledger(store, remote)) as ledger:
        yield ledger, folder


def pull_bundle(
    store: Store, path: str | os.PathLike[str], options: PullOptions | None = None, **changes: Any
) -> PullReport:
    """Bring what is in a bundle into the store. All of the file is checked before anything is taken from it.

    Args:
        store: The store.
        path: The bundle.
        options: What is pulled, and how; by default everything.
        changes: Single options by their names in PullOptions, such as ``dry_run=True``.

    Raises:
        BundleError: it is not a bundle, is damaged, or continues one that was not pulled.
        NotFoundError: there is no such file, or no such run in it.
        RemoteError: the store can't be written.
    """
    options = replace(options or PullOptions(), **{name: value for name, value in changes.items() if value is not None})
    started = time.monotonic()
    with disk_errors(str(path)), open_bundle(Path(path)) as opened:
        source, target = BundleSource(opened), LocalTarget(store, hashing=False)
        restored = _find_gaps(store, source, target, opened.manifest, options.selection)
        with local_disk_errors(store.path):
            for run_id, state, start in restored if not options.dry_run else ():
                restore_journal(store, run_id, state, start)
        far = FarStore(source.info(), source, target, in_process=True)
        report = pull_from_store(store, far, Path(path).name, str(path), options)
        everything = options.selection.everything and options.artifact_bytes_max is None
        if report.complete and everything and not options.dry_run and not options.stop.is_set():
            with local_disk_errors(store.path):
                note_pulled(store, opened.manifest, options.clock())
            if opened.manifest.receiver:
                words = f"tell its sender that it has arrived: mltrack receipt {shlex.quote(str(path))}"
                report = replace(report, notes=(*report.notes, words))
    return replace(report, seconds=time.monotonic() - started)


def _find_gaps(
    store: Store, source: BundleSource, target: LocalTarget, manifest: Manifest, selection: Selection
) -> list[tuple[str, FileState, int]]:
    """Check, before anything is written, that the bundle has all that the store lacks of its units.

    Returns:
        Journals that the bundle continues and that are sealed here, to be restored first: the run, the file, and the
        byte up to which it is needed.

    Raises:
        BundleError: something is in neither.
    """
    restored: list[tuple[str, FileState, int]] = []
    for unit in source.units(selection):
        snapshot = source.snapshot(unit.unit)
        for state, start in source.lacks(snapshot, target.needs(snapshot)):
            run_id = unit.unit.removeprefix(RUNS)
            if state.kind is not FileKind.POINTS or not can_restore(store, run_id, state, start):
                raise _gap(store, manifest, state, unit.unit)
            restored.append((run_id, state, start))
    return restored


def _gap(store: Store, manifest: Manifest, state: FileState, unit: str) -> BundleError:
    if manifest.after and not has_pulled(store, manifest.after_id):
        return BundleError(
            f"{manifest.words} continues bundle {manifest.after} ({manifest.after_id[:8]}), which is missing here",
            hint=f"pull bundle {manifest.after} first",
        )
    return BundleError(
        f"{manifest.words} holds only what is new in {state.path} of {unit}",
        hint="ask for a bundle without --for, or for one with another name",
    )


def make_receipt(store: Store, path: str | os.PathLike[str]) -> bytes:
    """The receipt for a bundle that was pulled into this store: one line of a few hundred bytes.

    Raises:
        NotFoundError, BundleError: there is no such bundle.
        UsageError: it was not pulled.
    """
    with disk_errors(str(path)), open_bundle(Path(path)) as opened:
        return receipt_of(store, opened.manifest)


def accept(store: Store, path: str | os.PathLike[str]) -> tuple[str, int]:
    """Note that a bundle has arrived, as its receipt says; the receiver and the bundle's number.

    Raises:
        NotFoundError, BundleError: there is no such receipt, or no such bundle was written.
        UsageError: it is for another store's bundle, or for one without a receiver.
    """
    fields = read_receipt(Path(path))
    receiver = str(fields["for"])
    if not receiver:
        raise UsageError("the receipt is for a bundle that was written without --for", hint="nothing waits for it")
    with _ledger_of(store, receiver) as held:
        assert held is not None
        return receiver, accept_receipt(held[0], held[1], store, fields, time.time_ns()).number
