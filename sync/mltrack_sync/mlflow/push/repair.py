"""What a comparison found different on a server: runs and logged models are compared there, traces are sent again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack_sync.ledger.stores import differs_line
from mltrack_sync.mlflow.plan.kinds import LOGGED_MODELS, RUNS, TRACES

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from mltrack.entities import RunHead
    from mltrack_sync.ledger.ledger import Ledger

__all__ = ["differing_traces", "forget_models", "note_repaired", "note_resent", "put_in_doubt"]


def differing_traces(ledger: Ledger) -> frozenset[str]:
    """The ids of traces that differ. All of a trace may be sent twice: the server keeps it once."""
    units = ledger.state.copied.differing
    return frozenset(unit.removeprefix(TRACES) for unit in units if unit.startswith(TRACES))


def forget_models(ledger: Ledger) -> frozenset[str]:
    """Have the ledger forget the logged models that differ: they are looked for on the server. Their ids."""
    units = ledger.state.copied.differing
    found = frozenset(unit.removeprefix(LOGGED_MODELS) for unit in units if unit.startswith(LOGGED_MODELS))
    ledger.logged_models_forgotten(sorted(found))
    return found


def note_resent(ledger: Ledger, trace_ids: Collection[str], model_ids: Collection[str]) -> None:
    """Have the ledger know the traces and logged models that were sent again."""
    units = [f"{TRACES}{trace_id}" for trace_id in sorted(trace_ids)]
    units += [f"{LOGGED_MODELS}{model_id}" for model_id in sorted(model_ids)]
    if units:
        ledger.copied([differs_line(unit, differs=False) for unit in units])


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
