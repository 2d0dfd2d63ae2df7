"""One sync cycle: everything selected that has something new is brought up to date on the remote, whatever its kind."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mltrack.errors import UsageError
from mltrack_sync.engine.cycle import held_ledger
from mltrack_sync.remotes.kind import PushWork, RepairingKind, find_kind
from mltrack_sync.remotes.ledgers import read_ledger
from mltrack_sync.remotes.options import PushOptions
from mltrack_sync.remotes.settings import ConfigurableKind

if TYPE_CHECKING:
    from mltrack.store import Store
    from mltrack_sync.ledger.ledger import Ledger
    from mltrack_sync.remotes.kind import Kind, Remote
    from mltrack_sync.report import PushReport

__all__ = ["push"]


def push(store: Store, remote: Remote, options: PushOptions | None = None, **changes: Any) -> PushReport:
    """Push what is new in the selected runs; when this returns, the ledger on disk says what is on the remote.

    Args:
        store: The store.
        remote: Where to push to.
        options: What is pushed, and how; by default everything.
        changes: Single options by their names in PushOptions, such as ``dry_run=True``.

    Raises:
        RemoteError: the remote can't be reached, does not speak as its kind does, or does not let us in; or its ledger
            can't be kept.
        BusyError: another process is syncing this store with this remote.
        NotFoundError, FilterError, UsageError: the selection or an option is not valid.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    options = replace(options or PushOptions(), **given)
    started = time.monotonic()
    kind = find_kind(remote.kind)
    if options.artifact_bytes_max is not None and not _leaves_files_out(kind):
        raise UsageError(f"remote {remote.name!r} only takes runs with all files", hint="leave the limit on files out")
    if options.dry_run:
        report = kind.dry_run(store, remote, read_ledger(store, remote), options)
        return replace(report, seconds=time.monotonic() - started)
    if options.repair:
        _check_repair(store, remote, kind)
    heads = None if options.selection.everything else options.selection.heads(store)
    with held_ledger(store, remote, options.clock) as ledger:
        report = kind.push(PushWork(store, remote, ledger, options, heads))
        report = replace(report, seconds=time.monotonic() - started)
        _note_end(ledger, report, options.clock())
    return report


def _check_repair(store: Store, remote: Remote, kind: Kind) -> None:
    """Check that there is something to repair.

    Raises:
        UsageError: the kind can't repair, or no comparison found a difference.
    """
    if not isinstance(kind, RepairingKind):
        raise UsageError(f"remote {remote.name!r} can't be repaired", hint=f"{kind.name} remotes are only added to")
    if not kind.find_repairable(read_ledger(store, remote)):
        hint = f"look for differences first: mltrack verify {remote.name}"
        raise UsageError(f"no verify has found anything to repair on {remote.name!r}", hint=hint)


def _leaves_files_out(kind: Kind) -> bool:
    return isinstance(kind, ConfigurableKind) and "max_artifact_size" in kind.settings


def _note_end(ledger: Ledger, report: PushReport, now: int) -> None:
    """Note that a cycle was completed, where it did something or the last one was not completed."""
    did = report.runs or report.models or report.model_versions or report.logged_models or report.traces
    did = did or report.evaluation_items or report.experiments
    if did or report.artifacts or not ledger.state.last_pass or ledger.state.last_error:
        ledger.finished(now, {"runs": report.runs, "points": report.points, "seconds": round(report.seconds, 3)})
