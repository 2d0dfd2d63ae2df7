"""What the workers of one sync cycle share: client, ledger, current limits, counts, the stop event."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from mltrack.environment import PARENT_TAG
from mltrack_sync.mlflow.api.capabilities import Features
from mltrack_sync.mlflow.cycle import CycleState
from mltrack_sync.mlflow.files.attempts import UploadAttempts
from mltrack_sync.mlflow.files.multipart import Multipart
from mltrack_sync.mlflow.files.upload import Uploads
from mltrack_sync.mlflow.plan.history import HistorySetting
from mltrack_sync.mlflow.plan.origin import Origin
from mltrack_sync.progress import FileMeter
from mltrack_sync.report import Rejected

if TYPE_CHECKING:
    import threading

    from mltrack.store import Store
    from mltrack_sync.http.retry import RetryPolicy
    from mltrack_sync.ledger.ledger import Ledger
    from mltrack_sync.limits import Limits
    from mltrack_sync.mlflow.api.client import MlflowClient
    from mltrack_sync.mlflow.plan.batches import Refusal
    from mltrack_sync.progress import Progress

__all__ = ["FILES_AT_ONCE", "Session"]

CHILDREN_PAGE = 1_000
FILES_AT_ONCE = 4
"""How many files are sent at a time, in parallel with the points."""


class Session(CycleState):
    """One sync cycle in progress. Safe to use from many threads."""

    def __init__(
        self,
        store: Store,
        client: MlflowClient,
        ledger: Ledger,
        *,
        policy: RetryPolicy,
        limits: Limits,
        progress: Progress,
        stop: threading.Event,
        retry_rejected: bool,
        history: HistorySetting | None = None,
        again: frozenset[tuple[str, str, str]] = frozenset(),
    ) -> None:
        """``again`` are rejected things (run, kind, key) to retry; ``retry_rejected``: retry all."""
        super().__init__(stop)
        self.store = store
        self.client = client
        self.ledger = ledger
        self.origin = Origin(client.url)
        self.policy = policy
        self.progress = progress
        self.retry_rejected = retry_rejected
        self.history = history or HistorySetting()
        self.again = again
        self.run_names: list[str] = []
        """Of the first few runs that were pushed."""

        self.repaired: frozenset[str] = frozenset()
        """Runs that a comparison found different: the server is asked whether it still has them."""

        self.features = Features(limits.unsupported)
        self._limits = limits
        self.files = ThreadPoolExecutor(FILES_AT_ONCE, thread_name_prefix="mltrack-files")
        log = ledger.uploads()
        self.uploads = Uploads(
            Multipart(client, log, policy=policy, pool=self.files, check=self.check),
            UploadAttempts(log, policy=policy, check=self.check, force=retry_rejected),
        )
        self.reopened: set[str] = set()
        """Runs of which facts are to be sent again in this cycle."""
        self.reader = ThreadPoolExecutor(1, thread_name_prefix="mltrack-reader")
        """Reads points for all workers: a block needs much memory while it is read, and each thread would keep some."""

    def children(self, run_id: str) -> list[str]:
        """The runs that name a run as their parent; they are pushed once more in this cycle."""
        found: list[str] = []
        token = None
        while True:
            page = self.store.search_runs(None, f"tags.`{PARENT_TAG}` = '{run_id}'", "ALL", CHILDREN_PAGE, None, token)
            found += [record.run_id for record in page]
            token = page.token
            if token is None:
                break
        with self._lock:
            self.reopened.update(found)
        return found

    def close(self) -> None:
        """Stop sending files, after finishing those that have begun."""
        self.files.shutdown(wait=True, cancel_futures=True)
        self.reader.shutdown(wait=True, cancel_futures=True)
        self.uploads.parts.close()

    def meter(self, size: int) -> FileMeter:
        """A meter for the progress of a file of ``size`` bytes."""
        return FileMeter(self.progress, size)

    def limits(self) -> Limits:
        """The remote's limits, as far as they are known by now."""
        return self._limits

    def shrink_limits(self, tried: Limits) -> None:
        """Lower the limits after a request within ``tried`` was too large; many workers may find that out at once."""
        with self._lock:
            if self._limits is tried:
                self._limits = tried.shrunk()

    def count(self, **counts: int) -> None:
        """Add to the counts of the report, and to the progress."""
        self.add_counts(counts)
        self.progress.advanced(points=counts.get("points", 0) + counts.get("found", 0), body=counts.get("body", 0))

    def is_to_be_tried(self, item: Refusal, run_id: str = "") -> bool:
        """Whether it is not rejected, or is to be retried in this cycle."""
        key = (run_id, item.kind, item.key)
        return self.retry_rejected or key in self.again or self.ledger.rejection(*key) is None

    def reject(self, item: Refusal, run_id: str = "") -> None:
        """Note what the remote does not take, if that is not known already."""
        new = Rejected(run_id, item.kind, item.key, item.reason, item.points)
        if self.ledger.rejection(run_id, item.kind, item.key) != new:
            self.ledger.rejected(new)

    def got_through(self, item: Refusal, run_id: str = "") -> None:
        """Note that the remote has it: a former rejection no longer counts."""
        known = self.ledger.rejection(run_id, item.kind, item.key)
        if known is not None:
            self.ledger.cleared(known)

    def rejection(self, run_id: str, refusal: Refusal) -> Rejected:
        """The refusal as it goes to the ledger, including points refused before."""
        known = self.ledger.rejection(run_id, refusal.kind, refusal.key)
        points = refusal.points + (known.points if known is not None else 0)
        return Rejected(run_id, refusal.kind, refusal.key, refusal.reason, points)
