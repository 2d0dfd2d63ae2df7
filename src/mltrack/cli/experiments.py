"""`mltrack experiments`: lists experiments."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from mltrack.catalog.experiment_search import find_experiments
from mltrack.cli.context import Session, command, json_option, pass_session
from mltrack.entities import DELETED
from mltrack.text.figures import with_times
from mltrack.text.printing import Column, is_terminal, note, print_json, print_table

if TYPE_CHECKING:
    from mltrack.store import Store

__all__ = ["experiments"]

TIMES = ("creation_time", "last_update_time", "last_start")
NO_RUNS: dict[str, Any] = {"runs": 0, "last_start": None}

_COUNTS = """
SELECT experiment_id, count(*) AS runs, epoch_ms(max(start_time)) AS last_start
FROM runs WHERE lifecycle_stage = 'active' GROUP BY experiment_id
"""


@command(
    "experiments",
    "List experiments.",
    "mltrack experiments",
    "mltrack experiments --filter \"name LIKE 'spir%'\"",
    "mltrack experiments --json",
)
@click.option(
    "-f", "--filter", "filter_string", default="", metavar="EXPR", help="Only those that match (MLflow's grammar)."
)
@json_option
@pass_session
def experiments(session: Session, filter_string: str, as_json: bool) -> None:
    """List experiments, the default one first, then by age; deleted ones too, which are marked."""
    from mltrack.cli.formatting import ago, moment

    store = session.store()
    every, counts = store.experiments(deleted=True), _counts(store)
    passing = {each.experiment_id for each in find_experiments(every, "ALL", filter_string, ())}
    found = [each for each in every if each.experiment_id in passing]
    if as_json:
        print_json(
            [with_times({**asdict(each), **counts.get(each.experiment_id, NO_RUNS)}, ms=TIMES) for each in found]
        )
        return
    if not found:
        note("no experiment matches")
        return
    now_ms = time.time_ns() // 1_000_000
    rows = []
    for each in found:
        count = counts.get(each.experiment_id, NO_RUNS)
        last = count["last_start"]
        shown = "" if last is None else ago(last, now_ms) if is_terminal() else moment(last)
        name = f"{each.name} (deleted)" if each.lifecycle_stage == DELETED else each.name
        rows.append((name, each.experiment_id, str(count["runs"]), shown))
    columns = [
        Column("name", style="cyan", cut=True),
        Column("id"),
        Column("runs", right=True),
        Column("last run", drop=1),
    ]
    print_table(columns, rows)


def _counts(store: Store) -> dict[str, dict[str, Any]]:
    """The number of runs that are not deleted, and when the last was started (ms), by experiment."""
    rows = store.sql(_COUNTS).to_pylist()
    return {row["experiment_id"]: {"runs": row["runs"], "last_start": row["last_start"]} for row in rows}
