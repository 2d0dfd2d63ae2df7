"""What a remote lacks of a store: the one place where it is determined, stage by stage.

A dry run prints it, ``status`` counts it, push executes it stage by stage, and ``verify`` takes as its scope what a
remote with an empty ledger would lack. Only the store and the ledger are read. What only the remote can say (whether a
request whose answer was lost has arrived) push finds out later, and then determines again what it lacks.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mltrack.errors import CorruptionError, NotFoundError
from mltrack_sync.ledger.experiments import EXPERIMENT_TAG_KIND
from mltrack_sync.ledger.ledger import RunEntry
from mltrack_sync.mlflow.api.capabilities import DATASETS, LOGGED_MODELS, TRACES
from mltrack_sync.mlflow.plan.history import HistorySetting
from mltrack_sync.mlflow.plan.kinds import ARTIFACT, LOGGED_MODEL, TRACE
from mltrack_sync.mlflow.plan.pending_experiments import find_pending_experiments
from mltrack_sync.mlflow.plan.pending_models import PendingLoggedModels, find_pending_logged_models, log_sizes
from mltrack_sync.mlflow.plan.pending_registry import PendingModel, find_pending_registry
from mltrack_sync.mlflow.plan.pending_run import PendingRun, find_pending_run
from mltrack_sync.mlflow.plan.pending_tables import PendingTables, find_pending_tables, tables_time
from mltrack_sync.mlflow.plan.pending_traces import PendingTraces, fact_sizes, find_pending_traces
from mltrack_sync.mlflow.plan.whole_run import unsent_segments
from mltrack_sync.remotes.pending import is_run_pending

if TYPE_CHECKING:
    from mltrack.entities import RunHead
    from mltrack.storage.runs.stored_run import StoredRun
    from mltrack.store import Store
    from mltrack_sync.ledger.view import LedgerView
    from mltrack_sync.limits import Limits
    from mltrack_sync.report import Rejected
    from mltrack_sync.selection import Selection

__all__ = [
    "Again",
    "Pending",
    "Scope",
    "change_token",
    "find_pending",
    "rejected_by_run",
    "rejected_of",
    "unsupported_lines",
]

Again = frozenset[tuple[str, str, str]]
"""Rejected things that are retried: run, kind, key."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The selected part of a store; each method says what of it a ledger lacks at that moment, for one stage of a push.

    ``heads`` are those of the selected runs. ``retry`` includes all that was rejected, ``again`` some of it; ``resent``
    are traces that go again in any case.
    ``history`` says how many points of a metric go.
    """

    store: Store
    selection: Selection
    heads: Mapping[str, RunHead]
    retry: bool = False
    again: Again = frozenset()
    resent: frozenset[str] = frozenset()
    history: HistorySetting = field(default_factory=HistorySetting)

    def runs(self, state: LedgerView) -> tuple[str, ...]:
        """Runs to which something was written since all of them was sent."""
        tried = {run_id for run_id, _, _ in (state.rejected if self.retry else self.again)}
        return tuple(i for i, head in self.heads.items() if i in tried or self._is_pending(head, state))

    def _is_pending(self, head: RunHead, state: LedgerView) -> bool:
        if is_run_pending(head, state):
            return True
        entry = state.runs[head.run_id]
        if not entry.sampled.history:
            return False
        unsent = unsent_segments(self.store.layout.run(head.run_id), entry)
        if unsent:
            mine = [key for run_id, kind, key in state.rejected if (run_id, kind) == (head.run_id, ARTIFACT)]
            unsent = [name for name in unsent if not any(key.endswith(f"/{name}") for key in mine)]
        return bool(unsent) or self.history.may_differ(entry)

    def experiments(self, state: LedgerView) -> tuple[str, ...]:
        """Experiments without runs, and those of which tags are new or retried."""
        tried = state.rejected if self.retry else self.again
        tags = (key.partition("/")[0] for _, kind, key in tried if kind == EXPERIMENT_TAG_KIND)
        others = find_pending_experiments(self.store, state, self.selection, retry=self.retry, again=self.again)
        return tuple(dict.fromkeys((*tags, *others)))

    def links(self, state: LedgerView) -> dict[str, tuple[str, ...]]:
        """Runs whose datasets or models wait for features that the remote lacked, with these features."""
        entries = ((run_id, state.runs.get(run_id)) for run_id in self.heads)
        return {run_id: tuple(entry.lacking) for run_id, entry in entries if entry is not None and entry.lacking}

    def registry(self, state: LedgerView) -> list[PendingModel]:
        """Registered models, and which of their versions."""
        return find_pending_registry(self.store, state, self.selection, self.heads, retry=self.retry)

    def logged_models(self, state: LedgerView) -> PendingLoggedModels:
        """Logged models."""
        again = {key for _, kind, key in self.again if kind == LOGGED_MODEL}
        return find_pending_logged_models(self.store, state, self.selection, self.heads, retry=self.retry, again=again)

    def traces(self, state: LedgerView) -> PendingTraces:
        """Traces."""
        again = {key for _, kind, key in self.again if kind == TRACE} | self.resent
        return find_pending_traces(self.store, state, self.selection, self.heads, retry=self.retry, again=again)

    def tables(self, state: LedgerView) -> PendingTables:
        """Evaluation datasets, scorers and label schemas."""
        return find_pending_tables(self.store, state, self.selection, retry=self.retry)

    def each_run(
        self,
        state: LedgerView,
        limits: Limits,
        run_ids: Collection[str],
        on_unreadable: Callable[[str, CorruptionError], None],
    ) -> Iterator[tuple[StoredRun, PendingRun | None]]:
        """Each of these runs, and what is pending of it; None if it is deleted here and not active on the remote.

        Args:
            state: The ledger.
            limits: What the remote takes.
            run_ids: The runs.
            on_unreadable: Called with the id of a run that can't be read.
        """
        rejected = rejected_by_run(state)
        for run_id in run_ids:
            try:
                run = self.store.run(run_id)
            except NotFoundError:
                continue  # removed since the heads were read
            except CorruptionError as error:
                on_unreadable(run_id, error)
                continue
            entry = state.runs.get(run_id) or RunEntry()
            yield run, find_pending_run(run, entry, rejected[run_id], limits, retry=self.retry, history=self.history)


@dataclass(frozen=True, slots=True)
class Pending:
    """What a remote lacks of a store, by the stages of a push."""

    runs: tuple[str, ...] = ()
    experiments: tuple[str, ...] = ()
    links: Mapping[str, Collection[str]] = field(default_factory=dict)
    registry: tuple[PendingModel, ...] = ()
    logged_models: PendingLoggedModels = field(default_factory=PendingLoggedModels)
    traces: PendingTraces = field(default_factory=PendingTraces)
    tables: PendingTables = field(default_factory=PendingTables)

    def __bool__(self) -> bool:
        models = self.logged_models
        return bool(
            self.runs
            or self.experiments
            or self.links
            or self.registry
            or models.ids
            or models.with_files
            or self.traces.traces
            or self.tables
        )

    def without(self, unsupported: frozenset[str]) -> Pending:
        """What is left for a remote without these features: of logged models, the files that can go to runs."""
        links = {run_id: waits_for for run_id, waits_for in self.links.items() if not unsupported.issuperset(waits_for)}
        models = replace(self.logged_models, **({"ids": ()} if LOGGED_MODELS in unsupported else {"with_files": ()}))
        traces = PendingTraces() if TRACES in unsupported else self.traces
        tables = self.tables.without(unsupported)
        return replace(self, links=links, logged_models=models, traces=traces, tables=tables)


def find_pending(scope: Scope, state: LedgerView) -> Pending:
    """What the ledger lacks of the scope.

    Raises:
        StoreError: the store can't be read.
    """
    return Pending(
        scope.runs(state),
        scope.experiments(state),
        scope.links(state),
        tuple(scope.registry(state)),
        scope.logged_models(state),
        scope.traces(state),
        scope.tables(state),
    )


def rejected_by_run(state: LedgerView) -> Mapping[str, list[Rejected]]:
    """What was rejected of each run."""
    found: dict[str, list[Rejected]] = defaultdict(list)
    for item in state.rejected.values():
        found[item.run_id].append(item)
    return found


def rejected_of(rejected: Iterable[Rejected], chosen: Container[str]) -> tuple[Rejected, ...]:
    """Those of the chosen runs or of no run, in order."""
    mine = (item for item in rejected if item.run_id in chosen or not item.run_id)
    return tuple(sorted(mine, key=lambda item: (item.run_id, item.kind)))


def change_token(store: Store) -> tuple[object, ...]:
    """A value that changes with logged models, traces or tables: the sizes of their logs, the time of the file."""
    return tuple(log_sizes(store).items()), tuple(fact_sizes(store).items()), tables_time(store)


def unsupported_lines(pending: Pending, state: LedgerView, unsupported: frozenset[str]) -> tuple[str, ...]:
    """In plain words, what the remote does not take and how much waits for it."""
    links = Counter(feature for waits_for in pending.links.values() for feature in waits_for)
    counts = {
        DATASETS: (links[DATASETS], "run has some that wait", "runs have some that wait"),
        LOGGED_MODELS: (len(pending.logged_models.ids), "waits", "wait"),
        TRACES: (len(pending.traces.traces), "waits", "wait"),
        **{feature: (len(waiting), "waits", "wait") for feature, waiting in pending.tables.by_feature().items()},
    }
    more = {LOGGED_MODELS: _where_files_are(pending.logged_models, state)}
    return tuple(
        f"{feature}: this server does not take them; {count:,} {one if count == 1 else many}{more.get(feature, '')}"
        for feature, (count, one, many) in counts.items()
        if feature in unsupported and count
    )


def _where_files_are(models: PendingLoggedModels, state: LedgerView) -> str:
    """Where the files of logged models that wait are."""
    left = {*models.with_files, *models.without_run}
    fallbacks = sum(model_id not in left and model_id in state.fallbacks for model_id in models.ids)
    parts = [f"files in their runs: {fallbacks:,}"] if fallbacks else []
    parts += [f"without a run to hold files: {len(models.without_run):,}"] if models.without_run else []
    return f" ({', '.join(parts)})" if parts else ""
