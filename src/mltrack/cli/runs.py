"""`mltrack ls`: lists runs."""

from __future__ import annotations

import re
import shlex
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mltrack.catalog.aggregates import aggregate_in
from mltrack.cli.columns import DEFAULT, ColumnMemory, aggregates_of, alert_count, split_columns, value_of
from mltrack.cli.context import Session, command, experiments_option, filter_option, json_option, pass_session
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

PARAM_COLUMNS_MAX = 3
METRIC_COLUMNS_MAX = 4
SHORT_ID = 8
HIDDEN_COUNTED_MAX = 1_000
COMMON_OF_MAX = 200
"""Of how many runs the most common metrics are found, for groups."""
WATCH_S = 2.0


@dataclass(frozen=True, slots=True)
class _Listing:
    """What `mltrack ls` was asked for. ``columns``: those to show, None for the most common metrics."""

    store: Store
    experiments: tuple[str, ...]
    filter_string: str
    order_by: tuple[str, ...]
    limit: int
    deleted: bool
    columns: list[str] | None
    group_by: list[str]
    as_json: bool

    def show(self, *, line: bool = False) -> None:
        """Print it once; ``line`` puts JSON on one line."""
        if self.group_by:
            self._show_groups(line=line)
        else:
            self._show_runs(line=line)
        if not self.deleted and not self.as_json:
            _note_hidden(self.store, self.experiments)

    def _show_runs(self, *, line: bool) -> None:
        from mltrack.cli.select import find_runs, run_facts

        aggregates = aggregates_of(self.columns or [])
        runs = find_runs(
            self.store,
            experiments=self.experiments,
            filter_string=self.filter_string,
            order_by=self.order_by,
            limit=self.limit + 1,
            deleted=self.deleted,
            aggregates=aggregates,
        )
        shown = runs[: self.limit]
        points = points_of(self.store, shown)
        if self.as_json:
            facts = [{**run_facts(run, points[run.info.run_id]), **_copy_facts(run.info)} for run in shown]
            if aggregates:
                facts = [{**one, "aggregates": run.aggregates} for one, run in zip(facts, shown, strict=True)]
            print_json(facts, line=line)
            return
        if runs:
            print_runs(shown, points, self.columns, tree=not self.order_by)
        else:
            self._note_none()
        if len(runs) > self.limit:
            note(f"there are more: mltrack ls --limit {self.limit * 10}")
        if shown:
            _note_unknown(shown, [*(self.columns or []), *_ordered_by(self.order_by)])

    def _note_none(self) -> None:
        from mltrack.disk.found_store import words_on_mlflow

        chosen = self.filter_string or self.experiments
        note(f"no runs{' that match' if chosen else ''} in {self.store.path}")
        if not chosen and (left := words_on_mlflow(self.store.path)):
            note(left)

    def _show_groups(self, *, line: bool) -> None:
        from mltrack.cli.groups import grouped_columns, order_groups, print_groups
        from mltrack.cli.names import check_statuses
        from mltrack.cli.select import find_runs

        check_statuses(self.filter_string)
        columns = grouped_columns(self.columns or [])
        if not columns:
            some = find_runs(
                self.store,
                experiments=self.experiments,
                filter_string=self.filter_string,
                limit=COMMON_OF_MAX,
                deleted=self.deleted,
            )
            columns = grouped_columns(_common_metrics(some, METRIC_COLUMNS_MAX))
        groups = self.store.group_runs(
            self.group_by,
            list(columns.values()),
            filter_string=self.filter_string,
            run_view_type="DELETED_ONLY" if self.deleted else "ACTIVE_ONLY",
            experiment_names=list(self.experiments) or None,
        )
        ordered = order_groups(groups, self.order_by, columns)
        print_groups(ordered[: self.limit], columns, as_json=self.as_json, line=line)
        if not groups and not self.as_json:
            self._note_none()
        if len(groups) > self.limit and not self.as_json:
            note(f"there are more: mltrack ls --limit {self.limit * 10}")


@command(
    "ls",
    "List runs, newest first.",
    "mltrack ls",
    "mltrack ls --experiment spirals --filter \"metrics.loss < 0.5 and params.lr = '0.1'\" --order-by metrics.loss",
    'mltrack ls --columns "min(loss),max(accuracy),params.lr" --order-by "min(loss)"',
    "mltrack ls --group-by params.lr --columns loss,accuracy",
    "mltrack ls --columns default --json",
)
@experiments_option
@filter_option
@click.option(
    "-o",
    "--order-by",
    multiple=True,
    metavar="FIELD",
    help="For example 'metrics.loss DESC' or 'min(loss)'; may be repeated.",
)
@click.option("-n", "--limit", type=click.IntRange(min=1), default=30, show_default=True, help="How many at most.")
@click.option("--deleted", is_flag=True, help="The deleted runs instead.")
@click.option(
    "-c",
    "--columns",
    multiple=True,
    metavar="A,B",
    help="Metrics to show, min(KEY), max(KEY), last(KEY), mean(KEY), count(KEY), params.NAME, tags.NAME; may be "
    "repeated. In a terminal remembered for the store; 'default' forgets them.",
)
@click.option(
    "-g",
    "--group-by",
    multiple=True,
    metavar="A,B",
    help="One line for all runs with the same params.NAME, tags.NAME, experiment or status: mean ± deviation of the "
    "columns.",
)
@click.option(
    "-w",
    "--watch",
    is_flag=False,
    flag_value=WATCH_S,
    type=click.FloatRange(min=0.1),
    metavar="[SECONDS]",
    help="Show it again and again, in place on a terminal; every 2 seconds unless you say otherwise.",
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
    columns: tuple[str, ...],
    group_by: tuple[str, ...],
    watch: float | None,
    as_json: bool,
) -> None:
    """List runs, newest first."""
    store = session.store()
    what = _Listing(
        store,
        experiments,
        filter_string,
        order_by,
        limit,
        deleted,
        _chosen_columns(store, split_columns(columns), remembered=is_terminal() and not as_json),
        split_columns(group_by),
        as_json,
    )
    if watch is None:
        what.show()
        return
    from mltrack.text.frames import repeat

    repeat(lambda: what.show(line=True), watch, apart=not as_json)


def _chosen_columns(store: Store, given: list[str], *, remembered: bool) -> list[str] | None:
    """The columns to show: those given, else those of the last time; ``remembered`` says if it is for a person.

    Remembered are a person's columns: what a script reads in a pipe does not depend on what was shown before.
    """
    memory = ColumnMemory()
    if given == [DEFAULT]:
        memory.put(store.store_id, None)
        return None
    if given:
        if remembered and memory.get(store.store_id) != given and memory.put(store.store_id, given):
            note("these columns are remembered for this store; to forget them: mltrack ls --columns default")
        return given
    return memory.get(store.store_id) if remembered else None


def _ordered_by(order_by: Sequence[str]) -> list[str]:
    """Metrics, params and tags in --order-by, as a column would name them."""
    names = [re.sub(r"\s+(ASC|DESC)\s*$", "", clause, flags=re.IGNORECASE).strip() for clause in order_by]
    named = [name for name in names if name.partition(".")[0] in ("metrics", "params", "tags")]
    return [*named, *aggregates_of(names)]


def _note_unknown(runs: Sequence[Found], names: Sequence[str]) -> None:
    """Say which names no run shown has: they may be misspelled."""
    from mltrack.cli.names import meant

    known = {name for run in runs for name in (*run.data.metrics, *run.data.params)}
    known |= {
        f"{kind}.{key}" for run in runs for kind in ("metrics", "params", "tags") for key in getattr(run.data, kind)
    }
    for name in dict.fromkeys(names):
        aggregate = aggregate_in(name)
        if aggregate is not None and name not in known:
            name = aggregate.metric
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
    chosen = (
        list(columns) if columns is not None else [*_common_metrics(runs, METRIC_COLUMNS_MAX), *_differing_params(runs)]
    )
    shown = number if pretty else plain_number
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
    alerts = {run.info.run_id: alert_count(run) for run in runs}
    if any(alerts.values()):
        head.insert(len(head) - len(chosen), Column("alerts", right=True, style="red", drop=2))
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
                *([f"! {alerts[info.run_id]}" if alerts[info.run_id] else ""] if any(alerts.values()) else []),
                *(value_of(run, name).shown(shown) for name in chosen),
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


def _differing_params(runs: Sequence[Found]) -> list[str]:
    """The params that tell these runs apart, those that most runs have first; of a single run, its first ones."""
    values: dict[str, Counter[str]] = {}
    for run in runs:
        for key, value in run.data.params.items():
            values.setdefault(key, Counter())[value] += 1
    metrics = {key for run in runs for key in run.data.metrics}
    differing = [key for key, seen in values.items() if len(runs) == 1 or len(seen) > 1 or seen.total() < len(runs)]
    ranked = sorted(differing, key=lambda key: (-values[key].total(), len(key), key))[:PARAM_COLUMNS_MAX]
    return [f"params.{key}" if key in metrics or "." in key else key for key in sorted(ranked)]


def _value_column(runs: Sequence[Found], name: str, drop: int) -> Column:
    """A column of numbers, unless one of the values is another text."""
    is_text = any(not _is_number(value_of(run, name).shown(str)) for run in runs)
    return Column(name, right=not is_text, cut=True, drop=drop)


def _is_number(text: str) -> bool:
    try:
        float(text or 0)
    except ValueError:
        return False
    return True


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
