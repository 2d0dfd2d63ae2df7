"""`mltrack top`: a live screen of the store."""

from __future__ import annotations

import gc
import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

import click

from mltrack.cli.context import Session, command, json_option, pass_session
from mltrack.errors import UsageError
from mltrack.text.printing import (
    Column,
    console,
    has_colours,
    heading,
    is_terminal,
    note,
    print_json,
    print_table,
    say,
    styled,
)

if TYPE_CHECKING:
    from pathlib import Path

    from mltrack.text.printing import Cell
    from mltrack.top.board import Board
    from mltrack.top.settings import Settings

__all__ = ["top"]

ROWS_MAX = 30
CHARTS_MAX = 6
CHART_HEIGHT = 8


@command(
    "top",
    "Watch runs, curves and remotes live in the terminal.",
    "mltrack top --once",
    'mltrack top --once --json --filter "/spirals/ and metrics.loss < 0.5" --group-by params.lr',
)
@click.option(
    "-f", "--filter", "filter_line", metavar="LINE", help="Only runs that match: MLflow's grammar, or /REGEX/ on names."
)
@click.option("-g", "--group-by", metavar="FIELD", help="experiment, parent, params.NAME, tags.NAME, status, user_id.")
@click.option("-m", "--metrics", metavar="REGEX", help="Only charts of metrics with such names.")
@click.option("-x", "x_axis", metavar="AXIS", help="step, time (since the start), clock, or the name of a metric.")
@click.option("-r", "--run", metavar="RUN", help="Start at this run.")
@click.option("--once", is_flag=True, help="Print what a screen shows, once.")
@json_option
@pass_session
def top(
    session: Session,
    filter_line: str | None,
    group_by: str | None,
    metrics: str | None,
    x_axis: str | None,
    run: str | None,
    once: bool,
    as_json: bool,
) -> None:
    """Watch runs, curves, logs and remotes live in the terminal; on another machine, run it there over ssh.

    What is chosen is remembered for the next time ($XDG_CONFIG_HOME/mltrack/top.json), options are not.
    """
    from mltrack.extras import need
    from mltrack.top.board import Board
    from mltrack.top.settings import Settings, load_settings, settings_path

    if not once:
        need("textual", "mltrack top", instead="or print one screen: mltrack top --once")
    layout = session.layout()
    if not once and (as_json or not _has_terminal()):
        raise UsageError("mltrack top needs a terminal", hint="print one screen: mltrack top --once [--json]")
    path = settings_path()
    settings = Settings() if once else load_settings(path, layout.store_id)
    _apply(settings, filter_line, group_by, metrics, x_axis)
    board = Board(layout, settings)
    if run:
        board.selected = session.store().resolve(run)
    if not once:
        _watch(board, path)
        return
    from mltrack.top.snapshot import ready_board, snapshot

    ready_board(board)
    session.damage += board.reader.damage
    if board.problem:
        raise UsageError(board.problem, hint="see: mltrack top --help")
    _check_metrics(board)
    if as_json:
        print_json(snapshot(board))
    else:
        _print(board)


def _has_terminal() -> bool:
    """Whether keys come from a terminal, and all output goes to one; Textual draws on standard error."""
    return all(stream is not None and stream.isatty() for stream in (sys.__stdin__, sys.__stdout__, sys.__stderr__))


def _watch(board: Board, settings_file: Path | None) -> None:
    """Show the board until its user quits."""
    from mltrack.top.poller import Poller
    from mltrack.top.settings import save_settings

    def hang_up(*_: object) -> NoReturn:
        """The terminal is gone, so that nothing can be drawn, and waiting for that would never end."""
        save_settings(settings_file, board.layout.store_id, board.settings)
        os._exit(128 + signal.SIGHUP)

    signal.signal(signal.SIGHUP, hang_up)
    gc.disable()  # what is imported stays: looking for garbage among it would delay the first frame
    with Poller(board) as poller:  # reads the first rows while Textual is imported
        from mltrack.top.tui.app import TopApp

        app = TopApp(board, poller, settings_file)
        app.run()
    if app.return_code:
        raise click.exceptions.Exit(app.return_code)


def _apply(
    settings: Settings, filter_line: str | None, group_by: str | None, metrics: str | None, x_axis: str | None
) -> None:
    """Take the options into the settings."""
    from mltrack.top.filters import metric_filter, parse_line
    from mltrack.top.view import AXES, METRIC

    kept = settings.store
    kept.filter = kept.filter if filter_line is None else filter_line
    kept.group_by = kept.group_by if group_by is None else group_by
    kept.metrics = kept.metrics if metrics is None else metrics
    if x_axis is not None:
        kept.axis, kept.x_metric = (x_axis, "") if x_axis in AXES else (METRIC, x_axis)
    for given in (filter_line, group_by):
        if given is not None:
            parse_line(filter_line or "", group_by or "experiment")
    if metrics is not None:
        metric_filter(metrics)


def _check_metrics(board: Board) -> None:
    """Check that the runs that are shown have a metric that is on the x axis, and metrics to draw.

    Raises:
        UsageError: none of them has the one on the x axis.
    """
    from mltrack.text.nearest import meant

    keys = {key for line in board.shown() for key in board.keys.get(line.run_id, ())}
    wanted = board.view.axis.metric
    if wanted and keys and wanted not in keys:
        raise UsageError(f"none of the runs shown has a metric {wanted!r}", hint=meant(wanted, keys, "metrics"))
    if board.settings.store.metrics and keys and not board.metrics(system=False):
        note(f"no metric is like {board.settings.store.metrics!r}; {meant('', keys, 'there are')}", style="yellow")


# --- one screen as text ----------------------------------------------------------------------------------------------


def _print(board: Board) -> None:
    rows = board.tree.rows()
    if not rows:
        note(f"no runs{' that match' if board.settings.store.filter else ''} in {board.layout.root}")
        return
    _print_rows(board)
    names = board.metrics(system=False)
    for metric in names[:CHARTS_MAX]:
        _print_chart(board, metric)
    if len(names) > CHARTS_MAX:
        note(f"{len(names) - CHARTS_MAX} more metrics; choose some by --metrics REGEX")
    _print_remotes(board)


def _print_rows(board: Board) -> None:
    from mltrack.cli.formatting import ago, duration, moment
    from mltrack.entities import elapsed_ms

    now_ms = board.clock() // 1_000_000
    table: list[list[Cell]] = []
    rows = board.tree.rows()
    for row in rows[:ROWS_MAX]:
        indent = "  " * row.depth
        if row.run is None:
            live = f"{row.live} live" if row.live else ""
            table.append([f"{indent}{row.label} ({row.size})", live, "", ""])
            continue
        run = row.run
        took = duration(elapsed_ms(run.status, run.start_time, run.end_time, now_ms))
        started = ago(run.start_time, now_ms) if is_terminal() else moment(run.start_time)
        alerts = f" ! {run.alerts}" if run.alerts else ""
        table.append([f"{indent}{run.name}", f"{run.state}{alerts}", started, took])
    columns = [Column("run", cut=True), Column("status"), Column("started", drop=1), Column("duration", right=True)]
    print_table(columns, table)
    if len(rows) > ROWS_MAX:
        note(f"{len(rows) - ROWS_MAX:,} more rows; choose runs by --filter LINE")


def _print_chart(board: Board, metric: str) -> None:
    from mltrack.drawing.colours import DARK
    from mltrack.top.chart import draw_chart, x_label

    lines = board.lines_of(metric)
    width = min(console().width, 100)
    chart = draw_chart(lines, board.view, width, CHART_HEIGHT)
    say()
    heading(metric)
    plain = not has_colours()
    for at, drawn in enumerate(chart.rows):
        pieces = chart.signed_row(at) if plain else drawn
        label = chart.labels.get(at, "")
        axis = f"{label:>{chart.gutter - 2}} {'┤' if at in chart.labels else '│'}"
        coloured = [styled(text, fg=_rgb(DARK[lines[owner].colour])) if owner >= 0 else text for text, owner in pieces]
        say(styled(axis, dim=True), *coloured)
    first, last = (x_label(board.view.axis, x) for x in (chart.start, chart.end))
    gap = max(1, width - chart.gutter - len(first) - len(last))
    say(styled(f"{'':>{chart.gutter}}{first}{' ' * gap}{last}", dim=True))
    for reading in chart.read():
        line = lines[reading.line]
        bullet = chart.sign(reading.line) if plain else "●"
        say(styled(f"{bullet} ", fg=_rgb(DARK[line.colour])), f"{line.name}  ", styled(reading.text, bold=True))
    if chart.notes:
        note(", ".join(chart.notes))


def _rgb(colour: str) -> tuple[int, int, int]:
    """A colour of the palette as click takes it."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _print_remotes(board: Board) -> None:
    from mltrack.text.figures import count, size

    if not board.remotes:
        return
    say()
    heading("Remotes")
    rows = [
        (s.name, count(s.runs), count(s.points), size(s.file_bytes), _rate(s.points_per_s), count(len(s.rejected)))
        for s in board.remotes
    ]
    titles = ("remote", "runs", "points", "files", "points/s", "rejected")
    print_table([Column(title, right=title != "remote") for title in titles], rows)
    for state in board.remotes:
        if state.last_error:
            say(styled(f"{state.name}: {state.last_error}", fg="red"))


def _rate(points_per_s: float) -> str:
    return f"{points_per_s:,.0f}" if points_per_s else "-"
