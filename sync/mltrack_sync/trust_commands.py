"""The commands ``verify`` and ``gc``: what the remote has is compared, and what is surely there may go here."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from mltrack_sync.commands import Command, json_option, open_store, remote_for
from mltrack_sync.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Callable

    from mltrack_sync.verify import VerifyReport

__all__ = ["verify"]

DIFFERENT = 1


def selection_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--run, --experiment and --filter, as sync has them."""
    for option in (
        click.option("--filter", "filter_string", default="", metavar="EXPR", help="Only runs that meet a filter."),
        click.option(
            "--experiment", "experiments", multiple=True, metavar="NAME", help="Only runs of this experiment."
        ),
        click.option("--run", "runs", multiple=True, metavar="RUN", help="Only this run (id, first digits, or name)."),
    ):
        command = option(command)
    return command


@click.command(
    "verify", cls=Command, examples=["mltrack verify", "mltrack verify lab --experiment digits --quick --json"]
)
@click.argument("remote", required=False)
@selection_options
@click.option("--quick", is_flag=True, help="Latest points and sizes of files only; downloads nothing.")
@click.option("--jobs", default=4, show_default=True, metavar="N", help="How many runs to compare at a time.")
@json_option
@click.pass_context
def verify(
    ctx: click.Context,
    remote: str | None,
    runs: tuple[str, ...],
    experiments: tuple[str, ...],
    filter_string: str,
    quick: bool,
    jobs: int,
    as_json: bool,
) -> None:
    """Compare runs with a REMOTE, every point and the checksum of every file, and say exactly what differs.

    Changes nothing. Ends with 1 when something differs.
    """
    from mltrack_sync.verify import verify as compare

    store = open_store(ctx)
    selection = Selection(runs, experiments, filter_string)
    report = compare(store, remote_for(store, remote), selection=selection, quick=quick, jobs=jobs)
    if as_json:
        click.echo(json.dumps({**asdict(report), "same": report.same}, indent=2))
    else:
        _print(report)
    if not report.same:
        ctx.exit(DIFFERENT)


def _print(report: VerifyReport) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(file=sys.stdout)
    if report.differences:
        if console.is_terminal:
            table = Table("run", "what", "here", "there")
            for each in report.differences:
                table.add_row(each.run_id[:8], *map(_plain, (each.thing, each.here, each.there)))
            console.print(table)
        else:
            for each in report.differences:
                click.echo("\t".join((each.run_id, *map(_plain, (each.thing, each.here, each.there)))))
    what = f"{report.metrics:,} metrics (latest point)" if report.quick else f"{report.points:,} points"
    files = f"{report.artifacts:,} artifacts{' (size)' if report.quick else f' ({report.artifact_bytes:,} bytes)'}"
    told = f"{report.params:,} params, {report.tags:,} tags, {what}, {files} are the same in {report.runs:,} runs"
    click.echo(f"{report.remote}: {told}; {len(report.differences):,} differences in {report.seconds:.1f} s")


def _plain(text: str) -> str:
    """On one line, without what a terminal takes as commands."""
    return re.sub(r"[\x00-\x1f\x7f]+", " ", text)


commands: list[click.Command] = [verify]
