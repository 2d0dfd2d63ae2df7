"""`mltrack check`: verifies that everything in the store is as it was written."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

import click

from mltrack.cli.context import RUN, Session, command, json_option
from mltrack.cli.exit_codes import FAILURE
from mltrack.text.printing import console, print_json, say, styled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mltrack.storage.check.report import CheckReport, Finding

__all__ = ["check"]


@command("check", "Verify every checksum.", "mltrack check", "mltrack check spirals-1 --json")
@click.argument("runs", type=RUN, nargs=-1, metavar="[RUN]...")
@json_option
@click.pass_context
def check(ctx: click.Context, runs: tuple[str, ...], as_json: bool) -> None:
    """Read and verify every byte of the store, or of RUNs; print what is wrong, where, and what to do.

    Nothing is changed. The exit code is 1 if there are errors; notes are not errors.
    """
    from mltrack.disk.layout import find_store
    from mltrack.storage.check.check import check_store

    session = ctx.find_object(Session) or Session()
    ids = None
    if runs:
        store = session.store()
        ids = list(dict.fromkeys(map(store.resolve, runs)))
    with _bar(as_json) as advanced:
        report = check_store(find_store(session.store_path), ids, advanced=advanced)
    if as_json:
        print_json(_facts(report))
    else:
        for finding in report.findings:
            _print(finding)
        _print_sum(report)
    if not report.sound:
        ctx.exit(FAILURE)


@contextlib.contextmanager
def _bar(quiet: bool) -> Iterator[Callable[[int, int], None]]:
    if quiet or not sys.stderr.isatty():
        yield lambda done, of: None
        return
    from rich.progress import Progress

    with Progress(console=console(err=True), transient=True) as progress:
        task = progress.add_task("checking runs")
        yield lambda done, of: progress.update(task, completed=done, total=of)


def _facts(report: CheckReport) -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(report), "root": str(report.root), "sound": report.sound}


def _print(finding: Finding) -> None:
    where = finding.path if finding.offset is None else f"{finding.path} at byte {finding.offset}"
    head = styled(f"{finding.severity}: ", fg="red" if finding.severity == "error" else "yellow", bold=True)
    say(head, f"{where}: {finding.what}")
    say("  ", styled(finding.advice, dim=True))


def _print_sum(report: CheckReport) -> None:
    from mltrack.cli.formatting import plural, size

    errors = sum(finding.severity == "error" for finding in report.findings)
    notes = len(report.findings) - errors
    found = "no errors" if report.sound else plural(errors, "error")
    if notes:
        found += f", {plural(notes, 'note')}"
    what = (plural(report.runs, "run"), plural(report.points, "point"), plural(report.artifacts, "artifact"))
    head = styled(found, fg="green" if report.sound else "red", bold=True)
    say(head, f": {', '.join(what)} in {plural(report.files, 'file')}, {size(report.bytes)}")
