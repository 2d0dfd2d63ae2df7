"""What a remote has, compared with what the store has, whatever the remote's kind."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mltrack_sync.remotes.kind import find_kind
from mltrack_sync.remotes.ledgers import read_ledger
from mltrack_sync.remotes.options import VerifyOptions
from mltrack_sync.report import Difference, VerifyReport

if TYPE_CHECKING:
    from mltrack.store import Store
    from mltrack_sync.remotes.kind import Remote

__all__ = ["Difference", "VerifyReport", "verify"]


def verify(store: Store, remote: Remote, options: VerifyOptions | None = None, **changes: Any) -> VerifyReport:
    """Compare what is selected with the remote; nothing is changed on either side.

    What belongs to a selection is what sync takes with it: runs with their datasets and links, the logged models and
    traces of these runs or of whole experiments, versions made of these runs. In full every point and span is read back
    and every file downloaded and hashed. In a run that is still being recorded, what is not pushed yet differs.

    Args:
        store: The store.
        remote: What to compare it with.
        options: What is compared, and how; by default everything, in full.
        changes: Single options by their names in VerifyOptions, such as ``quick=True``.

    Raises:
        RemoteError: the remote can't be reached, does not speak as its kind does, or does not let us in.
        NotFoundError, FilterError, UsageError: the selection or an option is not valid.
        StoreError, OSError: the store or the ledger can't be read.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    options = replace(options or VerifyOptions(), **given)
    started = time.monotonic()
    remote.require_trust()
    state = read_ledger(store, remote)
    report = find_kind(remote.kind).verify(store, remote, state, options)
    return replace(report, seconds=time.monotonic() - started)
