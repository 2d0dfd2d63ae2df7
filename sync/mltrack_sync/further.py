"""What waits beside the runs themselves: their ties to datasets and logged models, logged models, and traces."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mltrack.errors import NotFoundError
from mltrack_sync.features import DATASETS, LOGGED_MODELS, TRACES
from mltrack_sync.logged_entry import LoggedEntry

if TYPE_CHECKING:
    from mltrack.reading import Store
    from mltrack.store.traces import Trace
    from mltrack_sync.ledger import LedgerState
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
    """What waits. ``ties`` are runs whose datasets or models wait for a feature that the remote lacked."""

    ties: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    traces: TracesTodo = field(default_factory=TracesTodo)

    def __bool__(self) -> bool:
        return bool(self.ties or self.models or self.traces.traces)

    def without(self, lacking: frozenset[str]) -> Further:
        """What is left where these features are not to be had."""
        ties = () if lacking >= {DATASETS, LOGGED_MODELS} else self.ties
        models = () if LOGGED_MODELS in lacking else self.models
        return replace(self, ties=ties, models=models, traces=TracesTodo() if TRACES in lacking else self.traces)


def further_of(
    store: Store, state: LedgerState, selection: Selection, chosen: Mapping[str, object], *, retry: bool = False
) -> Further:
    """What the store has of these that the ledger lacks; with a selection, of the selected runs and experiments.

    Raises:
        StoreError: the store can't be read.
    """
    ties = tuple(run_id for run_id in chosen if (entry := state.runs.get(run_id)) is not None and entry.lacking)
    models = tuple(_models(store, state, selection, chosen, retry))
    return Further(ties, models, _traces(store, state, selection, chosen, retry))


def lacking_lines(further: Further, state: LedgerState, lacking: frozenset[str]) -> tuple[str, ...]:
    """In plain words, what the remote does not take and how much waits for it."""
    waiting = Counter(feature for run_id in further.ties for feature in state.runs[run_id].lacking)
    counts = {
        DATASETS: (waiting[DATASETS], "run has some that wait", "runs have some that wait"),
        LOGGED_MODELS: (len(further.models), "waits", "wait"),
        TRACES: (len(further.traces.traces), "waits", "wait"),
    }
    return tuple(
        f"{feature}: this server does not take them; {count:,} {one if count == 1 else many}"
        for feature, (count, one, many) in counts.items()
        if feature in lacking and count
    )


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
    store: Store, state: LedgerState, selection: Selection, chosen: Mapping[str, object], retry: bool
) -> list[str]:
    aside = {(item.kind, item.key) for item in state.rejected.values() if not item.run_id}
    again = {key.partition("/")[0] for kind, key in aside if kind.startswith(LOGGED_MODEL)} if retry else set()
    fresh = LoggedEntry()
    found = []
    for model_id, size in _model_sizes(store).items():
        if state.logged.get(model_id, fresh).settled == size and model_id not in again:
            continue
        if (LOGGED_MODEL, model_id) in aside and not retry:
            continue
        if selection.everything or _is_selected(store, model_id, selection, chosen):
            found.append(model_id)
    return found


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
    store: Store, state: LedgerState, selection: Selection, chosen: Mapping[str, object], retry: bool
) -> TracesTodo:
    sizes = _facts_sizes(store)  # before the facts are read: what is added meanwhile is seen next time
    aside = {item.key for item in state.rejected.values() if not item.run_id and item.kind == TRACE}
    if sizes == state.traces.sizes and not (retry and aside):
        return TracesTodo()
    changes = store.traces.changes(state.traces.positions)
    ids = dict.fromkeys((*changes.trace_ids, *(aside if retry else ())))
    found = []
    for trace in store.traces.find_some(ids):
        done = state.traces.done.get(trace.trace_id)
        if (trace.trace_id in aside and not retry) or (done is not None and done == print_of(trace)):
            continue
        if selection.everything or _is_trace_selected(store, trace, selection, chosen):
            found.append(trace)
    found.sort(key=lambda trace: (trace.request_time, trace.trace_id))
    return TracesTodo(tuple(found), changes.positions, sizes, whole=selection.everything)


def _is_trace_selected(store: Store, trace: Trace, selection: Selection, chosen: Mapping[str, object]) -> bool:
    runs = {*trace.run_ids, trace.metadata.get("mlflow.sourceRun", "")}
    return not runs.isdisjoint(chosen) or _whole_experiment(store, trace.experiment_id, selection)
