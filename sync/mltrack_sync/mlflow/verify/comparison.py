"""The workers of one comparison with a remote: runs, registered models, logged models and traces, a thing at a time."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from mltrack.entities import DELETED
from mltrack.environment import ORIGIN_RUN_TAG
from mltrack.errors import MltrackError, NotFoundError
from mltrack_sync.errors import NotMlflowError, RemoteAuthError, RemoteRefusedError, RemoteUnavailableError
from mltrack_sync.http.shapes import WRONG_SHAPE
from mltrack_sync.ledger.ledger import RunEntry
from mltrack_sync.mlflow.api.capabilities import DATASETS, LOGGED_MODELS, TRACES, Features, UnsupportedFeatureError
from mltrack_sync.mlflow.api.readback import ComparedClient
from mltrack_sync.mlflow.api.tables import TablesClient
from mltrack_sync.mlflow.plan.history import HistorySetting, find_positions
from mltrack_sync.mlflow.plan.kinds import EXPERIMENT, LOGGED_MODEL, MODEL, TRACE
from mltrack_sync.mlflow.plan.pending_tables import FEATURES
from mltrack_sync.mlflow.verify.experiments import ExperimentsVerify
from mltrack_sync.mlflow.verify.findings import Findings
from mltrack_sync.mlflow.verify.models import LoggedVerify
from mltrack_sync.mlflow.verify.registry import RegistryVerify
from mltrack_sync.mlflow.verify.remote_ids import RemoteIds
from mltrack_sync.mlflow.verify.run_links import LinksVerify
from mltrack_sync.mlflow.verify.runs import RunVerify
from mltrack_sync.mlflow.verify.tables import TableItem, TablesVerify, kind_of
from mltrack_sync.mlflow.verify.traces import INFOS_AT_ONCE, TracesVerify
from mltrack_sync.report import Difference

if TYPE_CHECKING:
    from mltrack.storage.runs.stored_run import StoredRun
    from mltrack.storage.traces.traces import Trace
    from mltrack.store import Store
    from mltrack_sync.ledger.runs import Sampled
    from mltrack_sync.ledger.view import LedgerView
    from mltrack_sync.mlflow.api.client import MlflowClient
    from mltrack_sync.mlflow.plan.pending import Pending
    from mltrack_sync.mlflow.plan.pending_registry import PendingModel
    from mltrack_sync.mlflow.plan.pending_tables import PendingTables
    from mltrack_sync.mlflow.verify.histories import Histories

__all__ = ["Comparison", "Found", "Job"]

SPANS = "spans"


@dataclass(frozen=True, slots=True)
class Found:
    """The result of one job."""

    counts: Counter[str] = field(default_factory=Counter)
    differences: tuple[Difference, ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """One thing to compare: a run, by its id, or something that belongs to no run ("")."""

    run_id: str
    compare: Callable[[], Found]


class Comparison:
    """What the workers of one comparison share. When ``stop`` is set, the rest is skipped."""

    def __init__(
        self,
        store: Store,
        client: MlflowClient,
        state: LedgerView,
        histories: Histories,
        features: Features,
        *,
        quick: bool,
        history: int | None = None,
    ) -> None:
        """Take what is shared; nothing is compared yet.

        Args:
            store: The store.
            client: The server.
            state: What the ledger says.
            histories: Reads the server's histories.
            features: What the server lacks.
            quick: Compare the latest point of each metric and sizes of files, and no spans.
            history: The remote's setting, for runs that the ledger does not know.
        """
        self._history = history
        self.stop = threading.Event()
        self._store = store
        self._client = client
        self._reading = ComparedClient(client.transport)
        self._state = state
        self._features = features
        self._quick = quick
        self._histories = histories
        self._ids = RemoteIds(client, state)
        self._links = LinksVerify(store, self._ids, self._is_unsupported)
        self._lock = threading.Lock()
        self._skipped: dict[str, set[str]] = defaultdict(set)  # by feature, what is not compared without it
        self._partly: set[str] = set()
        self._asked = threading.Event()
        rejected = [item for item in state.rejected.values() if not item.run_id]
        self._reasons = {(item.kind, item.key): item.reason for item in rejected}

    def jobs(self, scope: Pending, pending: Pending) -> list[Job]:
        """All the work: experiments without runs and runs first, then models and traces.

        Args:
            scope: What is to be compared.
            pending: What the remote lacks of it by the ledger: a difference in it waits to be pushed.
        """
        return [
            *self._experiment_jobs(scope, pending),
            *(Job(run_id, partial(self._compared_run, run_id)) for run_id in sorted(scope.runs)),
            *(self._registry_jobs(scope, pending) if scope.registry else ()),
            *self._logged_model_jobs(scope, pending),
            *self._trace_jobs(scope, pending),
            *self._table_jobs(scope.tables, pending.tables),
        ]

    def _experiment_jobs(self, scope: Pending, pending: Pending) -> Iterator[Job]:
        verify = ExperimentsVerify(self._store, self._client, self._ids, pending.experiments)
        for key in scope.experiments:
            yield Job("", partial(self._experiment, verify, key))

    def _registry_jobs(self, scope: Pending, pending: Pending) -> Iterator[Job]:
        waiting = {one.model.name: one for one in pending.registry}
        no_models = LOGGED_MODELS in self._features.unsupported or self._has_no_models()
        verify = RegistryVerify(self._store, self._reading, self._ids, waiting, no_models)
        for one in scope.registry:
            yield Job("", partial(self._registered, verify, one))

    def _logged_model_jobs(self, scope: Pending, pending: Pending) -> Iterator[Job]:
        waiting = set(pending.logged_models.ids)
        verify = LoggedVerify(self._store, self._client, self._reading, self._ids, waiting, self._quick)
        for model_id in scope.logged_models.ids:
            yield Job("", partial(self._logged, verify, model_id))

    def _trace_jobs(self, scope: Pending, pending: Pending) -> Iterator[Job]:
        waiting = {trace.trace_id for trace in pending.traces.traces}
        verify = TracesVerify(self._store, self._reading, self._ids, waiting, self._quick, self._without_spans)
        traces, most = scope.traces.traces, INFOS_AT_ONCE if self._quick else 1
        for at in range(0, len(traces), most):
            yield Job("", partial(self._traces, verify, traces[at : at + most]))

    def _table_jobs(self, scope: PendingTables, pending: PendingTables) -> Iterator[Job]:
        items: list[TableItem] = [*scope.datasets, *scope.scorers, *scope.schemas]
        late: list[TableItem] = [*pending.datasets, *pending.scorers, *pending.schemas]
        waiting = {(kind_of(item), item.key) for item in late}
        verify = TablesVerify(self._store, TablesClient(self._client.transport), self._ids, waiting)
        for item in items:
            yield Job("", partial(self._table_item, kind_of(item), item.key, partial(verify.compare, item)))
        for gone in pending.deleted:
            yield Job("", partial(self._table_item, gone.kind, gone.key, partial(verify.compare_deleted, gone)))

    # --- what the remote does not support ---

    def unsupported(self) -> tuple[str, ...]:
        """In plain words, what the remote does not support, and how much was therefore not compared."""
        words = {SPANS: "this server does not give them back; traces compared without:"}
        usual = "this server does not take them; not compared:"
        return tuple(f"{name}: {words.get(name, usual)} {len(left):,}" for name, left in self._skipped.items() if left)

    def partly_compared(self) -> tuple[str, ...]:
        """The runs of which something was not compared, because the remote does not support it."""
        return tuple(sorted(self._partly))

    def _skip(self, feature: str, names: Iterable[str]) -> None:
        with self._lock:
            self._skipped[feature].update(names)

    def _without_spans(self, trace_id: str) -> None:
        self._skip(SPANS, [trace_id])

    def _is_unsupported(self, feature: str, run_id: str, names: list[str]) -> bool:
        """Whether the remote lacks the feature, so that these things of the run are not compared."""
        entry = self._state.runs.get(run_id)
        if feature == DATASETS:
            unsupported = entry is not None and DATASETS in entry.lacking
        else:
            unsupported = self._has_no_models()
        if unsupported:
            self._skip(feature, names)
            self._partly.add(run_id)
        return unsupported

    def _has_no_models(self) -> bool:
        """Whether the remote has no logged models; it is asked once."""
        try:
            with self._features.needing(LOGGED_MODELS):
                if not self._asked.is_set():
                    self._reading.logged_models(["0"], "")
                    self._asked.set()
        except UnsupportedFeatureError:
            return True
        return False

    # --- jobs ---

    def _compared_run(self, run_id: str) -> Found:
        """One run; what prevents its comparison is a difference, too."""
        try:
            return Found() if self.stop.is_set() else self._compared(run_id)
        finally:
            self._histories.run_done()

    def _compared(self, run_id: str) -> Found:
        check = RunVerify(
            self._client, run_id, quick=self._quick, histories=self._histories, ids=self._ids, links=self._links
        )
        try:
            with _troubles(check, "run"):
                self._compare_run(check, run_id)
        except NotFoundError:
            return Found()
        mine = [item for item in self._state.rejected.values() if item.run_id == run_id]
        reasons = {("metric" if item.kind == "point" else item.kind, item.key): item.reason for item in mine}
        check.counts["runs"] += 1
        return Found(check.counts, check.explained(reasons))

    def _sampled(self, run: StoredRun) -> Sampled:
        """Which of a run's points are to be there: as the ledger says that they were sent, else by the setting."""
        entry = self._state.runs.get(run.run_id)
        setting = HistorySetting(remote=self._history) if entry is None else HistorySetting(entry.sampled.history)
        return find_positions(run, entry or RunEntry(), setting).sampled

    def _compare_run(self, check: RunVerify, run_id: str) -> None:
        run = self._store.run(run_id)
        entry = self._state.runs.get(run_id) or RunEntry()
        info = run.info
        places = self._ids.experiment_ids(info.experiment_id, info.experiment_name, entry)
        found = [one for place in places for one in self._client.find_runs(place, run_id)]
        found = found or self._client.run_of_origin(self._ids.origin.own_id(run.tags, ORIGIN_RUN_TAG), run_id)
        remote = check.one_of(found, prefer=entry.remote_id, deleted=info.lifecycle_stage == DELETED)
        if remote is not None:
            check.compare(run, self._client.get_run(remote.run_id), self._sampled(run))

    def _experiment(self, experiments: ExperimentsVerify, key: str) -> Found:
        check = Findings(subject=f"experiment {key}", kind=EXPERIMENT, key=key)
        found: list[Findings] = []
        if self.stop.is_set():
            return Found()
        with _troubles(check, "experiment"):
            found.append(experiments.compare(key))
        return self._result([*found, check])

    def _registered(self, registry: RegistryVerify, pending: PendingModel) -> Found:
        found: list[Findings] = []
        name = pending.model.name
        check = Findings(subject=f"model {name}", kind=MODEL, key=name)
        if self.stop.is_set():
            return Found()
        try:
            with _troubles(check, "model"):
                found += registry.compare(pending)
        except NotMlflowError as error:
            if not error.unknown_call:
                raise
            check.differs("model", "present", f"the remote has no registry: {error}")
        return self._result([*found, check])

    def _logged(self, logged: LoggedVerify, model_id: str) -> Found:
        check = Findings(subject=f"logged model {model_id}", kind=LOGGED_MODEL, key=model_id)
        if self.stop.is_set():
            return Found()
        found: Findings | None = None
        try:
            with _troubles(check, "logged model"), self._features.needing(LOGGED_MODELS):
                found = logged.compare(model_id)
        except UnsupportedFeatureError:
            self._skip(LOGGED_MODELS, [model_id])
        except NotFoundError:
            return Found()
        return self._result([check] if found is None else [found, check])

    def _traces(self, traces: TracesVerify, some: tuple[Trace, ...]) -> Found:
        names = [trace.trace_id for trace in some]
        check = Findings(subject=f"trace {names[0]}", kind=TRACE, key=names[0])
        found: list[Findings] = []
        if self.stop.is_set():
            return Found()
        try:
            with _troubles(check, "trace"), self._features.needing(TRACES):
                found += traces.compare(some)
        except UnsupportedFeatureError:
            self._skip(TRACES, names)
        return self._result([*found, check])

    def _table_item(self, kind: str, key: str, compare: Callable[[], Findings]) -> Found:
        check = Findings(subject=f"{kind} {key}", kind=kind, key=key)
        found: list[Findings] = []
        if self.stop.is_set():
            return Found()
        try:
            with _troubles(check, kind), self._features.needing(FEATURES[kind]):
                found.append(compare())
        except UnsupportedFeatureError:
            self._skip(FEATURES[kind], [key])
        return self._result([*found, check])

    def _result(self, findings: list[Findings]) -> Found:
        counts = sum((one.counts for one in findings), Counter[str]())
        return Found(counts, tuple(each for one in findings for each in one.explained(self._reasons)))


@contextlib.contextmanager
def _troubles(check: Findings, what: str) -> Iterator[None]:
    """Note what prevents a comparison as a difference; what would prevent all others is an error."""
    try:
        yield
    except RemoteRefusedError as error:
        check.differs(what, "present", f"the remote says: {error.words}")
    except (NotFoundError, NotMlflowError, RemoteAuthError, RemoteUnavailableError):
        raise
    except MltrackError as error:
        check.differs(what, f"can't be read: {error}", "not compared")
    except OSError as error:
        check.differs(what, f"can't be read: {error.strerror or error}", "not compared")
    except WRONG_SHAPE as error:  # answers are read where they are compared
        check.differs(what, "present", f"the remote's answer is not one that MLflow gives ({type(error).__name__})")
