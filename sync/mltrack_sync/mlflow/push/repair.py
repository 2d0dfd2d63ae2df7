"""What a comparison found different on a server: runs, models and tables are compared there, traces go again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mltrack_sync.ledger.stores import differs_line
from mltrack_sync.mlflow.plan.kinds import LOGGED_MODELS, REGISTERED_MODELS, RUNS, TABLES, TRACES

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from mltrack.entities import RunHead
    from mltrack_sync.ledger.ledger import Ledger

__all__ = ["differing_traces", "forget_models", "forget_tables", "note_repaired", "note_resent", "put_in_doubt"]


def differing_traces(ledger: Ledger) -> frozenset[str]:
    """The ids of traces that differ. All of a trace may be sent twice: the server keeps it once."""
    units = ledger.state.copied.differing
    return frozenset(unit.removeprefix(TRACES) for unit in units if unit.startswith(TRACES))


def forget_models(ledger: Ledger) -> tuple[str, ...]:
    """Have the ledger forget the logged and registered models that differ, so that they are looked for. Their units."""
    units = ledger.state.copied.differing
    logged = [unit for unit in units if unit.startswith(LOGGED_MODELS)]
    registered = [unit for unit in units if unit.startswith(REGISTERED_MODELS)]
    ledger.models_forgotten(
        [unit.removeprefix(LOGGED_MODELS) for unit in logged],
        [unit.removeprefix(REGISTERED_MODELS) for unit in registered],
    )
    return (*logged, *registered)


def forget_tables(ledger: Ledger) -> tuple[str, ...]:
    """Have the ledger doubt the evaluation datasets, scorers and label schemas that differ. Their units."""
    units = [unit for unit in ledger.state.copied.differing if unit.startswith(TABLES)]
    for unit in units:
        kind, _, key = unit.removeprefix(TABLES).partition("/")
        entry = ledger.state.tables.get((kind, key))
        if entry is not None:
            ledger.table_sent(kind, key, replace(entry, fingerprint=""))
    return tuple(units)


def note_resent(ledger: Ledger, trace_ids: Collection[str], units: Collection[str]) -> None:
    """Have the ledger know the traces, and the models by their units, that were sent again."""
    sent = [*(f"{TRACES}{trace_id}" for trace_id in sorted(trace_ids)), *units]
    if sent:
        ledger.copied([differs_line(unit, differs=False) for unit in sent])


def put_in_doubt(ledger: Ledger, heads: Mapping[str, RunHead]) -> tuple[str, ...]:
    """Have the ledger doubt the selected runs that differ, and lack their files that do. Their ids."""
    found = []
    for unit, files in ledger.state.copied.differing.items():
        run_id = unit.removeprefix(RUNS)
        if unit.startswith(RUNS) and run_id in heads:
            ledger.in_doubt(run_id, files)
            found.append(run_id)
    return tuple(found)


def note_repaired(ledger: Ledger, run_ids: Collection[str], heads: Mapping[str, RunHead]) -> None:
    """Have the ledger know the runs of which nothing is left to send."""
    done = [run_id for run_id in run_ids if run_id in heads and ledger.run(run_id).is_settled_at(heads[run_id])]
    ledger.copied([differs_line(f"{RUNS}{run_id}", differs=False) for run_id in done])
