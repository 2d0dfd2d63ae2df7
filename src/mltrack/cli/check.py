"""`mltrack check`: verifies that everything in the store is as it was written."""

from __future__ import annotations

import contextlib
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from mltrack.cli.context import RUN, Session, command, json_option, pass_session
from mltrack.cli.exit_codes import FAILURE
from mltrack.text.counting import plural
from mltrack.text.printing import console, print_json, say, styled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mltrack.storage.check.repair import Repairs
    from mltrack.storage.check.report import CheckReport, Finding

__all__ = ["check", "repair"]


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


@command("repair", "Repair a store, from a copy if there is one.", "mltrack repair")
@click.option(
    "--from", "source", type=click.Path(), metavar="STORE", help="A copy of the store, to restore files from."
)
@json_option
@pass_session
def repair(session: Session, source: str | None, as_json: bool) -> int:
    """Check the store, mend what can be mended, and check it again.

    Removes what processes that died left behind, compacts their data (as mltrack seal does), takes out points that show
    twice after run folders were merged by hand, and rebuilds the catalog.
    With --from, files that are damaged or missing come from another copy of the store: a backup, or a store that the
    runs were copied to or from. Each is taken only if less is wrong then and nothing readable is lost; what it
    replaces is kept in the store's folder damaged. The exit code is 1 if errors are left.
    """
    from pathlib import Path

    from mltrack.cli.manage import seal_all
    from mltrack.disk.layout import find_store
    from mltrack.storage.check.check import check_store
    from mltrack.storage.check.doubled import take_out_doubled
    from mltrack.storage.check.repair import Repairs, remove_leftovers, restore_from

    store = session.store()
    with _bar(as_json) as advanced:
        report = check_store(store.path, advanced=advanced)
    removed = remove_leftovers(store.layout, report, time.time())
    done = Repairs(removed, doubled=take_out_doubled(store.layout, report))
    if source is not None:
        stamp = time.strftime("%Y-%m-%dT%H%M%SZ", time.gmtime())
        restored = restore_from(store.layout, report, find_store(Path(source)), stamp=stamp)
        done.restored, done.not_restored = restored.restored, restored.not_restored
    sealed = seal_all(session, store, ())
    store.refresh(full=True)
    session.damage.clear()  # the check below has it
    with _bar(as_json) as advanced:
        after = check_store(store.path, advanced=advanced)
    if as_json:
        print_json({**asdict(done), "sealed_points": sum(sealed.points.values()), "left": _facts(after)})
    else:
        _print_repairs(done, sum(sealed.points.values()))
        for finding in after.findings:
            _print(finding)
        _print_sum(after)
    return 0 if after.sound else FAILURE


def _print_repairs(done: Repairs, sealed: int) -> None:
    for path in done.removed:
        say(f"removed {path}")
    for path in done.restored:
        say(f"restored {path}")
    for path, reason in done.not_restored.items():
        say(f"not restored: {path}: {reason}", err=True)
    if done.doubled:
        say(f"took out {plural(done.doubled, 'point')} that showed twice")
    if sealed:
        say(f"sealed {plural(sealed, 'point')}")


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
    return {**asdict(report), "root": str(report.root), "sound": report.sound}


def _print(finding: Finding) -> None:
    where = finding.path if finding.offset is None else f"{finding.path} at byte {finding.offset}"
    head = styled(f"{finding.severity}: ", fg="red" if finding.severity == "error" else "yellow", bold=True)
    say(head, f"{where}: {finding.what}")
    say("  ", styled(finding.advice, dim=True))


def _print_sum(report: CheckReport) -> None:
    from mltrack.cli.formatting import size

    errors = report.errors
    notes = len(report.findings) - errors
    found = "no problems found" if report.sound else plural(errors, "error")
    if notes:
        found += f", {plural(notes, 'note')}"
    what = (plural(report.runs, "run"), plural(report.points, "point"), plural(report.artifacts, "artifact"))
    head = styled(found, fg="green" if report.sound else "red", bold=True)
    say(head, f": {', '.join(what)} in {plural(report.files, 'file')}, {size(report.bytes)}")
