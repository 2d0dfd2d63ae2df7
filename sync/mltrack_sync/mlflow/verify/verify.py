"""What the remote has, compared with what the store has: runs, models, traces; point by point, file by file."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from mltrack.entities import DELETED
from mltrack.errors import MltrackError, NotFoundError, UsageError
from mltrack_sync.errors import NotMlflowError, RemoteAuthError, RemoteRefusedError, RemoteUnavailableError
from mltrack_sync.http.retry import RetryPolicy
from mltrack_sync.http.shapes import WRONG_SHAPE
from mltrack_sync.http.transport import Transport
from mltrack_sync.ledger.ledger import LedgerState, RunEntry
from mltrack_sync.mlflow.api.capabilities import DATASETS, LOGGED_MODELS, TRACES, FeatureLacking, Features
from mltrack_sync.mlflow.api.readback import ComparedClient
from mltrack_sync.mlflow.plan.kinds import LOGGED_MODEL, MODEL, TRACE
from mltrack_sync.mlflow.plan.pending import Pending, Scope, find_pending
from mltrack_sync.mlflow.push.push import JOBS, read_ledger
from mltrack_sync.mlflow.verify.findings import Difference, Findings
from mltrack_sync.mlflow.verify.histories import Histories
from mltrack_sync.mlflow.verify.models import LoggedVerify
from mltrack_sync.mlflow.verify.registry import RegistryVerify
from mltrack_sync.mlflow.verify.remote_names import There
from mltrack_sync.mlflow.verify.run_links import TiesVerify
from mltrack_sync.mlflow.verify.runs import RunVerify
from mltrack_sync.mlflow.verify.traces import INFOS_AT_ONCE, TracesVerify
from mltrack_sync.selection import Selection

if TYPE_CHECKING:
    import httpx

    from mltrack.storage.traces.traces import Trace
    from mltrack.store import Store
    from mltrack_sync.mlflow.api.client import MlflowClient
    from mltrack_sync.mlflow.plan.pending_registry import PendingModel
    from mltrack_sync.remotes.config import Remote

__all__ = ["Difference", "VerifyReport", "verify"]

SPANS = "spans"


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was compared, and each thing that is not the same on both sides.

    ``runs``, ``models``, ``model_versions``, ``logged_models`` and ``traces`` count those compared; the others what was
    found equal: ``points`` of those read back (0 with ``quick``), ``artifact_bytes`` of those downloaded and hashed,
    ``model_ties`` of runs to models they used or made. ``lacking`` says, a line for each, what the remote
    has no place for and was therefore not compared. What has no entry in ``differences`` is there whole.
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
    datasets: int = 0
    model_ties: int = 0
    models: int = 0
    model_versions: int = 0
    logged_models: int = 0
    traces: int = 0
    spans: int = 0
    assessments: int = 0
    seconds: float = 0.0
    differences: tuple[Difference, ...] = ()
    lacking: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    def differing(self) -> set[str]:
        """The ids of runs in which something differs."""
        return {difference.run_id for difference in self.differences if difference.run_id}


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
    yet differs. ``on_run`` is called with the id of each run when it has been compared.

    Raises:
        RemoteError: the remote can't be reached, is no MLflow server, or does not let us in.
        NotFoundError, FilterError, UsageError: the selection is no good.
        StoreError, OSError: the store or the ledger can't be read.
    """
    if jobs < 1:
        raise UsageError(f"{jobs} jobs can do nothing", hint="give --jobs 1 or more")
    started = time.monotonic()
    selection = selection or Selection()
    chosen = selection.heads(store)
    scope = _pending_of_nothing(Scope(store, selection, chosen), runs_only=runs_only)
    state = read_ledger(store, remote)
    workspace = remote.workspace()
    transport = Transport(workspace, policy=policy or RetryPolicy(), connections_max=jobs, http=http)
    if not scope:
        transport.close()
        return VerifyReport(remote.name, remote.url, quick=quick)
    counts: Counter[str] = Counter()
    differences: list[Difference] = []
    client = workspace.client(transport)
    rows = workspace.limits.history_page_rows
    histories = Histories(client, page_rows=rows, connections=jobs, runs=len(scope.runs))
    features = Features(workspace.limits.lacks)
    try:
        transport.knock()
        check = _Verify(store, client, state, histories, features, quick=quick)
        pieces = check.pieces(scope, find_pending(Scope(store, selection, chosen), state))
        with ThreadPoolExecutor(min(jobs, len(pieces)), thread_name_prefix="mltrack-verify") as pool:
            try:
                for (run_id, _), found in zip(pieces, pool.map(lambda piece: piece[1](), pieces), strict=True):
                    counts += found.counts
                    differences += found.differences
                    if run_id:
                        on_run(run_id)
            except BaseException:
                check.stop.set()
                raise
    finally:
        histories.close()
        transport.close()
    return VerifyReport(
        remote.name,
        remote.url,
        quick=quick,
        **counts,
        seconds=time.monotonic() - started,
        differences=tuple(differences),
        lacking=check.lacking(),
    )


def _pending_of_nothing(scope: Scope, *, runs_only: bool) -> Pending:
    """What is to be compared: what a remote lacks that has nothing."""
    return Pending(tuple(scope.heads)) if runs_only else find_pending(scope, LedgerState())


@dataclass(frozen=True, slots=True)
class _Found:
    """What came of one piece of work."""

    counts: Counter[str] = field(default_factory=Counter)
    differences: tuple[Difference, ...] = ()


Piece = tuple[str, Callable[[], _Found]]
"""A run's id, or "", and the work."""


class _Verify:
    """What the workers of one comparison share."""

    def __init__(
        self,
        store: Store,
        client: MlflowClient,
        state: LedgerState,
        histories: Histories,
        features: Features,
        *,
        quick: bool,
    ) -> None:
        self.stop = threading.Event()
        self._store = store
        self._client = client
        self._reading = ComparedClient(client.transport)
        self._state = state
        self._features = features
        self._quick = quick
        self._histories = histories
        self._there = There(client, state)
        self._ties = TiesVerify(store, self._there, self._lacks)
        self._lock = threading.Lock()
        self._left_out: dict[str, set[str]] = defaultdict(set)  # by feature, what is not compared for want of it
        self._asked = threading.Event()
        aside = [item for item in state.rejected.values() if not item.run_id]
        self._reasons = {(item.kind, item.key): item.reason for item in aside}

    def pieces(self, scope: Pending, pending: Pending) -> list[Piece]:
        """All the work: runs first, then models and traces; what is ``pending`` is not there yet, or otherwise."""
        store, waiting = self._store, {one.model.name: one for one in pending.registry}
        found: list[Piece] = [(run_id, partial(self.run, run_id)) for run_id in sorted(scope.runs)]
        if scope.registry:
            lacks = LOGGED_MODELS in self._features.lacking or self._lacks_models()
            registry = RegistryVerify(store, self._reading, self._there, waiting, lacks)
            found += [("", partial(self._registered, registry, todo)) for todo in scope.registry]
        logged = LoggedVerify(
            store, self._client, self._reading, self._there, set(pending.logged_models.ids), self._quick
        )
        found += [("", partial(self._logged, logged, model_id)) for model_id in scope.logged_models.ids]
        waits = {trace.trace_id for trace in pending.traces.traces}
        traces = TracesVerify(store, self._reading, self._there, waits, self._quick, self._without_spans)
        todo, most = scope.traces.traces, INFOS_AT_ONCE if self._quick else 1
        found += [("", partial(self._traces, traces, todo[at : at + most])) for at in range(0, len(todo), most)]
        return found

    # --- what the remote has no place for ---

    def lacking(self) -> tuple[str, ...]:
        """In plain words, what the remote has no place for, and how much was not compared for it."""
        words = {SPANS: "this server does not give them back; traces compared without:"}
        usual = "this server does not take them; not compared:"
        return tuple(f"{name}: {words.get(name, usual)} {len(left):,}" for name, left in self._left_out.items() if left)

    def _leave_out(self, feature: str, names: Iterable[str]) -> None:
        with self._lock:
            self._left_out[feature].update(names)

    def _without_spans(self, trace_id: str) -> None:
        self._leave_out(SPANS, [trace_id])

    def _lacks(self, feature: str, run_id: str, names: list[str]) -> bool:
        """Whether the remote lacks the feature, so that these things of the run are not compared."""
        entry = self._state.runs.get(run_id)
        if feature == DATASETS:
            lacks = entry is not None and DATASETS in entry.lacking
        else:
            lacks = self._lacks_models()
        if lacks:
            self._leave_out(feature, names)
        return lacks

    def _lacks_models(self) -> bool:
        """Whether the remote has no logged models, which it is asked once."""
        try:
            with self._features.needing(LOGGED_MODELS):
                if not self._asked.is_set():
                    self._reading.logged_models(["0"], "")
                    self._asked.set()
        except FeatureLacking:
            return True
        return False

    # --- pieces of work ---

    def run(self, run_id: str) -> _Found:
        """One run; what keeps it from being compared is a difference too."""
        try:
            return _Found() if self.stop.is_set() else self._compared(run_id)
        finally:
            self._histories.run_done()

    def _compared(self, run_id: str) -> _Found:
        check = RunVerify(
            self._client, run_id, quick=self._quick, histories=self._histories, there=self._there, ties=self._ties
        )
        try:
            with _troubles(check, "run"):
                self._compare_run(check, run_id)
        except NotFoundError:
            return _Found()
        mine = [item for item in self._state.rejected.values() if item.run_id == run_id]
        reasons = {("metric" if item.kind == "point" else item.kind, item.key): item.reason for item in mine}
        check.counts["runs"] += 1
        return _Found(check.counts, check.told(reasons))

    def _compare_run(self, check: RunVerify, run_id: str) -> None:
        run = self._store.run(run_id)
        entry = self._state.runs.get(run_id) or RunEntry()
        here = run.info
        places = self._there.experiment_ids(here.experiment_id, here.experiment_name, entry)
        found = [there for place in places for there in self._client.find_runs(place, run_id)]
        remote = check.one_of(found, prefer=entry.remote_id, deleted=here.lifecycle_stage == DELETED)
        if remote is not None:
            check.compare(run, self._client.get_run(remote.run_id))

    def _registered(self, registry: RegistryVerify, todo: PendingModel) -> _Found:
        found: list[Findings] = []
        name = todo.model.name
        check = Findings(subject=f"model {name}", kind=MODEL, key=name)
        if self.stop.is_set():
            return _Found()
        try:
            with _troubles(check, "model"):
                found += registry.compare(todo)
        except NotMlflowError as error:
            if not error.unknown_call:
                raise
            check.differs("model", "is here", f"the remote has no registry: {error}")
        return self._told([*found, check])

    def _logged(self, logged: LoggedVerify, model_id: str) -> _Found:
        check = Findings(subject=f"logged model {model_id}", kind=LOGGED_MODEL, key=model_id)
        if self.stop.is_set():
            return _Found()
        found: Findings | None = None
        try:
            with _troubles(check, "logged model"), self._features.needing(LOGGED_MODELS):
                found = logged.compare(model_id)
        except FeatureLacking:
            self._leave_out(LOGGED_MODELS, [model_id])
        except NotFoundError:
            return _Found()
        return self._told([check] if found is None else [found, check])

    def _traces(self, traces: TracesVerify, todo: tuple[Trace, ...]) -> _Found:
        names = [trace.trace_id for trace in todo]
        check = Findings(subject=f"trace {names[0]}", kind=TRACE, key=names[0])
        found: list[Findings] = []
        if self.stop.is_set():
            return _Found()
        try:
            with _troubles(check, "trace"), self._features.needing(TRACES):
                found += traces.compare(todo)
        except FeatureLacking:
            self._leave_out(TRACES, names)
        return self._told([*found, check])

    def _told(self, findings: list[Findings]) -> _Found:
        counts = sum((one.counts for one in findings), Counter[str]())
        return _Found(counts, tuple(each for one in findings for each in one.told(self._reasons)))


@contextlib.contextmanager
def _troubles(check: Findings, what: str) -> Iterator[None]:
    """What keeps a thing from being compared is a difference too; what would keep all others, an error."""
    try:
        yield
    except RemoteRefusedError as error:
        check.differs(what, "is there", f"the remote says: {error.words}")
    except (NotFoundError, NotMlflowError, RemoteAuthError, RemoteUnavailableError):
        raise
    except MltrackError as error:
        check.differs(what, f"can't be read: {error}", "not compared")
    except OSError as error:
        check.differs(what, f"can't be read: {error.strerror or error}", "not compared")
    except WRONG_SHAPE as error:  # what is compared is read where it is compared
        check.differs(what, "is there", f"the remote's answer is none of MLflow's ({type(error).__name__})")
