"""Runs that a comparison found different on a server: all of them is in doubt, and compared before it is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack_sync.ledger.stores import differs_line

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from mltrack.entities import RunHead
    from mltrack_sync.ledger.ledger import Ledger

__all__ = ["note_repaired", "put_in_doubt"]

RUNS = "runs/"


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
