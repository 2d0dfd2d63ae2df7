"""One pull: what is selected on a remote and new is brought into the store, whatever the remote's kind."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mltrack.disk.trust import refuse_links
from mltrack.errors import RemoteError, UsageError
from mltrack_sync.engine.lock import sync_lock
from mltrack_sync.errors import LedgerError
from mltrack_sync.remotes.kind import PullKind, PullWork, find_kind
from mltrack_sync.remotes.ledgers import ledger_path, open_ledger
from mltrack_sync.remotes.options import PullOptions

if TYPE_CHECKING:
    from mltrack.store import Store
    from mltrack_sync.remotes.kind import Remote
    from mltrack_sync.report import PullReport

__all__ = ["pull"]


def pull(store: Store, remote: Remote, options: PullOptions | None = None, **changes: Any) -> PullReport:
    """Bring what is selected and new on the remote into the store; when this returns, it is on the disk.

    Args:
        store: The store.
        remote: Where to pull from.
        options: What is pulled, and how; by default everything.
        changes: Single options by their names in PullOptions, such as ``dry_run=True``.

    Raises:
        RemoteError: the remote can't be reached, does not speak as its kind does, or does not let us in; or its ledger
            can't be kept.
        BusyError: another process syncs this store with this remote.
        NotFoundError, FilterError, UsageError: the selection or an option is not valid, or nothing can be pulled from
            remotes of this kind.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    options = replace(options or PullOptions(), **given)
    started = time.monotonic()
    kind = find_kind(remote.kind)
    if not isinstance(kind, PullKind):
        raise UsageError(f"nothing can be pulled from {remote.name!r}", hint=f"{kind.name} remotes only take pushes")
    remote.require_trust()
    folder = ledger_path(store, remote).parent
    refuse_links(store.layout.root, folder)
    with sync_lock(folder, remote.name, "mltrack pull"), contextlib.closing(open_ledger(store, remote)) as ledger:
        try:
            report = kind.pull(PullWork(store, remote, ledger, options))
        except RemoteError as error:
            with contextlib.suppress(LedgerError):
                ledger.failed(options.clock(), str(error))
            raise
    return replace(report, seconds=time.monotonic() - started)
