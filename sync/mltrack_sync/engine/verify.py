"""What a remote has, compared with what the store has, whatever the remote's kind."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mltrack.errors import BusyError
from mltrack_sync.engine.lock import sync_lock
from mltrack_sync.errors import LedgerError
from mltrack_sync.ledger.stores import differs_line
from mltrack_sync.remotes.kind import find_kind
from mltrack_sync.remotes.ledgers import ledger_path, open_ledger, read_ledger
from mltrack_sync.remotes.options import VerifyOptions
from mltrack_sync.report import Difference, VerifyReport

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mltrack.store import Store
    from mltrack_sync.remotes.kind import Remote

__all__ = ["Difference", "VerifyReport", "verify"]


def verify(store: Store, remote: Remote, options: VerifyOptions | None = None, **changes: Any) -> VerifyReport:
    """Compare what is selected with the remote; nothing is changed on either side, but what differs is noted.

    The next push to a store copies what was found missing there, without being asked to look at everything again. One
    that is asked to repair (``PushOptions.repair``) also replaces files of another content there, and compares runs
    that differ on a server with it.

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
    lines = list(_news(report, state.copied.differing, options))
    if lines:
        _note(store, remote, lines)
    return replace(report, seconds=time.monotonic() - started)


def _news(
    report: VerifyReport, known: Mapping[str, tuple[str, ...]], options: VerifyOptions
) -> Iterator[dict[str, Any]]:
    """What the ledger does not know: what differs, and, where all was compared, what no longer does."""
    for unit in report.differing_units:
        files = tuple(report.differing_files.get(unit, ()))
        if unit not in known or (not options.quick and known[unit] != files):
            yield differs_line(unit, differs=True, files=files)
    if options.selection.everything and not options.quick and not options.runs_only:
        for unit in sorted(known.keys() - set(report.differing_units)):
            yield differs_line(unit, differs=False)


def _note(store: Store, remote: Remote, lines: Sequence[dict[str, Any]]) -> None:
    """Note what differs for the next push, unless one is running, which is about to change it, or nothing can be."""
    with contextlib.ExitStack() as held:
        held.enter_context(contextlib.suppress(BusyError, LedgerError))
        held.enter_context(sync_lock(ledger_path(store, remote).parent, remote.name, "mltrack verify"))
        ledger = held.enter_context(contextlib.closing(open_ledger(store, remote)))
        ledger.copied(lines)
