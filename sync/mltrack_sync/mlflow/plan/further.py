"""What waits beside the runs themselves: their ties to datasets and logged models, logged models, and traces."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mltrack.errors import NotFoundError
from mltrack_sync.ledger.fallback import InRunEntry
from mltrack_sync.ledger.models import LoggedEntry
from mltrack_sync.mlflow.api.capabilities import DATASETS, LOGGED_MODELS, TRACES
from mltrack_sync.mlflow.plan.fallback import holder_of

if TYPE_CHECKING:
    from mltrack.storage.traces.traces import Trace
    from mltrack.store import Store
    from mltrack_sync.ledger.ledger import LedgerState
    from mltrack_sync.selection import Selection

__all__ = ["LOGGED_MODEL", "TRACE", "Further", "TracesTodo", "further_of", "lacking_lines", "print_of", "stamps"]

LOGGED_MODEL = "logged model"
TRACE = "trace"


@dataclass(frozen=True, slots=True)
class TracesTodo:
    """Traces that are to be sent; ``at`` and ``sizes`` go to the ledger when all is there (see trace_entry.py).

    ``whole`` tells that these are all, so that the ledger may say so.
    """

    traces: tuple[Trace, ...] = ()
    at: Mapping[str, int] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Further:
    """What waits. ``ties`` are runs whose datasets or models wait for features that the remote lacked, and for which.

    Of the ``models``, ``files`` are those whose files can go to their runs where the remote has no logged models, and
    ``without_run`` those that no run made: their files can't.
    """

    ties: Mapping[str, Collection[str]] = field(default_factory=dict)
    models: tuple[str, ...] = ()
    traces: TracesTodo = field(default_factory=TracesTodo)
    files: tuple[str, ...] = ()
    without_run: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.ties or self.models or self.traces.traces or self.files)

    def without(self, lacking: frozenset[str]) -> Further:
        """What is left where these features are not to be had."""
        ties = {run_id: waits_for for run_id, waits_for in self.ties.items() if not lacking.issuperset(waits_for)}
        models, files = ((), self.files) if LOGGED_MODELS in lacking else (self.models, ())
        traces = TracesTodo() if TRACES in lacking else self.traces
        return replace(self, ties=ties, models=models, traces=traces, files=files)


def further_of(
    store: Store,
    state: LedgerState,
    selection: Selection,
    chosen: Mapping[str, object],
    *,
    retry: bool = False,
    again: Collection[tuple[str, str, str]] = (),
) -> Further:
    """What the store has of these that the ledger lacks; with a selection, of the selected runs and experiments.

    ``retry`` asks for all that was set aside, too; ``again`` for these (run, kind, key) of it.

    Raises:
        StoreError: the store can't be read.
    """
    entries = {run_id: state.runs[run_id] for run_id in chosen if run_id in state.runs}
    ties = {run_id: tuple(entry.lacking) for run_id, entry in entries.items() if entry.lacking}
    models = _models(store, state, selection, chosen, retry, {key for _, kind, key in again if kind == LOGGED_MODEL})
    files, without_run = _files(store, state, models, _again(state) if retry else set())
    traces = _traces(store, state, selection, chosen, retry, {key for _, kind, key in again if kind == TRACE})
    return Further(ties, tuple(models), traces, files, without_run)


def lacking_lines(further: Further, state: LedgerState, lacking: frozenset[str]) -> tuple[str, ...]:
    """In plain words, what the remote does not take and how much waits for it."""
    waiting = Counter(feature for waits_for in further.ties.values() for feature in waits_for)
    counts = {
        DATASETS: (waiting[DATASETS], "run has some that wait", "runs have some that wait"),
        LOGGED_MODELS: (len(further.models), "waits", "wait"),
        TRACES: (len(further.traces.traces), "waits", "wait"),
    }
    more = {LOGGED_MODELS: _files_told(further, state)}
    return tuple(
        f"{feature}: this server does not take them; {count:,} {one if count == 1 else many}{more.get(feature, '')}"
        for feature, (count, one, many) in counts.items()
        if feature in lacking and count
    )


def _files_told(further: Further, state: LedgerState) -> str:
    """Where the files of models that wait are."""
    left = {*further.files, *further.without_run}
    there = sum(model_id not in left and model_id in state.in_runs for model_id in further.models)
    parts = [f"files in their runs: {there:,}"] if there else []
    parts += [f"without a run to hold files: {len(further.without_run):,}"] if further.without_run else []
    return f" ({', '.join(parts)})" if parts else ""


def stamps(store: Store) -> tuple[object, ...]:
    """What tells that logged models or traces changed: how long their logs are."""
    return tuple(_model_sizes(store).items()), tuple(_facts_sizes(store).items())


# --- logged models -----------------------------------------------------------------------------------------------


def _model_sizes(store: Store) -> dict[str, int]:
    found = {}
    for model_id in store.logged_models.ids():
        try:
            found[model_id] = store.logged_models.folder(model_id).log.stat().st_size
        except FileNotFoundError:
            continue  # it is being made, or gone
    return found


def _models(
    store: Store,
    state: LedgerState,
    selection: Selection,
    chosen: Mapping[str, object],
    retry: bool,
    whole: Collection[str],
) -> list[str]:
    aside = {(item.kind, item.key) for item in state.rejected.values() if not item.run_id}
    again = _again(state) if retry else set()
    fresh = LoggedEntry()
    found = []
    for model_id, size in _model_sizes(store).items():
        if state.logged.get(model_id, fresh).settled == size and model_id not in again:
            continue
        if (LOGGED_MODEL, model_id) in aside and not (retry or model_id in whole):
            continue
        if selection.everything or _is_selected(store, model_id, selection, chosen):
            found.append(model_id)
    return found


def _again(state: LedgerState) -> set[str]:
    """Models of which something was set aside."""
    aside = [item for item in state.rejected.values() if not item.run_id and item.kind.startswith(LOGGED_MODEL)]
    return {item.key.partition("/")[0] for item in aside}


def _files(
    store: Store, state: LedgerState, models: list[str], again: set[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of these models, those with files that can go to their runs, and those that no run made."""
    files, without_run = [], []
    sizes = _model_sizes(store) if models else {}
    for model_id in models:
        there = state.in_runs.get(model_id) or InRunEntry()
        run = state.runs.get(there.of)
        settled = run is not None and (there.remote_run, there.settled) == (run.remote_id, sizes.get(model_id))
        if settled and model_id not in again:
            continue
        try:
            model = store.logged_models.get(model_id)
        except NotFoundError:
            continue
        if not model.source_run_id:
            without_run.append(model_id)
        elif holder_of(model, state) is not None:
            files.append(model_id)
    return tuple(files), tuple(without_run)


def _is_selected(store: Store, model_id: str, selection: Selection, chosen: Mapping[str, object]) -> bool:
    try:
        model = store.logged_models.get(model_id)
    except NotFoundError:
        return False
    return model.source_run_id in chosen or _whole_experiment(store, model.experiment_id, selection)


def _whole_experiment(store: Store, experiment_id: str, selection: Selection) -> bool:
    """Whether all that is in the experiment is asked for."""
    if selection.runs or selection.filter:
        return False
    experiment = store.workspace.experiments().get(experiment_id)
    return experiment is not None and experiment.name in selection.experiments


# --- traces ------------------------------------------------------------------------------------------------------


def print_of(trace: Trace) -> str:
    """What tells one state of a trace from another."""
    return hashlib.blake2b(repr(trace).encode("utf-8", "replace"), digest_size=8).hexdigest()


def _facts_sizes(store: Store) -> dict[str, int]:
    """How long each writer's file of facts is, by experiment and writer."""
    found: dict[str, int] = {}
    try:
        experiments = sorted(os.listdir(store.layout.traces))
    except FileNotFoundError:
        return {}
    for experiment_id in experiments:
        try:
            with os.scandir(store.layout.traces / experiment_id / "facts") as entries:
                found |= {f"{experiment_id}/{entry.name}": entry.stat().st_size for entry in entries}
        except (FileNotFoundError, NotADirectoryError):
            continue
    return found


def _traces(
    store: Store,
    state: LedgerState,
    selection: Selection,
    chosen: Mapping[str, object],
    retry: bool,
    whole: Collection[str],
) -> TracesTodo:
    sizes = _facts_sizes(store)  # before the facts are read: what is added meanwhile is seen next time
    aside = {item.key for item in state.rejected.values() if not item.run_id and item.kind == TRACE}
    of_tags = {item.key.partition("/")[0] for item in state.rejected.values() if item.kind == f"{TRACE} tag"}
    tried = aside | of_tags if retry else aside.intersection(whole)
    if sizes == state.traces.sizes and not tried:
        return TracesTodo()
    changes = store.traces.changes(state.traces.positions)
    ids = dict.fromkeys((*changes.trace_ids, *tried))
    found = []
    for trace in store.traces.find_some(ids):
        done = state.traces.done.get(trace.trace_id)
        if (trace.trace_id in aside and trace.trace_id not in tried) or (
            done is not None and done == print_of(trace) and trace.trace_id not in tried
        ):
            continue
        if selection.everything or _is_trace_selected(store, trace, selection, chosen):
            found.append(trace)
    found.sort(key=lambda trace: (trace.request_time, trace.trace_id))
    return TracesTodo(tuple(found), changes.positions, sizes, whole=selection.everything)


def _is_trace_selected(store: Store, trace: Trace, selection: Selection, chosen: Mapping[str, object]) -> bool:
    runs = {*trace.run_ids, trace.metadata.get("mlflow.sourceRun", "")}
    return not runs.isdisjoint(chosen) or _whole_experiment(store, trace.experiment_id, selection)
