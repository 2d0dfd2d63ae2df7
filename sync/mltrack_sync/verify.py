"""What the remote has, compared with what the store has: run by run, point by point, file by file."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from mltrack.entities import DELETED
from mltrack.errors import MltrackError, NotFoundError, StoreError, UsageError
from mltrack_sync.errors import NotMlflowError, RemoteAuthError, RemoteRefusedError, RemoteUnavailableError
from mltrack_sync.histories import Histories
from mltrack_sync.ledger import LedgerState, RunEntry
from mltrack_sync.passes import JOBS, read_ledger
from mltrack_sync.references import texts_there
from mltrack_sync.retry import RetryPolicy
from mltrack_sync.selection import Selection
from mltrack_sync.transport import Transport
from mltrack_sync.verify_run import Counts, Difference, RunVerify

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from mltrack.reading import Store
    from mltrack_sync.client import MlflowClient
    from mltrack_sync.remotes import Remote

__all__ = ["Difference", "VerifyReport", "verify"]


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was compared, and each thing that is not the same on both sides.

    ``runs`` counts the runs compared, ``points`` those read back from the remote and found equal (0 with ``quick``),
    ``artifact_bytes`` those downloaded and hashed. A run without an entry in ``differences`` is there whole.
    """

    remote: str
    url: str
    quick: bool = False
    runs: int = 0
    params: int = 0
    tags: int = 0
    metrics: int = 0
    points: int = 0
    artifacts: int = 0
    artifact_bytes: int = 0
    seconds: float = 0.0
    differences: tuple[Difference, ...] = ()

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    def differing(self) -> set[str]:
        """The ids of runs in which something differs."""
        return {difference.run_id for difference in self.differences}


def verify(
    store: Store,
    remote: Remote,
    *,
    selection: Selection | None = None,
    quick: bool = False,
    jobs: int = JOBS,
    policy: RetryPolicy | None = None,
    http: httpx.BaseTransport | None = None,
    on_run: Callable[[str], None] = lambda run_id: None,
) -> VerifyReport:
    """Compare the selected runs with the remote; nothing is changed on either side.

    In full every point is read back and every file downloaded and hashed; ``quick`` compares the latest point of each
    metric, and sizes of files as the remote lists them. Of a run being recorded, what is not pushed yet differs.
    ``on_run`` is called with the id of each run when it has been compared.

    Raises:
        RemoteError: the remote can't be reached, is no MLflow server, or does not let us in.
        NotFoundError, FilterError, UsageError: the selection is no good.
        StoreError, OSError: the ledger can't be read.
    """
    if jobs < 1:
        raise UsageError(f"{jobs} jobs can do nothing", hint="give --jobs 1 or more")
    started = time.monotonic()
    chosen = sorted((selection or Selection()).heads(store))
    state = read_ledger(store, remote)
    workspace = remote.workspace()
    transport = Transport(workspace, policy=policy or RetryPolicy(), connections_max=jobs, http=http)
    report = VerifyReport(remote.name, remote.url, quick=quick)
    if not chosen:
        return report
    client = workspace.client(transport)
    rows = workspace.limits.history_page_rows
    histories = Histories(client, page_rows=rows, connections=jobs, runs=len(chosen))
    check = _Verify(store, client, state, histories, quick=quick)
    try:
        transport.knock()
        with ThreadPoolExecutor(min(jobs, len(chosen)), thread_name_prefix="mltrack-verify") as pool:
            try:
                for run_id, found in zip(chosen, pool.map(check.run, chosen), strict=True):
                    report = found.added_to(report) if found is not None else report
                    on_run(run_id)
            except BaseException:
                check.stop.set()
                raise
    finally:
        histories.close()
        transport.close()
    return replace(report, seconds=time.monotonic() - started)


@dataclass(frozen=True, slots=True)
class _Found:
    """What came of one run."""

    counts: Counts
    differences: tuple[Difference, ...]

    def added_to(self, report: VerifyReport) -> VerifyReport:
        counts = self.counts
        return replace(
            report,
            runs=report.runs + 1,
            params=report.params + counts.params,
            tags=report.tags + counts.tags,
            metrics=report.metrics + counts.metrics,
            points=report.points + counts.points,
            artifacts=report.artifacts + counts.artifacts,
            artifact_bytes=report.artifact_bytes + counts.artifact_bytes,
            differences=(*report.differences, *self.differences),
        )


class _Verify:
    """What the workers of one comparison share."""

    def __init__(
        self, store: Store, client: MlflowClient, state: LedgerState, histories: Histories, *, quick: bool
    ) -> None:
        self.stop = threading.Event()
        self._store = store
        self._client = client
        self._state = state
        self._quick = quick
        self._histories = histories
        self._names: dict[str, str] = {}  # of experiments over there, by id
        self._ids: dict[str, str | None] = {}  # and the other way round
        self._lock = threading.Lock()

    def run(self, run_id: str) -> _Found | None:
        """One run; what keeps it from being compared is a difference too. None: it went away meanwhile."""
        try:
            return None if self.stop.is_set() else self._compared(run_id)
        finally:
            self._histories.run_done()

    def _compared(self, run_id: str) -> _Found | None:
        check = RunVerify(
            self._client,
            run_id,
            quick=self._quick,
            histories=self._histories,
            tags_there=partial(texts_there, self._state),
        )
        try:
            run = self._store.run(run_id)
            entry = self._state.runs.get(run_id) or RunEntry()
            places = self._places(run.info.experiment_id, run.info.experiment_name, entry)
            found = [there for place in places for there in self._client.find_runs(place, run_id)]
            here = run.info
            remote = check.one_of(found, prefer=entry.remote_id, deleted=here.lifecycle_stage == DELETED)
            if remote is not None:
                check.compare(
                    run,
                    self._client.get_run(remote.run_id),
                    experiment_there=self._name_of(remote.experiment_id),
                    parent_there=self._parent(here.parent_run_id),
                )
        except NotFoundError:
            return None
        except RemoteRefusedError as error:
            check.differs("run", "is there", f"the remote says: {error.words}")
        except (NotMlflowError, RemoteAuthError, RemoteUnavailableError):
            raise
        except (StoreError, MltrackError) as error:
            check.differs("run", f"can't be read: {error}", "not compared")
        except OSError as error:
            check.differs("run", f"can't be read: {error.strerror or error}", "not compared")
        mine = [item for item in self._state.rejected.values() if item.run_id == run_id]
        reasons = {("metric" if item.kind == "point" else item.kind, item.key): item.reason for item in mine}
        return _Found(check.counts, tuple(difference.explained(reasons) for difference in check.differences))

    def _places(self, local_id: str, name: str, entry: RunEntry) -> list[str]:
        """The ids of experiments over there in which the run may be."""
        known = self._state.experiments.get(local_id)
        places = [entry.experiment_id, known[0] if known is not None else "", self._id_of(name) or ""]
        return list(dict.fromkeys(place for place in places if place))

    def _id_of(self, name: str) -> str | None:
        with self._lock:
            if name not in self._ids:
                found = self._client.experiment_by_name(name)
                self._ids[name] = found.experiment_id if found is not None else None
            return self._ids[name]

    def _name_of(self, experiment_id: str) -> str:
        with self._lock:
            if experiment_id not in self._names:
                self._names[experiment_id] = self._client.experiment_by_id(experiment_id).name
            return self._names[experiment_id]

    def _parent(self, run_id: str | None) -> str | None:
        """The id that the parent has over there; its own id where it is not there."""
        entry = self._state.runs.get(run_id) if run_id is not None else None
        return entry.remote_id if entry is not None and entry.remote_id else run_id
