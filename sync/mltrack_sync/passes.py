"""One pass: every selected run that has something new is brought up to date on the remote, several at a time."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mltrack.errors import BusyError, RemoteError, UsageError
from mltrack.fs import file_lock
from mltrack_sync.errors import LedgerError
from mltrack_sync.further import further_of, lacking_lines
from mltrack_sync.ledger import Ledger, LedgerState, RunEntry
from mltrack_sync.registry_push import registry_todo
from mltrack_sync.report import PushReport, Rejected
from mltrack_sync.selection import Selection
from mltrack_sync.trace_entry import traces_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import httpx

    from mltrack.entities import RunHead
    from mltrack.reading import Store
    from mltrack_sync.further import Further
    from mltrack_sync.pace import Pace
    from mltrack_sync.progress import Progress
    from mltrack_sync.registry_push import ModelTodo
    from mltrack_sync.remotes import Remote
    from mltrack_sync.retry import RetryPolicy

__all__ = ["ledger_path", "pending", "push", "read_ledger", "sync_lock"]

JOBS = 4


def push(
    store: Store,
    remote: Remote,
    *,
    selection: Selection | None = None,
    jobs: int = JOBS,
    dry_run: bool = False,
    retry_rejected: bool = False,
    progress: Progress | None = None,
    policy: RetryPolicy | None = None,
    http: httpx.BaseTransport | None = None,
    pace: Pace | None = None,
    stop: threading.Event | None = None,
    clock: Callable[[], int] = time.time_ns,
) -> PushReport:
    """Push what is new in the selected runs; when this returns, the ledger on disk says what is there.

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
    path = ledger_path(store, remote)
    models = functools.partial(registry_todo, store, selection=selection or Selection(), chosen=chosen)
    further = functools.partial(further_of, store, selection=selection or Selection(), chosen=chosen)
    if dry_run:
        from mltrack_sync.forecast import foresee

        state = read_ledger(store, remote)
        report = foresee(store, remote, state, pending(state, chosen, retry_rejected))
        todo = models(state, retry=retry_rejected)
        report = replace(report, models=sum(m.is_new for m in todo), model_versions=sum(m.new_versions for m in todo))
        beside, lacks = further(state, retry=retry_rejected), remote.workspace().limits.lacks
        left = beside.without(lacks)
        report = replace(report, logged_models=len(left.models), traces=len(left.traces.traces))
        report = replace(report, lacking=lacking_lines(beside, state, lacks))
        return replace(report, seconds=time.monotonic() - started)
    with sync_lock(path.parent, remote.name), contextlib.closing(_open_ledger(path, remote)) as ledger:
        try:
            report = _pass(
                store,
                remote,
                ledger,
                chosen,
                models,
                further,
                jobs=jobs,
                retry_rejected=retry_rejected,
                progress=progress,
                policy=policy,
                http=http,
                pace=pace,
                stop=stop or threading.Event(),
            )
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


def pending(state: LedgerState, heads: Mapping[str, RunHead], retry_rejected: bool = False) -> list[str]:
    """The runs that may have something to send."""
    again = {run_id for run_id, _, _ in state.rejected} if retry_rejected else set()
    fresh = RunEntry()
    return [i for i, head in heads.items() if i in again or not state.runs.get(i, fresh).is_settled_at(head)]


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
        fields = json.loads(holder.read_text(encoding="utf-8"))
        what = fields.get("what", "mltrack sync")
        return f"another {what} to {name!r} is running (process {fields['pid']} on {fields['host']})"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"another mltrack sync to {name!r} is running"


# --- the pass ----------------------------------------------------------------------------------------------------


def _pass(
    store: Store,
    remote: Remote,
    ledger: Ledger,
    chosen: dict[str, RunHead],
    models: Callable[..., list[ModelTodo]],
    further: Callable[..., Further],
    *,
    retry_rejected: bool,
    **how: Any,
) -> PushReport:
    left = functools.partial(models, ledger.state, retry=retry_rejected)
    others = functools.partial(further, ledger.state, retry=retry_rejected)
    todo = pending(ledger.state, chosen, retry_rejected)
    report = PushReport(remote.name, remote.url, problems=tuple(str(damage) for damage in ledger.state.damage))
    beside, lacks = others(), remote.workspace().limits.lacks
    if todo or left() or beside.without(lacks):
        from mltrack_sync.sending import send

        report = send(store, remote, ledger, report, chosen, todo, left, others, retry_rejected=retry_rejected, **how)
    else:
        report = replace(report, lacking=lacking_lines(beside, ledger.state, lacks))
        if beside.traces.whole and not beside.traces.traces:  # writers came to an end, or said nothing of a trace
            ledger.note(traces_line(beside.traces.at, beside.traces.sizes))
    return replace(report, rejected=_rejected(ledger.state, chosen))


def _rejected(state: LedgerState, chosen: Mapping[str, RunHead]) -> tuple[Rejected, ...]:
    return tuple(
        sorted(
            (r for r in state.rejected.values() if r.run_id in chosen or not r.run_id), key=lambda r: (r.run_id, r.kind)
        )
    )
