"""One pass: every selected run that has something new is brought up to date on the remote, several at a time."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mltrack.disk.filesystem import file_lock, read_small
from mltrack.disk.trust import refuse_links
from mltrack.errors import BusyError, RemoteError, UsageError
from mltrack_sync.errors import LedgerError
from mltrack_sync.ledger.experiments import EXPERIMENT_TAG_KIND
from mltrack_sync.ledger.ledger import Ledger, LedgerState
from mltrack_sync.ledger.traces import traces_line
from mltrack_sync.mlflow.plan.kinds import LOGGED_MODEL, TRACE
from mltrack_sync.mlflow.plan.pending import Again, Scope, find_pending, rejected_of, unsupported_lines
from mltrack_sync.report import PushReport, Rejected
from mltrack_sync.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator
    from pathlib import Path

    import httpx

    from mltrack.store import Store
    from mltrack_sync.http.rate_limit import Pace
    from mltrack_sync.http.retry import RetryPolicy
    from mltrack_sync.limits import Limits
    from mltrack_sync.progress import Progress
    from mltrack_sync.remotes.config import Remote

__all__ = ["Settings", "ledger_path", "push", "read_ledger", "sync_lock"]

JOBS = 4
CURED_MAX = 200
"""So many things that were refused are looked at again in one pass; where there are more, others the next time."""

IN_EXPERIMENT_KINDS = (LOGGED_MODEL, TRACE)
"""Things that are refused where their experiment is: looked at again as the runs in it are, at no further cost."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a pass goes about its work; see push for each."""

    jobs: int
    progress: Progress | None
    policy: RetryPolicy | None
    http: httpx.BaseTransport | None
    pace: Pace | None
    stop: threading.Event


def push(
    store: Store,
    remote: Remote,
    *,
    selection: Selection | None = None,
    jobs: int = JOBS,
    dry_run: bool = False,
    retry_rejected: bool = False,
    retry_cured: bool = True,
    progress: Progress | None = None,
    policy: RetryPolicy | None = None,
    http: httpx.BaseTransport | None = None,
    pace: Pace | None = None,
    stop: threading.Event | None = None,
    clock: Callable[[], int] = time.time_ns,
) -> PushReport:
    """Push what is new in the selected runs; when this returns, the ledger on disk says what is there.

    ``retry_rejected`` tries all again that was set aside. ``retry_cured`` looks, at a bounded cost, whether the reason
    is gone why whole runs were: an experiment or a run that was restored there, a permission that was given.
    ``http`` replaces the network, ``pace`` bounds the bytes sent per second, ``stop`` ends the pass early when
    set, ``clock`` gives ns since the epoch.

    Raises:
        RemoteError: the remote can't be reached, is no MLflow server, does not let us in, or its ledger can't be kept.
        BusyError: another process is syncing this store with this remote.
        NotFoundError, FilterError, UsageError: the selection is no good.
    """
    if jobs < 1:
        raise UsageError(f"{jobs} jobs can do nothing", hint="give --jobs 1 or more")
    started = time.monotonic()
    chosen = (selection or Selection()).heads(store)
    path, scope = ledger_path(store, remote), Scope(store, selection or Selection(), chosen, retry_rejected)
    if dry_run:
        from mltrack_sync.mlflow.plan.dry_run import dry_run as foreseen

        return replace(foreseen(scope, remote, read_ledger(store, remote)), seconds=time.monotonic() - started)
    remote.require_trust()  # before anything is written into the store
    refuse_links(store.layout.root, path.parent)
    settings = Settings(jobs, progress, policy, http, pace, stop or threading.Event())
    with sync_lock(path.parent, remote.name), contextlib.closing(_open_ledger(path, remote)) as ledger:
        if retry_cured and not retry_rejected:
            scope = replace(scope, again=perhaps_cured(ledger.state, chosen, remote.limits))
        try:
            report = _pass(scope, remote, ledger, settings)
        except RemoteError as error:
            with contextlib.suppress(LedgerError):
                ledger.failed(clock(), str(error))
            raise
        if (
            report.runs
            or report.models
            or report.model_versions
            or report.logged_models
            or report.traces
            or report.artifacts
            or not ledger.state.last_pass
            or ledger.state.last_error
        ):
            ledger.finished(clock(), {"runs": report.runs, "points": report.points})
    return replace(report, seconds=time.monotonic() - started)


def ledger_path(store: Store, remote: Remote) -> Path:
    """Where the ledger of a remote lies."""
    return store.layout.remote(remote.name) / "ledger.jsonl"


def read_ledger(store: Store, remote: Remote) -> LedgerState:
    """What the ledger of a remote says, as it is on disk; nothing where it was kept of a server with another URL.

    Raises:
        OSError: it is there and can't be read.
    """
    return LedgerState.read(ledger_path(store, remote), remote.url)


def _is_curable(item: Rejected, limits: Limits) -> bool:
    if item.kind == EXPERIMENT_TAG_KIND:
        return limits.refuse_experiment_tag(item.key.partition("/")[2], "") is None
    return item.kind in IN_EXPERIMENT_KINDS and item.reason.startswith("experiment ")


def ledger_damage(state: LedgerState) -> Iterator[str]:
    """What of the ledger can't be read, in words, with what becomes of it."""
    for damage in state.damage:
        yield (
            f"{damage}; the other lines count, and sync compares with the remote what this one may have said,"
            " then writes the ledger anew: nothing is lost, and nothing is to be done"
        )


def perhaps_cured(state: LedgerState, chosen: Container[str], limits: Limits) -> Again:
    """Things set aside as a whole, whose reason may be gone: each costs a request or two, so not all where many are."""
    whole = [
        (item.run_id, item.kind, item.key)
        for item in state.rejected.values()
        if (item.kind == "run" and item.run_id in chosen) or _is_curable(item, limits)
    ]
    return frozenset(whole if len(whole) <= CURED_MAX else random.sample(whole, CURED_MAX))


def _open_ledger(path: Path, remote: Remote) -> Ledger:
    try:
        return Ledger(path, remote.url)
    except OSError as error:
        raise LedgerError(f"{path} can't be used: {error.strerror}", hint="check its permissions") from error


@contextlib.contextmanager
def sync_lock(folder: Path, name: str, what: str = "mltrack sync") -> Iterator[None]:
    """Hold the lock of the remote ``name``, whose folder this is, for ``what``.

    Raises:
        BusyError: another process holds it; the words say which, and for what.
        LedgerError: the folder can't be written.
    """
    holder = folder / "holder.json"
    with contextlib.ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(file_lock(folder / "lock", timeout_s=0))
            who = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time(), "what": what}
            holder.unlink(missing_ok=True)  # left by one that was killed; it may be another user's
            holder.write_text(json.dumps(who), encoding="utf-8")
        except BusyError:
            raise BusyError(_in_the_way(holder, name), hint="wait for it to end, or stop it") from None
        except OSError as error:
            raise LedgerError(f"{folder} can't be written: {error.strerror}", hint="check its permissions") from error
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                holder.unlink()


def _in_the_way(holder: Path, name: str) -> str:
    try:
        fields = json.loads(read_small(holder))
        what = fields.get("what", "mltrack sync")
        return f"another {what} to {name!r} is running (process {fields['pid']} on {fields['host']})"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"another mltrack sync to {name!r} is running"


# --- the pass ----------------------------------------------------------------------------------------------------


def _pass(scope: Scope, remote: Remote, ledger: Ledger, settings: Settings) -> PushReport:
    state = ledger.state
    report = PushReport(remote.name, remote.url, problems=tuple(ledger_damage(state)))
    pending, lacks = find_pending(scope, state), remote.limits.lacks
    if pending.without(lacks):
        from mltrack_sync.mlflow.push.sending import send

        report = send(scope, remote, ledger, report, settings)
    else:
        report = replace(report, lacking=unsupported_lines(pending, state, lacks))
        if pending.traces.whole and not pending.traces.traces:  # writers came to an end, or said nothing of a trace
            ledger.note(traces_line(pending.traces.positions, pending.traces.sizes))
    return replace(report, rejected=rejected_of(list(state.rejected.values()), scope.heads))
