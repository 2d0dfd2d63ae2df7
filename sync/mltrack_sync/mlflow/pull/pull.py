"""One pull from a server: what is selected there and new is brought into the store."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from mltrack_sync.errors import PushStopped
from mltrack_sync.http.transport import Transport
from mltrack_sync.mlflow.api.capabilities import TABLE_FEATURES
from mltrack_sync.mlflow.plan.kinds import RUN
from mltrack_sync.mlflow.pull.experiments import Experiments
from mltrack_sync.mlflow.pull.facts import fingerprint
from mltrack_sync.mlflow.pull.gone import GoneThings
from mltrack_sync.mlflow.pull.left_behind import count_left_behind, left_lines
from mltrack_sync.mlflow.pull.others import OthersPull
from mltrack_sync.mlflow.pull.run_ids import RunIds
from mltrack_sync.mlflow.pull.run_links import named_models
from mltrack_sync.mlflow.pull.runs import RunPull, is_unchanged
from mltrack_sync.mlflow.pull.selection import RemoteSelection
from mltrack_sync.mlflow.pull.session import PullSession
from mltrack_sync.mlflow.workers import JobRunner, WorkerPool
from mltrack_sync.report import PullReport

if TYPE_CHECKING:
    from collections.abc import Callable

    from mltrack_sync.limits import Limits
    from mltrack_sync.mlflow.api.client import RemoteRun
    from mltrack_sync.mlflow.provider import Workspace
    from mltrack_sync.remotes.kind import PullWork

__all__ = ["pull_selected"]

COUNTS = (
    "runs",
    "created",
    "points",
    "artifacts",
    "artifact_bytes",
    "skipped_artifacts",
    "experiments",
    "models",
    "model_versions",
    "logged_models",
    "traces",
    "evaluation_items",
)


def pull_selected(work: PullWork, limits: Limits, open_workspace: Callable[[], Workspace]) -> PullReport:
    """Bring what is selected and new into the store.

    Args:
        work: The pull.
        limits: What the server gives at once.
        open_workspace: Gives the server.

    Raises:
        RemoteError: see mltrack_sync.errors.
        NotFoundError, FilterError: the selection names what the server does not have, or is not valid.
    """
    options, remote = work.options, work.remote
    report = PullReport(remote.name, remote.url, dry_run=options.dry_run)
    workspace = open_workspace()
    transport = Transport(
        workspace, policy=options.stoppable_policy, connections_max=2 * options.jobs, http=options.http
    )
    with contextlib.closing(transport):
        session = PullSession(work, workspace.client(transport), limits)
        with contextlib.closing(session), contextlib.suppress(PushStopped):
            transport.check_connection()
            _pull_all(session)
        if session.fatal is not None:
            raise session.fatal
    missing = sorted(session.features.unsupported - TABLE_FEATURES)  # a server without those has none to hand out
    unsupported = tuple(f"{feature}: this server does not have them" for feature in missing)
    fields: dict[str, Any] = {name: session.counts[name] for name in COUNTS}
    problems = (*work.ledger.state.damage_words(), *session.problems)
    notes, left = session.all_notes(), left_lines(session)
    return replace(report, **fields, notes=notes, problems=problems, unsupported=unsupported, left_behind=left)


def _pull_all(session: PullSession) -> None:
    selection = RemoteSelection(session)
    wanted, dry_run = session.options.selection, session.options.dry_run
    whole_experiments = not (wanted.runs or wanted.filter)
    ids, experiments = RunIds(session), Experiments(session, selection.experiments.values())
    if not dry_run:
        experiments.rename()
    others = OthersPull(session, ids, experiments, list(selection.experiments))
    others.pull_prompts()
    named: dict[str, None] = {}
    for page in selection.pages():
        _pull_page(session, ids, experiments, page)
        for run in page:
            session.selected_runs[run.run_id] = fingerprint(run)
            session.run_experiments[run.run_id] = run.experiment_id
            named |= dict.fromkeys(named_models(run))
    if whole_experiments:
        others.pull()
        experiments.bring()
    else:
        others.pull_named_models(named)
    if whole_experiments and not dry_run:
        experiments.settle_stages()
        GoneThings(session, selection.experiments).note()
    count_left_behind(session, selection)


def _pull_page(session: PullSession, ids: RunIds, experiments: Experiments, page: list[RemoteRun]) -> None:
    new = [run for run in page if _is_new(session, ids, run)]
    if session.options.dry_run:
        session.count(runs=len(new), created=sum(not _is_here(session, ids.local(run)) for run in new))
        return
    session.options.progress.started(runs=len(new), points=0)
    runner = JobRunner(session, RUN, on_end=session.options.progress.run_done)
    pool = WorkerPool(runner, session.options.jobs)
    pool.run((run.run_id, partial(_pull_run, session, ids, experiments, run)) for run in new)
    session.check()


def _pull_run(session: PullSession, ids: RunIds, experiments: Experiments, run: RemoteRun) -> None:
    RunPull(session, ids, experiments, run).pull()


def _is_new(session: PullSession, ids: RunIds, run: RemoteRun) -> bool:
    if not ids.claim(run):
        session.note(f"run {run.run_id} is left out: another run of the server is the same run here, {ids.local(run)}")
        return False
    return not is_unchanged(session, run, ids.local(run))


def _is_here(session: PullSession, run_id: str) -> bool:
    return session.store.layout.run(run_id).events.is_dir()
