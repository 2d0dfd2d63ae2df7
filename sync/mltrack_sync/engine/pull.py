"""One pull: what is selected on a remote and new is brought into the store, whatever the remote's kind."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mltrack.errors import UsageError
from mltrack_sync.engine.cycle import held_ledger
from mltrack_sync.remotes.kind import PullKind, PullWork, find_kind
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
    with held_ledger(store, remote, options.clock, "mltrack pull") as ledger:
        report = kind.pull(PullWork(store, remote, ledger, options))
    return replace(report, seconds=time.monotonic() - started)
