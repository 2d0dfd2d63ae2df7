"""What a pass does where there is something to send: connects, has workers push the runs, then the registry.

Apart from passes.py, so that a pass with nothing to do does not pay for importing what speaks to remotes.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from mltrack.errors import RemoteError
from mltrack_sync.errors import (
    LedgerError,
    PushStopped,
    RemoteRefusedError,
)
from mltrack_sync.http.rate_limit import interruptible
from mltrack_sync.http.retry import RetryPolicy
from mltrack_sync.http.transport import Transport
from mltrack_sync.ledger.ledger import RunEntry
from mltrack_sync.mlflow.api.capabilities import LOGGED_MODELS, TRACES
from mltrack_sync.mlflow.plan.batches import Refusal
from mltrack_sync.mlflow.plan.kinds import LOGGED_MODEL
from mltrack_sync.mlflow.plan.pending import Pending, rejected_by_run, unsupported_lines
from mltrack_sync.mlflow.plan.pending_registry import is_prompt
from mltrack_sync.mlflow.plan.pending_run import find_pending_links
from mltrack_sync.mlflow.push.fallback import ModelInRun, Places
from mltrack_sync.mlflow.push.models import LoggedModelPush
from mltrack_sync.mlflow.push.registry import RegistryPush
from mltrack_sync.mlflow.push.run_ids import Identities
from mltrack_sync.mlflow.push.run_links import InputsPush
from mltrack_sync.mlflow.push.runs import RunPush
from mltrack_sync.mlflow.push.session import FILES_AT_ONCE, Session
from mltrack_sync.mlflow.push.traces import TracesPush
from mltrack_sync.mlflow.push.workers import WorkerPool
from mltrack_sync.progress import NoProgress

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from mltrack.entities import RunHead
    from mltrack_sync.ledger.ledger import Ledger, LedgerState
    from mltrack_sync.mlflow.plan.pending import Scope
    from mltrack_sync.mlflow.plan.pending_registry import PendingModel
    from mltrack_sync.mlflow.push.push import Settings
    from mltrack_sync.remotes.config import Remote
    from mltrack_sync.report import PushReport

__all__ = ["send"]


def send(scope: Scope, remote: Remote, ledger: Ledger, report: PushReport, settings: Settings) -> PushReport:
    """Push runs, then logged models, the registry and traces; returns ``report`` with what was done.

    Raises:
        RemoteError: as push.
    """
    workspace = remote.workspace()
    policy, progress = settings.policy or RetryPolicy(), settings.progress or NoProgress()
    policy = replace(policy, sleep=interruptible(policy.sleep, settings.stop))
    pace = settings.pace.until(settings.stop) if settings.pace is not None else None
    connections = settings.jobs + FILES_AT_ONCE
    try:
        transport = Transport(workspace, policy=policy, connections_max=connections, http=settings.http, pace=pace)
    except PushStopped:  # while the workspace was asked for its endpoint
        return report
    try:
        try:
            transport.knock()
        except PushStopped:
            return report
        session = Session(
            scope.store,
            workspace.client(transport),
            ledger,
            policy=policy,
            limits=workspace.limits,
            progress=progress,
            stop=settings.stop,
            retry_rejected=scope.retry,
            again=scope.again,
        )
        state, jobs = ledger.state, settings.jobs
        runs = scope.runs(state)
        progress.started(runs=len(runs), points=_points_to_send(state, scope.heads, runs))
        with contextlib.closing(session):
            identities = Identities(session)
            prompts = [model for model in scope.registry(state) if is_prompt(model.model)]
            _push_registry(session, identities, prompts)  # others name them
            WorkerPool(session, "experiment", jobs).run(
                (key, partial(_settle_experiment, identities, key)) for key in scope.experiments(state)
            )
            _push_runs(session, identities, runs, jobs)
            _push_links(session, identities, scope, jobs)
            _push_models(session, identities, scope, jobs)
            _push_registry(session, identities, scope.registry(state))
            _push_traces(session, identities, scope, jobs)
    finally:
        transport.close()
    if session.fatal is not None:
        raise session.fatal
    counts = session.counts
    names = ("runs", "created", "params", "tags", "points", "collapsed", "found", "artifacts", "artifact_bytes")
    others = ("models", "model_versions", "datasets", "logged_models", "traces")
    fields: dict[str, Any] = {name: counts[name] for name in (*names, *others)}
    return replace(
        report,
        **fields,
        lacking=unsupported_lines(_waiting(scope, state), state, session.features.lacking),
        bytes=transport.traffic.body_bytes,
        requests=transport.traffic.requests,
        problems=(*report.problems, *session.problems),
    )


def _push_links(session: Session, identities: Identities, scope: Scope, jobs: int) -> None:
    """Links of runs that waited for what the remote lacked: before logged models, which are so made for their runs."""
    lacking = session.features.lacking
    links = scope.links(session.ledger.state).items()
    waited = [run_id for run_id, needs in links if not lacking.issuperset(needs)]
    WorkerPool(session, "run", jobs).run((run_id, partial(_link_run, session, identities, run_id)) for run_id in waited)


def _push_models(session: Session, identities: Identities, scope: Scope, jobs: int) -> None:
    """Logged models. Where the remote has none, their files go to the runs that made them."""
    pending = scope.logged_models(session.ledger.state)
    ids = () if LOGGED_MODELS in session.features.lacking else pending.ids
    pieces = ((model_id, LoggedModelPush(session, identities, model_id).push) for model_id in ids)
    WorkerPool(session, LOGGED_MODEL, jobs).run(pieces)
    files = pending.with_files if LOGGED_MODELS in session.features.lacking else ()
    if files and not session.stop.is_set():
        places = Places(session)
        pieces = ((model_id, ModelInRun(session, places, model_id).push) for model_id in files)
        WorkerPool(session, LOGGED_MODEL, jobs).run(pieces)


def _settle_experiment(identities: Identities, experiment_id: str) -> None:
    """Have its tags there; that it is refused is told with the runs in it."""
    with contextlib.suppress(RemoteRefusedError):
        identities.experiment_by_id(experiment_id)


def _link_run(session: Session, identities: Identities, run_id: str) -> None:
    run, entry = session.store.run(run_id), session.ledger.run(run_id)
    rejected = [] if session.retry_rejected else rejected_by_run(session.ledger.state)[run_id]

    def refuse(refusal: Refusal) -> None:
        session.ledger.rejected(session.rejection(run_id, refusal))

    InputsPush(session, identities, run, refuse).push(find_pending_links(run, entry, rejected))


def _push_traces(session: Session, identities: Identities, scope: Scope, jobs: int) -> None:
    if session.stop.is_set() or TRACES in session.features.lacking:
        return
    traces = scope.traces(session.ledger.state)
    if not (traces.traces or traces.whole):
        return
    try:
        TracesPush(session, identities).push(traces, jobs)
    except LedgerError as error:
        session.fail(error)


def _push_registry(session: Session, identities: Identities, todo: list[PendingModel]) -> None:
    if session.stop.is_set() or not todo:
        return
    try:
        RegistryPush(session, identities).push(todo)
    except PushStopped:
        return
    except (RemoteError, LedgerError) as error:
        session.fail(error)


def _waiting(scope: Scope, state: LedgerState) -> Pending:
    """What may wait for features that the remote lacks."""
    return Pending(links=scope.links(state), logged_models=scope.logged_models(state), traces=scope.traces(state))


def _points_to_send(state: LedgerState, heads: Mapping[str, RunHead], todo: Collection[str]) -> int:
    fresh = RunEntry()
    return sum(max(0, heads[i].points - sum(state.runs.get(i, fresh).points.values())) for i in todo)


def _push_runs(session: Session, identities: Identities, run_ids: Collection[str], jobs: int) -> None:
    def push_run(run_id: str) -> None:
        RunPush(session, identities, session.store.run(run_id)).push()

    def reject(run_id: str, words: str) -> None:
        session.set_aside(Refusal("run", "", words), run_id)
        head = session.store.run(run_id).head()
        if not session.ledger.run(run_id).is_settled_at(head):
            session.ledger.settled(head)

    pool = WorkerPool(session, "run", jobs, reject=reject, reject_forbidden=True, on_end=session.progress.run_done)
    pool.run((run_id, partial(push_run, run_id)) for run_id in run_ids)
