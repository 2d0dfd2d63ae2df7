"""`mltrack tail` and `mltrack metrics`: the points themselves."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from mltrack.cli.context import RUN, Session, command, json_option, pass_session
from mltrack.text.figures import utc_ns, with_times
from mltrack.text.printing import (
    Column,
    console,
    heading,
    is_terminal,
    note,
    print_json,
    print_table,
    say,
    say_fields,
    styled,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mltrack.disk.segment import PointColumns
    from mltrack.storage.runs.stored_run import StoredRun

__all__ = ["follow", "metrics", "print_summaries", "tail"]

FOLLOW_INTERVAL_S = 0.5
ALERTS_SHOWN_MAX = 10
SPARK_WIDTH = 24


class Point(NamedTuple):
    """One point as it is printed; time in ns."""

    time: int
    step: int
    metric: str
    value: float


@command(
    "tail",
    "Show a run's last points, and follow a live one.",
    "mltrack tail spirals-1",
    "mltrack tail spirals-1 -f --metric loss",
)
@click.argument("run", type=RUN)
@click.option("-f", "--follow", "following", is_flag=True, help="Continue with what a live run logs, until it ends.")
@click.option("-m", "--metric", "keys", multiple=True, metavar="KEY", help="Only this metric; may be repeated.")
@click.option(
    "-n", "--lines", type=click.IntRange(min=0), default=10, show_default=True, help="How many to start with."
)
@json_option
@pass_session
def tail(session: Session, run: str, following: bool, keys: tuple[str, ...], lines: int, as_json: bool) -> None:
    """Show the last points of RUN, as time, step, metric and value; --json prints one object per line."""
    from mltrack.cli.guards import say_alert

    stored = session.store().run(run)
    show = _show_json if as_json else _show_line
    known = stored.alerts()
    if not as_json:
        for alert in known[-ALERTS_SHOWN_MAX:]:
            say_alert(alert, err=not is_terminal())
    ends = {writer.writer: writer.position.points for writer in stored.writers()}
    for point in _last_points(stored, ends, keys, lines):
        show(point)
    if following:
        on_events = (lambda: None) if as_json else _new_alerts(stored, len(known))
        for point in follow(stored, ends, keys, on_events=on_events):
            show(point)
        if is_terminal() and not as_json:
            from mltrack.cli.formatting import status

            note(f"run {stored.info.run_name} has ended: {status(stored.info)}")


def _new_alerts(run: StoredRun, shown: int) -> Callable[[], None]:
    """What shows alerts that came in since: between the points on a terminal, else on standard error."""
    from mltrack.cli.guards import say_alert

    def show() -> None:
        nonlocal shown
        found = run.alerts()
        for alert in found[shown:]:
            say_alert(alert, err=not is_terminal())
        shown = len(found)

    return show


def _show_line(point: Point) -> None:
    from mltrack.cli.formatting import point_time

    if is_terminal():
        say(
            styled(point_time(point.time), dim=True),
            f" {point.step:>8}  ",
            styled(point.metric, fg="cyan"),
            f"  {point.value:.6g}",
        )
    else:
        say_fields(point_time(point.time), str(point.step), point.metric, repr(point.value))


def _show_json(point: Point) -> None:
    print_json(with_times(point._asdict(), ns=("time",)), line=True)


def _last_points(run: StoredRun, ends: dict[str, int], keys: Sequence[str], most: int) -> list[Point]:
    """The last ``most`` points before ``ends`` (seq by writer), in the order of time."""
    if not most:
        return []
    if keys:
        tables = [(key, run.metrics(key)) for key in keys]  # raises if there is no such metric
        found = [
            Point(at, step, key, value)
            for key, table in tables
            for step, at, value in _rows(table.slice(max(0, len(table) - most)))
        ]
    else:
        after = {} if run.visibility else {writer: max(0, end - most) for writer, end in ends.items()}
        found = [
            point for writer, piece in run.read_points(after) for point in _points(piece, before=ends.get(writer, 0))
        ]
    return sorted(found, key=lambda point: point.time)[-most:]


def _rows(table: Any) -> list[tuple[int, int, float]]:
    import pyarrow as pa

    columns = (table.column("step"), table.column("time").cast(pa.int64()), table.column("value"))
    return list(zip(*(column.to_pylist() for column in columns), strict=True))


def _points(piece: PointColumns, *, keys: Sequence[str] = (), before: int | None = None) -> Iterator[Point]:
    for code, seq, step, at, value in zip(
        piece.codes.tolist(),
        piece.seqs.tolist(),
        piece.steps.tolist(),
        piece.times.tolist(),
        piece.values.tolist(),
        strict=True,
    ):
        key = piece.keys[code]
        if (not keys or key in keys) and (before is None or seq < before):
            yield Point(at, step, key, value)


def follow(
    run: StoredRun,
    after: dict[str, int],
    keys: Sequence[str] = (),
    *,
    on_events: Callable[[], None] = lambda: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Point]:
    """Points as they are logged, after ``after`` (seq by writer), until no process has the run open.

    ``on_events`` is called each time that the run's events were read.
    """
    after = dict(after)
    while True:
        run.refresh()
        live = run.state.live  # read before the points: a writer that has ended by now has written all its points
        for writer, piece in run.read_points(after):
            after[writer] = int(piece.seqs[-1]) + 1
            yield from _points(piece, keys=keys)
        on_events()
        if not live:
            return
        sleep(FOLLOW_INTERVAL_S)


@command(
    "metrics",
    "Show a run's metrics as a table or a chart.",
    "mltrack metrics spirals-1",
    "mltrack metrics spirals-1 loss",
    "mltrack metrics spirals-1 loss --last 5 --json",
)
@click.argument("run", type=RUN)
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@click.option("-n", "--last", type=click.IntRange(min=1), help="The last N points of each as a table, not a chart.")
@json_option
@pass_session
def metrics(session: Session, run: str, keys: tuple[str, ...], last: int | None, as_json: bool) -> None:
    """Show the metrics of RUN; with KEYs their points: a chart in a terminal, a table in a pipe."""
    stored = session.store().run(run)
    if not keys and last is None:
        if as_json:
            from dataclasses import asdict

            print_json(
                {key: with_times(asdict(summary), ns=("time",)) for key, summary in sorted(stored.summaries.items())}
            )
        else:
            print_summaries(stored, sorted(stored.summaries), sparks=True)
        return
    wanted = keys or tuple(sorted(stored.summaries))
    if is_terminal() and not as_json and last is None:
        for key in wanted:
            _print_chart(stored, key)
        return
    tables = {key: stored.metrics(key) for key in wanted}
    rows = {key: _rows(table.slice(max(0, len(table) - last) if last else 0)) for key, table in tables.items()}
    if as_json:
        print_json(
            {key: [{"step": s, "time": utc_ns(t), "value": v} for s, t, v in found] for key, found in rows.items()}
        )
        return
    columns = [Column("metric", style="cyan"), Column("step", right=True), Column("time"), Column("value", right=True)]
    print_table(columns, [(key, str(s), _when(t), repr(v)) for key, found in rows.items() for s, t, v in found])


def _when(time_ns: int) -> str:
    from mltrack.cli.formatting import point_time

    return point_time(time_ns)


def _print_chart(run: StoredRun, key: str) -> None:
    import numpy as np
    from rich.text import Text

    from mltrack.cli.chart import line_chart
    from mltrack.cli.formatting import count, number
    from mltrack.disk.arrow_columns import column_array

    table = run.metrics(key)
    summary = run.summaries[key]
    heading(key)
    steps, values = column_array(table.column("step"), np.int64), column_array(table.column("value"), np.float64)
    screen = console()
    for line in line_chart(steps.astype(float), values, width=min(screen.width, 100)):
        axis, sign, rest = line.partition("┤" if "┤" in line else "│")
        screen.print(Text.assemble((axis + sign, "dim"), (rest, "cyan")) if sign else Text(line, style="dim"))
    facts = {"latest": number(summary.value), "min": number(summary.min), "max": number(summary.max)}
    line = "  ".join(f"{name} {text}" for name, text in facts.items())
    screen.print(Text(f"{line}  points {count(summary.count)}\n", style="dim"))


def print_summaries(run: StoredRun, keys: Sequence[str], *, sparks: bool = False) -> None:
    """Print a table of metrics: latest, min, max, count; ``sparks`` adds a sparkline of each, in a terminal."""
    from mltrack.cli.formatting import count, number

    pretty = is_terminal()
    shown: Callable[[float], str] = number if pretty else repr
    sparks = sparks and pretty
    columns = [
        Column("metric", style="cyan", cut=True),
        *(Column(name, right=True, drop=at) for at, name in enumerate(("latest", "step", "min", "max", "points"))),
        *([Column("", style="green", drop=9)] if sparks else []),
    ]
    rows = []
    for key in keys:
        summary = run.summaries[key]
        row = [
            key,
            shown(summary.value),
            str(summary.step),
            shown(summary.min),
            shown(summary.max),
            count(summary.count) if pretty else str(summary.count),
        ]
        rows.append([*row, _spark(run, key)] if sparks else row)
    print_table(columns, rows)


def _spark(run: StoredRun, key: str) -> str:
    import numpy as np

    from mltrack.disk.arrow_columns import column_array
    from mltrack.drawing.sparkline import sparkline

    return sparkline(column_array(run.metrics(key).column("value"), np.float64), SPARK_WIDTH)
