"""One cycle's hold of a remote: trusted, locked, with its ledger open, which remembers how the cycle failed."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from mltrack.disk.trust import refuse_links
from mltrack.errors import RemoteError
from mltrack_sync.engine.lock import sync_lock
from mltrack_sync.errors import LedgerError
from mltrack_sync.remotes.ledgers import ledger_path, open_ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mltrack.store import Store
    from mltrack_sync.ledger.ledger import Ledger
    from mltrack_sync.remotes.kind import Remote

__all__ = ["held_ledger"]


@contextlib.contextmanager
def held_ledger(store: Store, remote: Remote, clock: Callable[[], int], what: str = "mltrack sync") -> Iterator[Ledger]:
    """Hold the lock of a remote for ``what``, and its ledger. A RemoteError is noted there, at the time of ``clock``.

    Args:
        store: The store.
        remote: The remote, which must be trusted.
        clock: The time in ns since the epoch.
        what: The command that holds it, for others that wait.

    Raises:
        UntrustedError: the remote is one that another user may have written.
        BusyError: another process syncs this store with this remote.
        LedgerError: the ledger can't be kept.
    """
    remote.require_trust()  # before anything is written into the store
    folder = ledger_path(store, remote).parent
    refuse_links(store.layout.root, folder)
    with sync_lock(folder, remote.name, what), contextlib.closing(open_ledger(store, remote)) as ledger:
        try:
            yield ledger
        except RemoteError as error:
            with contextlib.suppress(LedgerError):
                ledger.failed(clock(), str(error))
            raise
