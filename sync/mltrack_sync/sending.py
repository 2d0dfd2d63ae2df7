"""What a pass does where there is something to send: connects, has workers push the runs, then the registry.

Apart from passes.py, so that a pass with nothing to do does not pay for importing what speaks to remotes.
"""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mltrack.errors import MltrackError, NotFoundError, RemoteError, StoreError
from mltrack_sync.errors import (
    LedgerError,
    NotMlflowError,
    PushStopped,
    RemoteAuthError,
    RemoteRefusedError,
    RemoteUnavailableError,
)
from mltrack_sync.identity import Identities
from mltrack_sync.ledger import RunEntry
from mltrack_sync.pace import interruptible
from mltrack_sync.plan import Refusal
from mltrack_sync.progress import NoProgress
from mltrack_sync.registry_push import RegistryPush
from mltrack_sync.retry import RetryPolicy
from mltrack_sync.run_push import RunPush
from mltrack_sync.session import FILES_AT_ONCE, Session
from mltrack_sync.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import httpx

    from mltrack.entities import RunHead
    from mltrack.reading import Store
    from mltrack_sync.ledger import Ledger, LedgerState
    from mltrack_sync.pace import Pace
    from mltrack_sync.progress import Progress
    from mltrack_sync.registry_push import ModelTodo
    from mltrack_sync.remotes import Remote
    from mltrack_sync.report import PushReport

__all__ = ["send"]

TROUBLED_RUNS_MAX = 3
"""So many runs that the remote did not answer for, one after the other, end the pass."""


def send(
    store: Store,
    remote: Remote,
    ledger: Ledger,
    report: PushReport,
    heads: Mapping[str, RunHead],
    todo: list[str],
    models: Callable[[], list[ModelTodo]],
    *,
    jobs: int,
    retry_rejected: bool,
    progress: Progress | None,
    policy: RetryPolicy | None,
    http: httpx.BaseTransport | None,
    pace: Pace | None,
    stop: threading.Event,
) -> PushReport:
    """Push the runs ``todo``, then what ``models()`` finds; returns ``report`` with what was done.

    Raises:
        RemoteError: as push.
    """
    workspace = remote.workspace()
    policy, progress = policy or RetryPolicy(), progress or NoProgress()
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
        progress.started(runs=len(todo), points=_points_to_send(ledger.state, heads, todo))
        with contextlib.closing(session):
            if todo:
                _run_workers(session, todo, jobs)
        _push_registry(session, models())
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
