"""One pass: every selected run that has something new is brought up to date on the remote, several at a time."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mltrack.errors import BusyError, MltrackError, NotFoundError, RemoteError, StoreError, UsageError
from mltrack.fs import file_lock
from mltrack_sync.errors import (
    LedgerError,
    NotMlflowError,
    PushStopped,
    RemoteAuthError,
    RemoteRefusedError,
    RemoteUnavailableError,
)
from mltrack_sync.forecast import foresee
from mltrack_sync.identity import Identities
from mltrack_sync.ledger import Ledger, LedgerState, RunEntry
from mltrack_sync.pace import interruptible
from mltrack_sync.plan import Refusal
from mltrack_sync.progress import NoProgress, Progress
from mltrack_sync.registry_push import ModelTodo, RegistryPush, registry_todo
from mltrack_sync.report import PushReport, Rejected
from mltrack_sync.retry import RetryPolicy
from mltrack_sync.run_push import RunPush
from mltrack_sync.selection import Selection
from mltrack_sync.session import FILES_AT_ONCE, Session
from mltrack_sync.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import httpx

    from mltrack.entities import RunHead
    from mltrack.reading import Store
    from mltrack_sync.pace import Pace
    from mltrack_sync.remotes import Remote

__all__ = ["ledger_path", "pending", "push", "sync_lock"]

JOBS = 4
TROUBLED_RUNS_MAX = 3
"""So many runs that the remote did not answer for, one after the other, end the pass."""


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
    if dry_run:
        state = LedgerState.read(path)
        report = foresee(store, remote, state, pending(state, chosen, retry_rejected))
        todo = models(state, retry=retry_rejected)
        report = replace(report, models=sum(m.is_new for m in todo), model_versions=sum(m.new_versions for m in todo))
        return replace(report, seconds=time.monotonic() - started)
    with sync_lock(path.parent, remote.name), contextlib.closing(_open_ledger(path, remote)) as ledger:
        try:
            report = _pass(
                store,
                remote,
                ledger,
                chosen,
                models,
                jobs=jobs,
                retry_rejected=retry_rejected,
                progress=progress or NoProgress(),
                policy=policy or RetryPolicy(),
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
            or not ledger.state.last_pass
            or ledger.state.last_error
        ):
            ledger.finished(clock(), {"runs": report.runs, "points": report.points})
    return replace(report, seconds=time.monotonic() - started)


def ledger_path(store: Store, remote: Remote) -> Path:
    """Where the ledger of a remote lies."""
    return store.layout.remote(remote.name) / "ledger.jsonl"


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
    *,
    jobs: int,
    retry_rejected: bool,
    progress: Progress,
    policy: RetryPolicy,
    http: httpx.BaseTransport | None,
    pace: Pace | None,
    stop: threading.Event,
) -> PushReport:
    todo = pending(ledger.state, chosen, retry_rejected)
    report = PushReport(remote.name, remote.url, problems=tuple(str(damage) for damage in ledger.state.damage))
    if not todo and not models(ledger.state, retry=retry_rejected):
        return replace(report, rejected=_rejected(ledger.state, chosen))
    workspace = remote.workspace()
    policy = replace(policy, sleep=interruptible(policy.sleep, stop))
    pace = pace.until(stop) if pace is not None else None
    connections = jobs + FILES_AT_ONCE
    try:
        transport = Transport(workspace, policy=policy, connections_max=connections, http=http, pace=pace)
    except PushStopped:  # while the workspace was asked for its endpoint
        return report
    try:
        try:
            transport.knock()
        except PushStopped:
            return report
        session = Session(
            store,
            workspace.client(transport),
            ledger,
            policy=policy,
            limits=workspace.limits,
            progress=progress,
            stop=stop,
            retry_rejected=retry_rejected,
        )
        progress.started(runs=len(todo), points=_points_to_send(ledger.state, chosen, todo))
        with contextlib.closing(session):
            if todo:
                _run_workers(session, todo, jobs)
        _push_registry(session, models(ledger.state, retry=retry_rejected))
    finally:
        transport.close()
    if session.fatal is not None:
        raise session.fatal
    counts = session.counts
    names = ("runs", "created", "params", "tags", "points", "collapsed", "found", "artifacts", "artifact_bytes")
    fields: dict[str, Any] = {name: counts[name] for name in (*names, "models", "model_versions")}
    return replace(
        report,
        **fields,
        bytes=transport.traffic.body_bytes,
        requests=transport.traffic.requests,
        rejected=_rejected(ledger.state, chosen),
        problems=(*report.problems, *session.problems),
    )


def _push_registry(session: Session, todo: list[ModelTodo]) -> None:
    if session.stop.is_set() or not todo:
        return
    try:
        RegistryPush(session).push(todo)
    except PushStopped:
        return
    except (RemoteError, LedgerError) as error:
        session.fail(error)


def _points_to_send(state: LedgerState, heads: Mapping[str, RunHead], todo: list[str]) -> int:
    fresh = RunEntry()
    return sum(max(0, heads[i].points - sum(state.runs.get(i, fresh).points.values())) for i in todo)


def _rejected(state: LedgerState, chosen: Mapping[str, RunHead]) -> tuple[Rejected, ...]:
    return tuple(
        sorted(
            (r for r in state.rejected.values() if r.run_id in chosen or not r.run_id), key=lambda r: (r.run_id, r.kind)
        )
    )


def _run_workers(session: Session, todo: list[str], jobs: int) -> None:
    identities = Identities(session)
    troubled = Troubles()
    with ThreadPoolExecutor(min(jobs, len(todo)), thread_name_prefix="mltrack-sync") as pool:
        try:
            for future in [pool.submit(_push_run, session, identities, run_id, troubled) for run_id in todo]:
                future.result()
        except BaseException:  # an interrupt: let the workers finish what they have in hand, and no more
            session.stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


class Troubles:
    """Counts runs, one after the other, that the remote gave no answer for."""

    def __init__(self) -> None:
        self._in_a_row = 0
        self._lock = threading.Lock()

    def add(self) -> bool:
        """One more; whether that is enough."""
        with self._lock:
            self._in_a_row += 1
            return self._in_a_row >= TROUBLED_RUNS_MAX

    def clear(self) -> None:
        """A run got through."""
        with self._lock:
            self._in_a_row = 0


def _push_run(session: Session, identities: Identities, run_id: str, troubles: Troubles) -> None:
    """One run, with each error taken to where it belongs: this run's, or the end of the pass."""
    if session.stop.is_set():
        return
    try:
        run = session.store.run(run_id)
        RunPush(session, identities, run).push()
        session.count(runs=1)
        troubles.clear()
    except PushStopped:
        return
    except RemoteRefusedError as error:
        _set_run_aside(session, run_id, error)
    except RemoteUnavailableError as error:
        if (error.status is None and not error.in_doubt) or troubles.add():
            session.fail(error)
        else:
            session.trouble(run_id, str(error))
    except (RemoteAuthError, NotMlflowError, LedgerError) as error:
        session.fail(error)
    except NotFoundError:
        return  # gone since the heads were read, or never begun
    except (StoreError, MltrackError) as error:
        session.trouble(run_id, str(error))
    except OSError as error:
        session.trouble(run_id, f"{error.filename or 'a file'} can't be read: {error.strerror}")
    except BaseException as error:
        session.fail(error)
        raise
    session.progress.run_done()


def _set_run_aside(session: Session, run_id: str, error: RemoteRefusedError) -> None:
    try:
        session.ledger.rejected(session.rejection(run_id, Refusal("run", "", error.words)))
        session.ledger.settled(session.store.run(run_id).head())
    except LedgerError as worse:
        session.fail(worse)
