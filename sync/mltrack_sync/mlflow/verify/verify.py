"""What the remote has, compared with what the store has: runs, models, traces; point by point, file by file."""

from __future__ import annotations

import contextlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mltrack_sync.http.retry import RetryPolicy
from mltrack_sync.http.transport import Transport
from mltrack_sync.ledger.ledger import LedgerState
from mltrack_sync.ledger.view import LedgerView
from mltrack_sync.mlflow.api.capabilities import Features
from mltrack_sync.mlflow.plan.kinds import ARTIFACT, RUNS
from mltrack_sync.mlflow.plan.pending import Pending, Scope, find_pending
from mltrack_sync.mlflow.plan.pending_experiments import find_sent_experiments
from mltrack_sync.mlflow.verify.comparison import Comparison
from mltrack_sync.mlflow.verify.findings import repairable_unit
from mltrack_sync.mlflow.verify.histories import Histories
from mltrack_sync.report import Difference, VerifyReport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from mltrack.store import Store
    from mltrack_sync.mlflow.provider import Workspace
    from mltrack_sync.mlflow.verify.comparison import Found, Job
    from mltrack_sync.remotes.kind import Remote
    from mltrack_sync.remotes.options import VerifyOptions

__all__ = ["compare"]


def compare(
    store: Store, remote: Remote, state: LedgerView, workspace: Workspace, options: VerifyOptions
) -> VerifyReport:
    """Compare what is selected with a server; nothing is changed on either side.

    Args:
        store: The store.
        remote: The remote, for its name.
        state: What its ledger says.
        workspace: The server.
        options: What is compared, and how.

    Raises:
        RemoteError: the server can't be reached, is not an MLflow server, or does not let us in.
        NotFoundError, FilterError, UsageError: the selection is not valid.
        StoreError, OSError: the store can't be read.
    """
    scope = Scope(store, options.selection, options.selection.heads(store))
    if options.runs_only:
        compared, pending = Pending(tuple(scope.heads)), Pending()
    else:
        compared, pending = find_pending(scope, LedgerState()), find_pending(scope, state)
        sent = find_sent_experiments(store, state, options.selection)
        compared = replace(compared, experiments=tuple(dict.fromkeys((*compared.experiments, *sent))))
    report = VerifyReport(remote.name, remote.url, quick=options.quick)
    if not (compared or pending.tables.deleted):
        return report
    with contextlib.ExitStack() as opened:
        policy, jobs = options.policy or RetryPolicy(), options.jobs
        transport = Transport(workspace, policy=policy, connections_max=jobs, http=options.http)
        opened.callback(transport.close)
        client, limits = workspace.client(transport), workspace.limits
        histories = Histories(client, page_rows=limits.history_page_rows, connections=jobs, runs=len(compared.runs))
        opened.callback(histories.close)
        transport.check_connection()
        features, quick = Features(limits.unsupported), options.quick
        comparison = Comparison(store, client, state, histories, features, quick=quick, history=remote.history)
        work = comparison.jobs(compared, pending)
        counts, differences = _sum(_results(comparison, work, jobs), options.on_run)
    fields: dict[str, Any] = dict(counts)
    return replace(
        report,
        **fields,
        differences=tuple(differences),
        differing_units=tuple(dict.fromkeys(filter(None, map(repairable_unit, differences)))),
        differing_files=_files_of(differences),
        unsupported=comparison.unsupported(),
        partly_compared=comparison.partly_compared(),
    )


def _files_of(differences: Iterable[Difference]) -> dict[str, tuple[str, ...]]:
    """By run, the files that differ or are missing."""
    found: dict[str, dict[str, None]] = {}
    for each in differences:
        unit = repairable_unit(each)
        if each.kind == ARTIFACT and unit.startswith(RUNS):
            found.setdefault(unit, {})[each.key] = None
    return {unit: tuple(files) for unit, files in found.items()}


def _results(comparison: Comparison, work: Sequence[Job], workers: int) -> Iterator[tuple[str, Found]]:
    """The result of each job, with the id of its run, in order; an error or an interrupt ends all."""
    with ThreadPoolExecutor(min(workers, len(work)), thread_name_prefix="mltrack-verify") as pool:
        try:
            for job, found in zip(work, pool.map(lambda job: job.compare(), work), strict=True):
                yield job.run_id, found
        except BaseException:
            comparison.stop.set()
            raise


def _sum(results: Iterator[tuple[str, Found]], on_run: Callable[[str], None]) -> tuple[Counter[str], list[Difference]]:
    """The numbers and differences of all jobs."""
    counts: Counter[str] = Counter()
    differences: list[Difference] = []
    for run_id, found in results:
        counts += found.counts
        differences += found.differences
        if run_id:
            on_run(run_id)
    return counts, differences
