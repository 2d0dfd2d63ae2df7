"""What the remote has, compared with what the store has: runs, models, traces; point by point, file by file."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from mltrack.errors import UsageError
from mltrack_sync.http.retry import RetryPolicy
from mltrack_sync.http.transport import Transport
from mltrack_sync.ledger.ledger import LedgerState
from mltrack_sync.mlflow.api.capabilities import Features
from mltrack_sync.mlflow.plan.pending import Pending, Scope, find_pending
from mltrack_sync.mlflow.push.push import JOBS, read_ledger
from mltrack_sync.mlflow.verify.comparison import Comparison
from mltrack_sync.mlflow.verify.findings import Difference
from mltrack_sync.mlflow.verify.histories import Histories
from mltrack_sync.mlflow.verify.report import VerifyReport
from mltrack_sync.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import httpx

    from mltrack.store import Store
    from mltrack_sync.mlflow.verify.comparison import Found, Job
    from mltrack_sync.remotes.config import Remote

__all__ = ["Difference", "VerifyReport", "verify"]


def verify(
    store: Store,
    remote: Remote,
    *,
    selection: Selection | None = None,
    quick: bool = False,
    runs_only: bool = False,
    jobs: int = JOBS,
    policy: RetryPolicy | None = None,
    http: httpx.BaseTransport | None = None,
    on_run: Callable[[str], None] = lambda run_id: None,
) -> VerifyReport:
    """Compare what is selected with the remote; nothing is changed on either side.

    What belongs to a selection is what sync takes with it: runs with their datasets and ties, the logged models and
    traces of these runs or of whole experiments, versions made of these runs; ``runs_only`` leaves out all but runs. In
    full every point and span is read back and every file downloaded and hashed; ``quick`` compares the latest point of
    each metric, sizes of files as the remote lists them, and no spans. Of what is being recorded, what is not pushed
    yet differs.

    Args:
        store: The store.
        remote: The remote.
        selection: What is compared; without it everything.
        quick: Whether to leave out what has to be read back or downloaded.
        runs_only: Whether to leave out all but runs.
        jobs: How many things are compared at a time.
        policy: When and how often requests are repeated.
        http: Takes the place of the network.
        on_run: Called with the id of each run when it has been compared.

    Raises:
        RemoteError: the remote can't be reached, is no MLflow server, or does not let us in.
        NotFoundError, FilterError, UsageError: the selection is no good.
        StoreError, OSError: the store or the ledger can't be read.
    """
    if jobs < 1:
        raise UsageError(f"{jobs} jobs can do nothing", hint="give --jobs 1 or more")
    started = time.monotonic()
    selection = selection or Selection()
    scope = Scope(store, selection, selection.heads(store))
    compared = Pending(tuple(scope.heads)) if runs_only else find_pending(scope, LedgerState())
    state = read_ledger(store, remote)
    workspace = remote.workspace()
    if not compared:
        return VerifyReport(remote.name, remote.url, quick=quick)
    with contextlib.ExitStack() as opened:
        transport = Transport(workspace, policy=policy or RetryPolicy(), connections_max=jobs, http=http)
        opened.callback(transport.close)
        client, limits = workspace.client(transport), workspace.limits
        histories = Histories(client, page_rows=limits.history_page_rows, connections=jobs, runs=len(compared.runs))
        opened.callback(histories.close)
        transport.knock()
        comparison = Comparison(store, client, state, histories, Features(limits.lacks), quick=quick)
        work = comparison.jobs(compared, Pending() if runs_only else find_pending(scope, state))
        counts, differences = _sum(_results(comparison, work, jobs), on_run)
    return VerifyReport(
        remote.name,
        remote.url,
        quick=quick,
        **counts,
        seconds=time.monotonic() - started,
        differences=tuple(differences),
        lacking=comparison.lacking(),
    )


def _results(comparison: Comparison, work: Sequence[Job], workers: int) -> Iterator[tuple[str, Found]]:
    """What comes of each job, with the id of its run, in order; an error or an interrupt ends all."""
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
