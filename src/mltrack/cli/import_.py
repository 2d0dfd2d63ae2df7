"""`mltrack import`: bring the runs of another tracker into the store."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mltrack.cli.context import Session, command, json_option, pass_session
from mltrack.cli.exit_codes import PARTIAL
from mltrack.text.commands import artifacts_from_option
from mltrack.text.counting import plural
from mltrack.text.printing import Column, console, heading, print_json, print_table, say, styled

if TYPE_CHECKING:
    from mltrack.importers.options import ImportReport
    from mltrack.store import Store

__all__ = ["import_"]


@command(
    "import",
    "Bring the runs of another tracker.",
    "mltrack import mlruns --dry-run",
    "mltrack import mlflow.db --experiment digits --no-artifacts",
    "mltrack import lightning_logs --into spirals --json",
)
@click.argument("source", type=click.Path())
@click.option("--from", "kind", default="", metavar="KIND", help="What SOURCE is; by default it is recognized.")
@click.option("--experiment", "experiments", multiple=True, metavar="PATTERN", help="Only runs of these experiments.")
@click.option("--run", "runs", multiple=True, metavar="PATTERN", help="Only these runs: ids, first digits, names.")
@click.option("--into", default="", metavar="NAME", help="Put all of them into this experiment.")
@click.option("--no-artifacts", is_flag=True, help="Leave out all files.")
@artifacts_from_option
@click.option("--dry-run", is_flag=True, help="Read all of it, show what would come, and change nothing.")
@json_option
@pass_session
@click.pass_context
def import_(
    ctx: click.Context,
    session: Session,
    source: str,
    kind: str,
    experiments: tuple[str, ...],
    runs: tuple[str, ...],
    into: str,
    no_artifacts: bool,
    artifacts_from: tuple[Path, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Write the runs of another tracker, SOURCE, into the store: a file or a folder, which is only read.

    Ids are made of the source's, so that everything comes once, however often this is interrupted and run again; what
    was changed here is never overwritten. "mltrack verify --against SOURCE" compares point by point. Exits with 3 when
    something could not be read: that is listed, and the rest is imported.
    """
    from dataclasses import asdict

    from mltrack.importers.engine import import_source
    from mltrack.importers.options import ImportOptions

    with _store(session, dry_run) as store, _progress(as_json) as progress:
        options = ImportOptions(experiments, runs, into, not no_artifacts, artifacts_from, dry_run, progress)
        report = import_source(store, source, kind, options)
    if as_json:
        print_json({**asdict(report), "complete": report.complete})
    else:
        _print(report, store.path)
    if not report.complete:
        ctx.exit(PARTIAL)


@contextlib.contextmanager
def _store(session: Session, dry_run: bool) -> Iterator[Store]:
    """The store, made if needed; for a dry run where there is none, an empty one that is removed again."""
    from mltrack.errors import NotFoundError
    from mltrack.store import Store

    if not dry_run:
        yield session.create_store()
        return
    with contextlib.ExitStack() as stack:
        try:
            store = session.store()
        except NotFoundError:
            store = Store.create(stack.enter_context(tempfile.TemporaryDirectory(prefix="mltrack-dry-run-")))
        yield store


@contextlib.contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[int, int], None]]:
    if quiet or not sys.stderr.isatty():
        yield lambda runs, points: None
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console(err=True), transient=True) as bar:
        task = bar.add_task("reading")
        yield lambda runs, points: bar.update(task, description=f"{plural(runs, 'run')}, {plural(points, 'point')}")


def _print(report: ImportReport, place: Path) -> None:
    from mltrack.cli.formatting import size

    title = f"{report.source} ({report.kind})"
    others = {
        "histograms, images, texts": report.values,
        "experiments": report.experiments,
        "logged models": report.logged_models,
        "models": report.models,
        "model versions": report.model_versions,
        "traces": report.traces,
    }
    if report.runs or any(others.values()):
        heading(f"Would come from {title}" if report.dry_run else f"Came from {title} into {place}")
        rows = {"runs": f"{report.runs:,} ({report.created:,} new)"}
        if report.unchanged:
            rows["runs without anything new"] = f"{report.unchanged:,}"
        rows |= {"points": f"{report.points:,}"}
        rows |= {"artifacts": f"{report.artifacts:,} ({size(report.artifact_bytes)})"}
        if report.skipped_artifacts:
            rows["artifacts left out"] = f"{report.skipped_artifacts:,}"
        rows |= {what: f"{count:,}" for what, count in others.items() if count}
        rows["seconds"] = f"{report.seconds:.1f}"
        print_table([Column("what"), Column("count", right=True)], list(rows.items()))
    elif report.unchanged or report.complete:
        say(f"{title}: nothing new in {plural(report.unchanged, 'run')}")
    for kind, names in report.other_kinds.items():
        where = ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")
        say(f"not read: {where}, of another kind: mltrack import {report.source} --from {kind}")
    for words in report.left_out:
        say(f"left out: {words}")
    for problem in report.problems:
        say(styled(f"not imported: {problem}", fg="yellow"))
