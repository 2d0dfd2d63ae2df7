"""The commands ``verify`` and ``gc``: compare the store with a remote, and remove locally what the remote has."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mltrack.errors import UsageError
from mltrack.text.commands import artifacts_from_option
from mltrack.text.counting import plural
from mltrack.text.figures import size
from mltrack.text.printing import Column, confirm, is_terminal, print_json, print_table, say, say_fields
from mltrack_sync.cli.against import compare_with_source
from mltrack_sync.cli.common import Command, json_option, open_store, remote_argument, selection_options
from mltrack_sync.cli.waiting import saying_waits
from mltrack_sync.remotes.resolver import introduced, remote_for
from mltrack_sync.report import json_fields
from mltrack_sync.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mltrack_sync.gc import Deletable, GcPlan, Retained
    from mltrack_sync.report import VerifyReport

__all__ = ["commands"]

DIFFERENT = 1


@click.command(
    "verify",
    short_help="Compare the store with a remote.",
    cls=Command,
    examples=[
        "mltrack verify",
        "mltrack verify lab --experiment digits --quick --json",
        "mltrack verify --against mlruns",
    ],
)
@remote_argument
@selection_options
@click.option("--quick", is_flag=True, help="Latest points and sizes of files only, no spans; downloads nothing.")
@click.option("--jobs", default=4, show_default=True, metavar="N", help="How many things to compare at a time.")
@click.option("--against", metavar="SOURCE", help="Compare with what was imported: another tracker's file or folder.")
@click.option("--from", "kind", default="", metavar="KIND", help="What SOURCE is; by default it is recognized.")
@click.option("--no-artifacts", is_flag=True, help="With --against: compare no files.")
@artifacts_from_option
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
    against: str | None,
    kind: str,
    no_artifacts: bool,
    artifacts_from: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Compare the store with a remote, or with a source of an import, and list what differs.

    Compares runs, models and traces, with every point, span and checksum. Changes nothing. Exits with 1 when something
    differs. What the remote does not support is reported and is not a difference.
    """
    from mltrack_sync.engine.verify import verify as compare
    from mltrack_sync.status import status_of

    store = open_store(ctx)
    if against is not None:
        if remote is not None or filter_string or quick:
            raise UsageError(
                "--against takes no remote, --filter or --quick", hint="mltrack verify --against SOURCE --run PATTERN"
            )
        if not compare_with_source(store, against, kind, runs, experiments, not no_artifacts, artifacts_from, as_json):
            ctx.exit(DIFFERENT)
        return
    if kind or no_artifacts or artifacts_from:
        raise UsageError(
            "--from, --no-artifacts and --artifacts-from go with --against", hint="mltrack verify --against SOURCE"
        )
    selection = Selection(runs, experiments, filter_string)
    with saying_waits("interrupted: nothing was changed; what differs was not noted"):
        target = introduced(store, remote_for(store, remote, remember=False), to_read=True)
        unsent = status_of(store, target).pending_runs  # now: what differs is noted, and then waits as well
        report = compare(store, target, selection=selection, quick=quick, jobs=jobs)
    if as_json:
        print_json({**json_fields(report), "same": report.same})
    else:
        _print(report)
        if unsent and not report.same:
            have = "has" if unsent == 1 else "have"
            say(f"{plural(unsent, 'run')} {have} something that was not sent yet: mltrack sync {report.remote}")
    if not report.same:
        ctx.exit(DIFFERENT)


def _print(report: VerifyReport) -> None:
    if report.differences and is_terminal():
        rows = [(each.subject or each.run_id[:8], each.thing, each.local, each.remote) for each in report.differences]
        print_table([Column(name, wrap=True) for name in ("of", "what", "local", "remote")], rows)
    else:
        for each in report.differences:
            say_fields(each.subject or each.run_id, each.thing, each.local, each.remote)
    for line in report.unsupported:
        say(line)
    what = f"{plural(report.metrics, 'metric')} (latest point)" if report.quick else plural(report.points, "point")
    files = f"{plural(report.artifacts, 'artifact')} ({'by size' if report.quick else size(report.artifact_bytes)})"
    equal = f"{plural(report.params, 'param')}, {plural(report.tags, 'tag')}, {what}, {files}"
    same = (
        (report.datasets, "dataset"),
        (report.model_links, "model link"),
        (report.spans, "span"),
        (report.assessments, "assessment"),
    )
    equal += _counted(same)
    equal += f" are the same in {plural(report.runs, 'run')}"
    compared = (
        (report.models, "registered model"),
        (report.model_versions, "version"),
        (report.logged_models, "logged model"),
        (report.traces, "trace"),
        (report.evaluation_items, "evaluation item"),
    )
    equal += _counted(compared)
    say(f"{report.remote}: {equal}; {plural(len(report.differences), 'difference')} in {report.seconds:.1f} s")
    if report.differing_units:
        say(f"to repair what can be repaired there: mltrack sync {report.remote} --repair")


def _counted(counts: Iterable[tuple[int, str]]) -> str:
    return "".join(f", {plural(count, thing)}" for count, thing in counts if count)


@click.command(
    "gc",
    short_help="Free space: remove runs that a remote has.",
    cls=Command,
    examples=["mltrack gc --synced --older-than 30d --dry-run", "mltrack gc --synced lab --yes"],
)
@remote_argument
@click.option("--synced", is_flag=True, required=True, help="Remove what is complete on the remote.")
@selection_options
@click.option("--older-than", default="0s", metavar="AGE", help="Only runs that ended this long ago: 7d, 12h, 30m, 2w.")
@click.option("--keep-metrics", is_flag=True, help="Remove only the files of artifacts.")
@click.option("--dry-run", is_flag=True, help="Compare, list what would be removed, and remove nothing.")
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@click.option("--jobs", default=4, show_default=True, metavar="N", help="How many runs to compare at a time.")
@json_option
@click.pass_context
def gc(
    ctx: click.Context,
    remote: str | None,
    synced: bool,
    runs: tuple[str, ...],
    experiments: tuple[str, ...],
    filter_string: str,
    older_than: str,
    keep_metrics: bool,
    dry_run: bool,
    yes: bool,
    jobs: int,
    as_json: bool,
) -> None:
    """Free space: remove runs that a remote has completely.

    Each run is first compared with the REMOTE in full (see mltrack verify). Never removed: a live run, a run with
    anything rejected or damaged, a run that is pending for another remote, a run that a model version is made of.
    Those are listed with the reason.
    """
    from mltrack_sync.gc import execute, parse_age, plan_gc

    store = open_store(ctx)
    plan = plan_gc(
        store,
        introduced(store, remote_for(store, remote, remember=False), to_read=True),
        selection=Selection(runs, experiments, filter_string),
        older_than_s=parse_age(older_than),
        keep_metrics=keep_metrics,
        jobs=jobs,
    )
    if not as_json:
        _print_plan(plan)
    freed: list[Deletable] = []
    kept = list(plan.retained)
    if plan.deletable and not dry_run:
        if not yes and not confirm(_question(plan)):
            raise UsageError("nothing was removed", hint="answer y, or use --yes")
        freed, changed = execute(store, plan)
        kept += changed
        for each in changed if not as_json else ():
            say(_kept(each))
    if as_json:
        print_json(_gc_fields(plan, freed, kept, dry_run))
    elif freed:
        freed_size = size(sum(run.bytes for run in freed))
        say(f"{plural(len(freed), 'run')} removed, {freed_size} freed; {plan.remote} has them")
    elif not dry_run:
        say("nothing was removed")


def _print_plan(plan: GcPlan) -> None:
    for kept in plan.retained:
        say(_kept(kept))
    what = "files of" if plan.keep_metrics else "run"
    for run in plan.deletable:
        say(f"to remove: {what} {run.run_id} {run.run_name}, {size(run.bytes)}")
    say(f"{plural(len(plan.deletable), 'run')} with {size(plan.bytes)} can be removed, {len(plan.retained):,} kept")


def _question(plan: GcPlan) -> str:
    what = plural(len(plan.deletable), "local run")
    return f"Permanently delete {'artifacts of ' if plan.keep_metrics else ''}{what} ({size(plan.bytes)})?"


def _kept(run: Retained) -> str:
    return f"kept: run {run.run_id} {run.run_name}: {run.reason}"


def _gc_fields(plan: GcPlan, freed: list[Deletable], kept: list[Retained], dry_run: bool) -> dict[str, Any]:
    def named(runs: Sequence[Deletable]) -> list[dict[str, Any]]:
        return [{"run_id": run.run_id, "run_name": run.run_name, "bytes": run.bytes} for run in runs]

    return {
        "remote": plan.remote,
        "url": plan.url,
        "dry_run": dry_run,
        "keep_metrics": plan.keep_metrics,
        "free": named(plan.deletable),
        "freed": named(freed),
        "kept": [asdict(run) for run in kept],
        "bytes": sum(run.bytes for run in freed),
    }


commands: list[click.Command] = [verify, gc]
"""What mltrack's CLI adds to its own."""
