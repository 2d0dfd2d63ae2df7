"""What a sync cycle does if something is pending: it connects, has workers push the runs, then the registry.

It is separate from push.py, so that a cycle with nothing to do need not import the clients of remotes.
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
from mltrack_sync.http.transport import Transport
from mltrack_sync.ledger.ledger import RunEntry
from mltrack_sync.mlflow.api.capabilities import LOGGED_MODELS, TRACES
from mltrack_sync.mlflow.plan.batches import Refusal
from mltrack_sync.mlflow.plan.kinds import EXPERIMENT, LOGGED_MODEL
from mltrack_sync.mlflow.plan.pending import Pending, rejected_by_run, unsupported_lines
from mltrack_sync.mlflow.plan.pending_registry import is_prompt
from mltrack_sync.mlflow.plan.pending_run import find_pending_links
from mltrack_sync.mlflow.plan.sampling import points_max
from mltrack_sync.mlflow.push.fallback import ModelInRun, Places
from mltrack_sync.mlflow.push.models import LoggedModelPush
from mltrack_sync.mlflow.push.registry import RegistryPush
from mltrack_sync.mlflow.push.run_ids import Identities
from mltrack_sync.mlflow.push.run_links import InputsPush
from mltrack_sync.mlflow.push.runs import RunPush
from mltrack_sync.mlflow.push.session import FILES_AT_ONCE, Session
from mltrack_sync.mlflow.push.tables import TablesPush
from mltrack_sync.mlflow.push.traces import TracesPush
from mltrack_sync.mlflow.workers import JobRunner, WorkerPool
from mltrack_sync.report import RUN_NAMES_MAX

if TYPE_CHECKING:
    from collections.abc import Collection

    from mltrack_sync.ledger.view import LedgerView
    from mltrack_sync.mlflow.plan.pending import Scope
    from mltrack_sync.mlflow.plan.pending_registry import PendingModel
    from mltrack_sync.mlflow.provider import Workspace
    from mltrack_sync.remotes.kind import PushWork
    from mltrack_sync.remotes.options import PushOptions
    from mltrack_sync.report import PushReport

__all__ = ["send"]


def send(
    work: PushWork, scope: Scope, workspace: Workspace, report: PushReport, repaired: Collection[str] = ()
) -> PushReport:
    """Push runs, then logged models, the registry and traces; returns ``report`` with what was done.

    Args:
        work: The cycle that this is part of.
        scope: The part of the store whose pending things are sent.
        workspace: The server.
        report: The cycle's report so far.
        repaired: Runs that are looked for on the server first, as they may be gone, or deleted; and the units of tables
            that are compared with it.

    Raises:
        RemoteError: see mltrack_sync.errors.
    """
    options = work.options
    with contextlib.ExitStack() as held:
        try:
            transport = _transport(workspace, options)
            held.callback(transport.close)
            transport.check_connection()
        except PushStopped:
            return report
        session = held.enter_context(contextlib.closing(_session(work, scope, workspace, transport)))
        session.repaired = frozenset(repaired)
        _push_all(session, scope, options.jobs)
    if session.fatal is not None:
        raise session.fatal
    return _reported(report, session, scope)


def _transport(workspace: Workspace, options: PushOptions) -> Transport:
    return Transport(
        workspace,
        policy=options.stoppable_policy,
        connections_max=options.jobs + FILES_AT_ONCE,
        http=options.http,
        pace=options.stoppable_pace,
    )


def _session(work: PushWork, scope: Scope, workspace: Workspace, transport: Transport) -> Session:
    options = work.options
    return Session(
        scope.store,
        workspace.client(transport),
        work.ledger,
        policy=options.stoppable_policy,
        limits=workspace.limits,
        progress=options.progress,
        stop=options.stop,
        retry_rejected=scope.retry,
        history=scope.history,
        again=scope.again,
    )


def _push_all(session: Session, scope: Scope, jobs: int) -> None:
    """Each kind of thing after those that it refers to; what is pending is determined again for each."""
    state = session.ledger.state
    runs = scope.runs(state)
    session.progress.started(runs=len(runs), points=_points_to_send(state, scope, runs))
    identities = Identities(session)
    _push_registry(session, identities, [model for model in scope.registry(state) if is_prompt(model.model)])
    WorkerPool(JobRunner(session, "experiment"), jobs).run(
        (key, partial(_settle_experiment, session, identities, key)) for key in scope.experiments(state)
    )
    _push_runs(session, identities, runs, jobs)
    _push_runs(session, identities, sorted(session.reopened & scope.heads.keys()), jobs)
    _push_links(session, identities, scope, jobs)
    _push_models(session, identities, scope, jobs)
    _push_registry(session, identities, scope.registry(state))
    _push_traces(session, identities, scope, jobs)
    _push_tables(session, identities, scope)


def _reported(report: PushReport, session: Session, scope: Scope) -> PushReport:
    counts, state = session.counts, session.ledger.state
    traffic = session.client.transport.traffic
    names = (
        "experiments",
        "runs",
        "created",
        "params",
        "tags",
        "points",
        "collapsed",
        "found",
        "artifacts",
        "artifact_bytes",
    )
    others = ("models", "model_versions", "datasets", "logged_models", "traces", "evaluation_items")
    fields: dict[str, Any] = {name: counts[name] for name in (*names, *others)}
    return replace(
        report,
        **fields,
        unsupported=unsupported_lines(_waiting(scope, state), state, session.features.unsupported),
        bytes=traffic.body_bytes,
        requests=traffic.requests,
        problems=(*report.problems, *session.problems),
        run_names=tuple(session.run_names[:RUN_NAMES_MAX]),
    )


def _push_links(session: Session, identities: Identities, scope: Scope, jobs: int) -> None:
    """Links of runs that waited for a feature: pushed before logged models, which they create for their runs."""
    unsupported = session.features.unsupported
    links = scope.links(session.ledger.state).items()
    waited = [run_id for run_id, needs in links if not unsupported.issuperset(needs)]
    WorkerPool(JobRunner(session, "run"), jobs).run(
        (run_id, partial(_link_run, session, identities, run_id)) for run_id in waited
    )


def _push_models(session: Session, identities: Identities, scope: Scope, jobs: int) -> None:
    """Logged models. Where the remote does not support them, their files go to the runs that made them."""
    pending = scope.logged_models(session.ledger.state)
    ids = () if LOGGED_MODELS in session.features.unsupported else pending.ids
    pieces = ((model_id, LoggedModelPush(session, identities, model_id).push) for model_id in ids)
    WorkerPool(JobRunner(session, LOGGED_MODEL), jobs).run(pieces)
    files = pending.with_files if LOGGED_MODELS in session.features.unsupported else ()
    if files and not session.stop.is_set():
        places = Places(session)
        pieces = ((model_id, ModelInRun(session, places, model_id).push) for model_id in files)
        WorkerPool(JobRunner(session, LOGGED_MODEL), jobs).run(pieces)


def _settle_experiment(session: Session, identities: Identities, experiment_id: str) -> None:
    """Create an experiment that has no runs, or send its tags."""
    is_new = experiment_id not in session.ledger.state.experiments
    item = Refusal(EXPERIMENT, experiment_id, "")
    try:
        identities.experiment_by_id(experiment_id)
    except RemoteRefusedError as error:
        if is_new:  # else that is reported with the runs in it
            session.reject(item._replace(reason=error.words))
        return
    session.count(experiments=int(is_new))
    session.got_through(item)


def _link_run(session: Session, identities: Identities, run_id: str) -> None:
    run, entry = session.store.run(run_id), session.ledger.run(run_id)
    rejected = [] if session.retry_rejected else rejected_by_run(session.ledger.state)[run_id]

    def refuse(refusal: Refusal) -> None:
        session.ledger.rejected(session.rejection(run_id, refusal))

    InputsPush(session, identities, run, refuse).push(find_pending_links(run, entry, rejected))


def _push_traces(session: Session, identities: Identities, scope: Scope, jobs: int) -> None:
    if session.stop.is_set() or TRACES in session.features.unsupported:
        return
    traces = scope.traces(session.ledger.state)
    if not (traces.traces or traces.whole):
        return
    try:
        TracesPush(session, identities).push(traces, jobs)
    except LedgerError as error:
        session.fail(error)


def _push_tables(session: Session, identities: Identities, scope: Scope) -> None:
    """Evaluation datasets after the traces that their records name, scorers and label schemas."""
    if session.stop.is_set():
        return
    pending = scope.tables(session.ledger.state)
    if pending.unreadable:
        session.problem(pending.unreadable)
    TablesPush(session, identities).push(pending)


def _push_registry(session: Session, identities: Identities, todo: list[PendingModel]) -> None:
    if session.stop.is_set() or not todo:
        return
    try:
        RegistryPush(session, identities).push(todo)
    except PushStopped:
        return
    except (RemoteError, LedgerError) as error:
        session.fail(error)


def _waiting(scope: Scope, state: LedgerView) -> Pending:
    """What may wait for features that the remote lacks."""
    return Pending(
        links=scope.links(state),
        logged_models=scope.logged_models(state),
        traces=scope.traces(state),
        tables=scope.tables(state),
    )


def _points_to_send(state: LedgerView, scope: Scope, todo: Collection[str]) -> int:
    """About how many: of a sample, only what a single metric would give is known without reading the points."""
    found, fresh = 0, RunEntry()
    for run_id in todo:
        entry = state.runs.get(run_id, fresh)
        history, _ = scope.history.of({}, entry)
        left = max(0, scope.heads[run_id].points - sum(entry.points.values()))
        found += min(left, points_max(history, left)) if history else left
    return found


def _push_runs(session: Session, identities: Identities, run_ids: Collection[str], jobs: int) -> None:
    def push_run(run_id: str) -> None:
        RunPush(session, identities, session.store.run(run_id)).push()

    def reject(run_id: str, words: str) -> None:
        session.reject(Refusal("run", "", words), run_id)
        head = session.store.run(run_id).head()
        if not session.ledger.run(run_id).is_settled_at(head):
            session.ledger.settled(head)

    done = session.progress.run_done
    runner = JobRunner(session, "run", reject=reject, reject_forbidden=True, on_end=done)
    WorkerPool(runner, jobs).run((run_id, partial(push_run, run_id)) for run_id in run_ids)
