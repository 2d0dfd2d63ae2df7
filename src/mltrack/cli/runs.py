"""`mltrack ls`: lists runs."""

from __future__ import annotations

import shlex
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mltrack.cli.context import Session, command, json_option, pass_session
from mltrack.disk.layout import RunFolder
from mltrack.entities import DELETED
from mltrack.text.printing import Column, is_terminal, note, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mltrack.cli.select import Found
    from mltrack.entities import Elsewhere, RunInfo
    from mltrack.store import Store
    from mltrack.text.printing import Cell

__all__ = ["ls", "points_of", "print_runs"]

METRIC_COLUMNS_MAX = 4
SHORT_ID = 8
HIDDEN_COUNTED_MAX = 1_000


@command(
    "ls",
    "List runs, newest first.",
    "mltrack ls",
    "mltrack ls --experiment spirals --filter \"metrics.loss < 0.5 and params.lr = '0.1'\" --order-by metrics.loss",
    "mltrack ls --columns loss,params.lr --json",
)
@click.option(
    "-e", "--experiment", "experiments", multiple=True, metavar="NAME", help="Only runs of this one; may be repeated."
)
@click.option(
    "-f", "--filter", "filter_string", default="", metavar="EXPR", help="Only runs that match (MLflow's grammar)."
)
@click.option(
    "-o", "--order-by", multiple=True, metavar="FIELD", help="For example 'metrics.loss DESC'; may be repeated."
)
@click.option("-n", "--limit", type=click.IntRange(min=1), default=30, show_default=True, help="How many at most.")
@click.option("--deleted", is_flag=True, help="The deleted runs instead.")
@click.option(
    "-c", "--columns", metavar="A,B", help="Metrics to show, or params.NAME, tags.NAME; by default the most common."
)
@json_option
@pass_session
def ls(
    session: Session,
    experiments: tuple[str, ...],
    filter_string: str,
    order_by: tuple[str, ...],
    limit: int,
    deleted: bool,
    columns: str | None,
    as_json: bool,
) -> None:
    """List runs, newest first."""
    from mltrack.cli.select import find_runs, run_facts

    store = session.store()
    runs = find_runs(
        store,
        experiments=experiments,
        filter_string=filter_string,
        order_by=order_by,
        limit=limit + 1,
        deleted=deleted,
    )
    shown = runs[:limit]
    points = points_of(store, shown)
    if as_json:
        print_json([{**run_facts(run, points[run.info.run_id]), **_copy_facts(run.info)} for run in shown])
        return
    if runs:
        print_runs(shown, points, columns.split(",") if columns else None, tree=not order_by)
    else:
        note(f"no runs{' that match' if filter_string or experiments else ''} in {store.path}")
    if len(runs) > limit:
        note(f"there are more: mltrack ls --limit {limit * 10}")
    if shown:
        _note_unknown(shown, [*(columns or "").split(","), *_ordered_by(order_by)])
    if not deleted:
        _note_hidden(store, experiments)


def _ordered_by(order_by: Sequence[str]) -> list[str]:
    """Metrics, params and tags in --order-by, as a column would name them."""
    names = [clause.strip().split(" ")[0] for clause in order_by]
    return [name for name in names if name.partition(".")[0] in ("metrics", "params", "tags")]


def _note_unknown(runs: Sequence[Found], names: Sequence[str]) -> None:
    """Say which names no run shown has: they may be misspelled."""
    from mltrack.cli.names import meant

    known = {name for run in runs for name in (*run.data.metrics, *run.data.params)}
    known |= {
        f"{kind}.{key}" for run in runs for kind in ("metrics", "params", "tags") for key in getattr(run.data, kind)
    }
    for name in names:
        if name and name.replace("`", "").replace('"', "") not in known:
            note(f"none of these runs has {name!r}; {meant(name, known)}", style="yellow")


def _note_hidden(store: Store, experiments: Sequence[str]) -> None:
    """Name the deleted experiments whose runs are not shown."""
    from mltrack.cli.formatting import plural

    gone = [e for e in store.experiments(deleted=True) if e.lifecycle_stage == DELETED]
    for hidden in gone:
        if not experiments or hidden.name in experiments:
            runs = store.search_runs([hidden.experiment_id], run_view_type="ALL", max_results=HIDDEN_COUNTED_MAX)
            if runs:
                more = "+" if runs.token is not None else ""
                name = shlex.quote(hidden.name)
                note(
                    f"experiment {hidden.name!r} is deleted, with its {plural(len(runs), 'run')}{more}: "
                    f"mltrack restore --experiment {name}"
                )


def points_of(store: Store, runs: Sequence[Found]) -> dict[str, int]:
    """The number of points of each run that count."""
    counts = store.point_counts()
    return {run.info.run_id: counts.get(run.info.run_id, 0) for run in runs}


def print_runs(
    runs: Sequence[Found], points: Mapping[str, int], columns: Sequence[str] | None = None, *, tree: bool = True
) -> None:
    """Print a table of runs.

    Args:
        runs: the runs.
        points: the number of points of each.
        columns: metrics, params and tags to show; the most common metrics when not given.
        tree: in a terminal, put the children of a run below it.
    """
    from mltrack.cli.formatting import ago, count, moment, number, plain_number, run_time, state, status

    pretty = is_terminal()
    chosen = list(columns) if columns is not None else _common_metrics(runs, METRIC_COLUMNS_MAX)
    one_experiment = pretty and len({run.info.experiment_name for run in runs}) == 1
    head = [
        Column("id", style="cyan"),
        Column("name", cut=True),
        *([] if one_experiment else [Column("experiment", cut=True, drop=3)]),
        Column("status", drop=2),
        Column("started", drop=4),
        Column("duration", right=True, drop=5),
        Column("points", right=True, drop=6),
        *(_value_column(runs, name, drop=1 if columns is not None else 3) for name in chosen),
    ]
    now_ms = time.time_ns() // 1_000_000
    rows: list[list[Cell]] = []
    for run, depth in _as_tree(runs) if tree and pretty else [(run, 0) for run in runs]:
        info = run.info
        elsewhere = _elsewhere(info)
        rows.append(
            [
                info.run_id[:SHORT_ID] if pretty else info.run_id,
                "  " * (depth - 1) + "└ " * (depth > 0) + info.run_name,
                *([] if one_experiment else [info.experiment_name]),
                state(info, elsewhere, now_ms) if pretty else status(info),
                ago(info.start_time, now_ms) if pretty else moment(info.start_time),
                run_time(info, elsewhere, now_ms),
                count(points[info.run_id]) if pretty else str(points[info.run_id]),
                *(_value(run, name, number if pretty else plain_number) for name in chosen),
            ]
        )
    print_table(head, rows)


def _elsewhere(info: RunInfo) -> Elsewhere | None:
    """Where a run is recorded, if that is in another store, which the catalog does not know."""
    from mltrack.storage.runs.state import running_elsewhere

    return running_elsewhere(RunFolder(Path(info.artifact_uri).parent)) if info.live else None


def _copy_facts(info: RunInfo) -> dict[str, Any]:
    """Of a run that is recorded in another store: where, and as of when this is known, in ns; else nothing."""
    elsewhere = _elsewhere(info)
    return {} if elsewhere is None else {"elsewhere": asdict(elsewhere)}


def _common_metrics(runs: Sequence[Found], most: int) -> list[str]:
    """The most common metrics, those with short names first; system metrics are shown only if chosen."""
    seen = Counter(key for run in runs for key in run.data.metrics if not key.startswith("system/"))
    ranked = sorted(seen, key=lambda key: (-seen[key], len(key), key))
    return sorted(ranked[:most])


def _value_column(runs: Sequence[Found], name: str, drop: int) -> Column:
    """A column of numbers, unless one of the values is another text."""
    is_text = any(not _is_number(_value(run, name, str)) for run in runs)
    return Column(name, right=not is_text, cut=True, drop=drop)


def _is_number(text: str) -> bool:
    try:
        float(text or 0)
    except ValueError:
        return False
    return True


def _value(run: Found, name: str, shown: Any) -> str:
    kind, _, key = name.partition(".")
    data = run.data
    if kind in ("params", "tags") and key:
        return str((data.params if kind == "params" else data.tags).get(key, ""))
    metric = key if kind == "metrics" and key else name
    if metric in data.metrics:
        return str(shown(data.metrics[metric]))
    return str(data.params.get(name, ""))


def _as_tree(runs: Sequence[Found]) -> list[tuple[Found, int]]:
    """Each run with its depth, children right after their parent, oldest child first."""
    ids = {run.info.run_id for run in runs}
    children: dict[str, list[Found]] = {}
    tops = []
    for run in runs:
        parent = run.info.parent_run_id
        if parent in ids and parent is not None and parent != run.info.run_id:
            children.setdefault(parent, []).insert(0, run)
        else:
            tops.append(run)
    ordered: list[tuple[Found, int]] = []
    left = [(run, 0) for run in reversed(tops)]
    while left:
        run, depth = left.pop()
        ordered.append((run, depth))
        left += [(child, depth + 1) for child in reversed(children.pop(run.info.run_id, []))]
    return ordered
