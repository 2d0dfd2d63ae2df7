"""`mltrack ls`: lists runs."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from mltrack.catalog.aggregates import aggregate_in
from mltrack.cli.columns import DEFAULT, ColumnMemory, aggregates_of, split_columns
from mltrack.cli.context import Session, command, experiments_option, filter_option, json_option, pass_session
from mltrack.cli.run_table import FIXED_COLUMNS, METRIC_COLUMNS_MAX, common_metrics, copy_facts, points_of, print_runs
from mltrack.entities import DELETED
from mltrack.text.printing import is_terminal, note, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mltrack.catalog.groups import RunGroup
    from mltrack.cli.select import Found
    from mltrack.store import Store

__all__ = ["ls"]

HIDDEN_COUNTED_MAX = 1_000
COMMON_OF_MAX = 200
"""Of how many runs the most common metrics are found, for groups."""
WATCH_S = 2.0


@dataclass(frozen=True, slots=True)
class _Listing:
    """What `mltrack ls` was asked for. ``columns``: those to show, None for the most common metrics.

    ``remember``: they were chosen by a person, who will want to see them again.
    """

    store: Store
    experiments: tuple[str, ...]
    filter_string: str
    order_by: tuple[str, ...]
    limit: int
    deleted: bool
    columns: list[str] | None
    group_by: list[str]
    as_json: bool
    remember: bool

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
            facts = [{**run_facts(run, points[run.info.run_id]), **copy_facts(run.info)} for run in shown]
            if aggregates:
                facts = [{**one, "aggregates": run.aggregates} for one, run in zip(facts, shown, strict=True)]
            print_json(facts, line=line)
            return
        if runs:
            print_runs(shown, points, self.columns, tree=not self.order_by)
        else:
            self._note_none()
        if len(runs) > self.limit:
            note(f"there are more: add --limit {self.limit * 10}")
        if shown and not _note_unknown(shown, [*(self.columns or []), *_ordered_by(self.order_by)]) and self.remember:
            self._remember()

    def _remember(self) -> None:
        memory, chosen = ColumnMemory(), self.columns
        if memory.get(self.store.store_id) != chosen and memory.put(self.store.store_id, chosen):
            note("these columns are remembered for this store; to forget them: mltrack ls --columns default")

    def _note_none(self) -> None:
        from mltrack.disk.found_store import words_on_mlflow

        chosen = self.filter_string or self.experiments
        note(f"no runs{' that match' if chosen else ''} in {self.store.path}")
        if not chosen and (left := words_on_mlflow(self.store.path)):
            note(left)

    def _show_groups(self, *, line: bool) -> None:
        from mltrack.cli.groups import grouped_columns, order_groups, print_groups
        from mltrack.cli.names import check_statuses

        check_statuses(self.filter_string)
        columns = grouped_columns(self.columns or [])
        if not columns:
            columns = grouped_columns(sorted(common_metrics(self._some_runs(), METRIC_COLUMNS_MAX)))
        groups = self.store.group_runs(
            self.group_by,
            list(columns.values()),
            filter_string=self.filter_string,
            run_view_type="DELETED_ONLY" if self.deleted else "ACTIVE_ONLY",
            experiment_names=list(self.experiments) or None,
        )
        ordered = order_groups(groups, self.order_by, columns)
        print_groups(ordered[: self.limit], columns, as_json=self.as_json, line=line)
        if self.as_json:
            return
        if not groups:
            self._note_none()
        self._note_lacking(groups)
        if len(groups) > self.limit:
            note(f"there are more: add --limit {self.limit * 10}")

    def _note_lacking(self, groups: Sequence[RunGroup]) -> None:
        """Say which of the keys no run has: they may be misspelled."""
        from mltrack.text.nearest import meant

        for key in groups[0].keys if groups else ():
            if any(group.keys[key] is not None for group in groups):
                continue
            kind, dot, _ = key.partition(".")
            if dot and kind in ("params", "tags"):
                known = {f"{kind}.{name}" for run in self._some_runs() for name in getattr(run.data, kind)}
            else:
                known = {name for run in self._some_runs() for name in run.data.params}
            note(f"none of these runs has {key!r}; {meant(key, known)}", style="yellow")

    def _some_runs(self) -> Sequence[Found]:
        from mltrack.cli.select import find_runs

        return find_runs(
            self.store,
            experiments=self.experiments,
            filter_string=self.filter_string,
            limit=COMMON_OF_MAX,
            deleted=self.deleted,
        )


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
    given, for_person = split_columns(columns), is_terminal() and not as_json
    what = _Listing(
        store,
        experiments,
        filter_string,
        order_by,
        limit,
        deleted,
        _chosen_columns(store, given, remembered=for_person),
        split_columns(group_by),
        as_json,
        remember=for_person and bool(given) and given != [DEFAULT],
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
        return given
    return memory.get(store.store_id) if remembered else None


def _ordered_by(order_by: Sequence[str]) -> list[str]:
    """Metrics, params and tags in --order-by, as a column would name them."""
    names = [re.sub(r"\s+(ASC|DESC)\s*$", "", clause, flags=re.IGNORECASE).strip() for clause in order_by]
    named = [name for name in names if name.partition(".")[0] in ("metrics", "params", "tags")]
    return [*named, *aggregates_of(names)]


def _note_unknown(runs: Sequence[Found], names: Sequence[str]) -> list[str]:
    """Say which names no run shown has, and give them: they may be misspelled."""
    from mltrack.text.nearest import meant

    unknown = []
    known = {name for run in runs for name in (*run.data.metrics, *run.data.params)}
    known |= {
        f"{kind}.{key}" for run in runs for kind in ("metrics", "params", "tags") for key in getattr(run.data, kind)
    }
    for name in dict.fromkeys(names):
        aggregate = aggregate_in(name)
        if aggregate is not None and name not in known:
            name = aggregate.metric
        if name and name not in FIXED_COLUMNS and name.replace("`", "").replace('"', "") not in known:
            unknown.append(name)
            note(f"none of these runs has {name!r}; {meant(name, {*known, *FIXED_COLUMNS})}", style="yellow")
    return unknown


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
