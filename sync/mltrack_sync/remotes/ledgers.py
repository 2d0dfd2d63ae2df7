"""Where the ledger of a remote is kept in a store, and what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack.disk.jsonlog import JsonLog
from mltrack.disk.sync_line_types import LEDGER
from mltrack_sync.errors import LedgerError
from mltrack_sync.ledger.ledger import Ledger, LedgerState
from mltrack_sync.ledger.state import VERSION

if TYPE_CHECKING:
    from pathlib import Path

    from mltrack.store import Store
    from mltrack_sync.remotes.kind import Remote

__all__ = ["ledger_path", "move_ledger", "open_ledger", "read_ledger"]


def ledger_path(store: Store, remote: Remote) -> Path:
    """Where the ledger of a remote is."""
    return store.layout.remote(remote.name) / "ledger.jsonl"


def read_ledger(store: Store, remote: Remote) -> LedgerState:
    """What the ledger of a remote says, as it is on disk; nothing where it belongs to another server or workspace.

    Raises:
        OSError: it exists and can't be read.
    """
    return LedgerState.read(ledger_path(store, remote), remote.place)


def open_ledger(store: Store, remote: Remote) -> Ledger:
    """The ledger of a remote, open for writing; the caller holds its lock.

    Raises:
        LedgerError: it can't be read or written.
    """
    path = ledger_path(store, remote)
    try:
        return Ledger(path, remote.place)
    except OSError as error:
        raise LedgerError(
            f"{path} can't be used: {error.strerror}", hint="make room, or check its permissions"
        ) from error


def move_ledger(path: Path, place: str) -> None:
    """Have a ledger be that of the same remote at another place; nothing where there is none. Hold its lock.

    Raises:
        LedgerError: it can't be written.
    """
    if not path.exists():
        return
    try:
        log = JsonLog(path, records=LEDGER, placed=True)
        try:
            log.append([{"type": "ledger", "version": VERSION, "url": place}])
            log.sync()
        finally:
            log.close()
    except OSError as error:
        raise LedgerError(f"{path} can't be written: {error.strerror}", hint="check its permissions") from error
