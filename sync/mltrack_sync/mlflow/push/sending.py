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
from mltrack_sync.mlflow.api.capabilities import LOGGED_MODELS
from mltrack_sync.mlflow.plan.batches import Refusal
from mltrack_sync.mlflow.plan.further import LOGGED_MODEL, lacking_lines
from mltrack_sync.mlflow.push.fallback import ModelInRun, Places
from mltrack_sync.mlflow.push.models import LoggedModelPush
from mltrack_sync.mlflow.push.registry import RegistryPush, is_prompt
from mltrack_sync.mlflow.push.run_ids import Identities
from mltrack_sync.mlflow.push.run_links import InputsPush
from mltrack_sync.mlflow.push.runs import RunPush
from mltrack_sync.mlflow.push.session import FILES_AT_ONCE, Session
from mltrack_sync.mlflow.push.traces import TracesPush
from mltrack_sync.mlflow.push.workers import WorkerPool
from mltrack_sync.progress import NoProgress

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mltrack.entities import RunHead
    from mltrack_sync.ledger.ledger import Ledger, LedgerState
    from mltrack_sync.mlflow.plan.further import Further
    from mltrack_sync.mlflow.push.push import Settings, Todo
    from mltrack_sync.mlflow.push.registry import ModelTodo
    from mltrack_sync.remotes.config import Remote
    from mltrack_sync.report import PushReport

__all__ = ["send"]


def send(todo: Todo, remote: Remote, ledger: Ledger, report: PushReport, settings: Settings) -> PushReport:
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
            todo.store,
            workspace.client(transport),
            ledger,
            policy=policy,
            limits=workspace.limits,
            progress=progress,
            stop=settings.stop,
            retry_rejected=todo.retry,
            again=todo.again,
        )
        state, jobs = ledger.state, settings.jobs
        runs = todo.runs(state)
        progress.started(runs=len(runs), points=_points_to_send(state, todo.heads, runs))
        with contextlib.closing(session):
            identities = Identities(session)
            prompts = [model for model in todo.models(state) if is_prompt(model.model)]
            _push_registry(session, identities, prompts)  # others name them
            WorkerPool(session, "experiment", jobs).run(
                (key, partial(_settle_experiment, identities, key)) for key in todo.experiments(state)
            )
            _push_runs(session, identities, runs, jobs)
            _push_models(session, identities, todo.further(state), jobs)
            _push_registry(session, identities, todo.models(state))
            _push_traces(session, identities, todo.further(state), jobs)
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
        lacking=lacking_lines(todo.further(state), state, session.features.lacking),
        bytes=transport.traffic.body_bytes,
        requests=transport.traffic.requests,
        problems=(*report.problems, *session.problems),
    )


def _push_models(session: Session, identities: Identities, todo: Further, jobs: int) -> None:
    """Logged models; before them the ties of runs that waited, so that each is made for who needs it first.

    Where the remote has none, their files go to the runs that made them.
    """
    left = todo.without(session.features.lacking)
    WorkerPool(session, "run", jobs).run(
        (run_id, partial(_tie_run, session, identities, run_id)) for run_id in left.ties
    )
    pieces = ((model_id, LoggedModelPush(session, identities, model_id).push) for model_id in left.models)
    WorkerPool(session, LOGGED_MODEL, jobs).run(pieces)
    files = todo.files if LOGGED_MODELS in session.features.lacking else ()
    if files and not session.stop.is_set():
        places = Places(session)
        pieces = ((model_id, ModelInRun(session, places, model_id).push) for model_id in files)
        WorkerPool(session, LOGGED_MODEL, jobs).run(pieces)


def _settle_experiment(identities: Identities, experiment_id: str) -> None:
    """Have its tags there; that it is refused is told with the runs in it."""
    with contextlib.suppress(RemoteRefusedError):
        identities.experiment_by_id(experiment_id)


def _tie_run(session: Session, identities: Identities, run_id: str) -> None:
    def refuse(refusal: Refusal) -> None:
        session.ledger.rejected(session.rejection(run_id, refusal))

    InputsPush(session, identities, session.store.run(run_id), refuse).push()


def _push_traces(session: Session, identities: Identities, todo: Further, jobs: int) -> None:
    traces = todo.without(session.features.lacking).traces
    if session.stop.is_set() or not (traces.traces or traces.whole):
        return
    try:
        TracesPush(session, identities).push(traces, jobs)
    except LedgerError as error:
        session.fail(error)


def _push_registry(session: Session, identities: Identities, todo: list[ModelTodo]) -> None:
    if session.stop.is_set() or not todo:
        return
    try:
        RegistryPush(session, identities).push(todo)
    except PushStopped:
        return
    except (RemoteError, LedgerError) as error:
        session.fail(error)


def _points_to_send(state: LedgerState, heads: Mapping[str, RunHead], todo: list[str]) -> int:
    fresh = RunEntry()
    return sum(max(0, heads[i].points - sum(state.runs.get(i, fresh).points.values())) for i in todo)


def _push_runs(session: Session, identities: Identities, run_ids: list[str], jobs: int) -> None:
    def push_run(run_id: str) -> None:
        RunPush(session, identities, session.store.run(run_id)).push()
        session.count(runs=1)

    def reject(run_id: str, words: str) -> None:
        session.set_aside(Refusal("run", "", words), run_id)
        head = session.store.run(run_id).head()
        if not session.ledger.run(run_id).is_settled_at(head):
            session.ledger.settled(head)

    pool = WorkerPool(session, "run", jobs, reject=reject, reject_forbidden=True, on_end=session.progress.run_done)
    pool.run((run_id, partial(push_run, run_id)) for run_id in run_ids)
