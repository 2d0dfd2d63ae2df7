"""What is kept of bundles: for each receiver, what was sent to it; in the store that pulled them, which ones it has."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mltrack.disk.codec import BadLine, decode_line, encode_line
from mltrack.disk.filesystem import LOCAL, FileSystem, read_small
from mltrack.disk.jsonlog import JsonLog, read_log
from mltrack.disk.sync_line_types import BUNDLES_PULLED, RECEIPT
from mltrack.errors import NotFoundError, UsageError
from mltrack_sync.ledger.bundles import BundleEntry, bundle_line
from mltrack_sync.ledger.ledger import RunEntry
from mltrack_sync.ledger.stores import run_lines, unit_line
from mltrack_sync.remotes.receivers import BUNDLES_FOLDER
from mltrack_sync.stores.bundle_format import BundledUnit, BundleError
from mltrack_sync.stores.bundle_writer import Base
from mltrack_sync.stores.local_source import RUNS
from mltrack_sync.stores.run_positions import positions_after
from mltrack_sync.stores.run_token import run_token
from mltrack_sync.stores.watched import ARTIFACTS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from mltrack.store import Store
    from mltrack_sync.ledger.ledger import Ledger
    from mltrack_sync.stores.bundle_format import Manifest
    from mltrack_sync.stores.bundle_writer import WrittenBundle

__all__ = [
    "accept_receipt",
    "base_of",
    "has_pulled",
    "note_pulled",
    "note_written",
    "read_receipt",
    "receipt_of",
]

RECEIPT_BYTES_MAX = 4096
_RECEIPT_VERSION = 1


# --- the side that writes bundles ---


def _record(folder: Path, entry: BundleEntry) -> Path:
    return folder / BUNDLES_FOLDER / f"{entry.number:08d}.{entry.bundle_id}.jsonl"


def note_written(ledger: Ledger, folder: Path, written: WrittenBundle, *, fs: FileSystem = LOCAL) -> None:
    """Note, when a bundle is complete, what is in it; ``folder`` is its receiver's.

    Raises:
        LedgerError, OSError: that can't be written.
    """
    entry = BundleEntry(written.manifest.bundle_id, written.manifest.number, False)
    path = _record(folder, entry)
    fs.make_folder(path.parent)
    lines = []
    for unit in written.units:
        lines.append(unit.encode())
        lines.append(encode_line({"seen": written.seen[unit.snapshot.unit]}))
    fs.publish_bytes(path, b"".join(lines))
    ledger.copied([bundle_line(entry)])


def base_of(folder: Path, entries: Iterable[BundleEntry]) -> Base:
    """What a receiver has that got these bundles, oldest first.

    Raises:
        OSError: what was noted of one can't be read.
        BundleError: it is damaged.
    """
    base = Base()
    for entry in entries:
        path = _record(folder, entry)
        lines = path.read_bytes().splitlines()
        for line, seen in zip(lines[::2], lines[1::2], strict=True):
            snapshot = BundledUnit.decode(line).snapshot
            files = base.files.setdefault(snapshot.unit, {})
            for state in snapshot.files:
                before = files.get(state.path)
                if before is None or before.size <= state.size or before.sha256 != state.sha256:
                    files[state.path] = state
            try:
                base.tokens[snapshot.unit] = str(decode_line(seen)["seen"])  # "" where files were left out
            except (BadLine, KeyError) as error:
                raise BundleError(f"{path} is damaged: {error}", hint="use another name with --for") from None
    return base


def accept_receipt(ledger: Ledger, folder: Path, store: Store, fields: dict[str, object], now_ns: int) -> BundleEntry:
    """Note that a bundle has arrived, as a receipt says.

    Args:
        ledger: The receiver's ledger.
        folder: Its folder.
        store: The store that wrote the bundle.
        fields: The receipt.
        now_ns: The time now, in ns since the epoch.

    Raises:
        UsageError: the receipt is for a bundle of another store.
        NotFoundError: no such bundle was written.
        BundleError, OSError: what was noted of a bundle can't be read.
        LedgerError: it can't be noted.
    """
    if fields["store"] != store.store_id:
        raise UsageError("the receipt is for a bundle of another store", hint="accept it in the store that sent it")
    entry = ledger.state.bundles.by_number.get(int(str(fields["number"])))
    if entry is None or entry.bundle_id != fields["bundle"]:
        raise NotFoundError(
            f"no bundle {fields['number']} with the id {str(fields['bundle'])[:8]} was written for {fields['for']!r}",
            hint="its file may have been written twice: pull the later one too, and send its receipt",
        )
    confirmed = entry._replace(confirmed=True)
    if not entry.confirmed:
        ledger.copied([bundle_line(confirmed)])
        ledger.copied(_arrived_lines(ledger, folder, store))
        ledger.finished(now_ns, {"runs": 0, "points": 0})
    return confirmed


def _arrived_lines(ledger: Ledger, folder: Path, store: Store) -> list[dict[str, Any]]:
    """What the receiver has of the store's units, by all receipts, as a copy to another store would note it."""
    base = base_of(folder, ledger.state.bundles.base(assume_arrived=False))
    lines: list[dict[str, Any]] = []
    for unit, files in base.files.items():
        token = base.tokens.get(unit, "")
        if not unit.startswith(RUNS):
            lines += [unit_line(unit, token)] if token else []
            continue
        run_id = unit.removeprefix(RUNS)
        path = store.layout.run(run_id).path
        try:
            head, is_same = store.run(run_id).head(), bool(token) and run_token(str(path)) == token
        except NotFoundError:
            continue  # removed meanwhile
        events, points = positions_after(path, list(files.values()))
        artifacts = {
            state.path.removeprefix(ARTIFACTS): state.sha256
            for state in files.values()
            if state.path.startswith(ARTIFACTS)
        }
        lines += run_lines(
            head, ledger.run(run_id), RunEntry(events=events, points=points, artifacts=artifacts), settled=is_same
        )
    return lines


# --- the side that pulls them ---


def note_pulled(store: Store, manifest: Manifest, now_ns: int, *, fs: FileSystem = LOCAL) -> None:
    """Note that everything of a bundle is in the store.

    Raises:
        OSError: it can't be written.
    """
    if has_pulled(store, manifest.bundle_id):
        return
    path = _pulled(store)
    fs.make_folder(path.parent)
    log = JsonLog(path, records=BUNDLES_PULLED, fs=fs)
    try:
        fields = {"bundle": manifest.bundle_id, "store": manifest.store_id, "for": manifest.receiver}
        log.append([{**fields, "number": manifest.number, "time": now_ns}])
        log.sync()
    finally:
        log.close()


def has_pulled(store: Store, bundle_id: str) -> bool:
    """Whether a bundle was pulled whole."""
    path = _pulled(store)
    lines = read_log(path, records=BUNDLES_PULLED).lines if os.path.lexists(path) else []
    return any(line["bundle"] == bundle_id for line in lines)


def _pulled(store: Store) -> Path:
    return store.path / "copied" / "bundles.jsonl"


def receipt_of(store: Store, manifest: Manifest) -> bytes:
    """The receipt for a bundle that was pulled: one line.

    Raises:
        UsageError: it was not pulled, or not whole.
    """
    if not has_pulled(store, manifest.bundle_id):
        raise UsageError(f"{manifest.words} was not pulled into {store.path}", hint="pull it first: mltrack pull FILE")
    return encode_line(
        {
            "receipt": _RECEIPT_VERSION,
            "bundle": manifest.bundle_id,
            "store": manifest.store_id,
            "for": manifest.receiver,
            "number": manifest.number,
            "receiver": store.store_id,
            "host": os.uname().nodename,
        }
    )


def read_receipt(path: Path) -> dict[str, object]:
    """What a receipt says.

    Raises:
        NotFoundError: there is no such file.
        BundleError: it is not a receipt, or damaged.
    """
    try:
        line = read_small(path, RECEIPT_BYTES_MAX)
        fields: dict[str, object] = decode_line(line.strip(), RECEIPT)
    except FileNotFoundError:
        raise NotFoundError(f"no file {path}", hint="check the path of the receipt") from None
    except (BadLine, OSError) as error:
        raise BundleError(f"{path} is not a receipt, or is damaged: {error}", hint="have it sent again") from None
    if fields["receipt"] != _RECEIPT_VERSION:
        raise BundleError(
            f"{path} is a receipt of another version", hint="upgrade mltrack: pip install -U mltrack-local"
        )
    return fields
