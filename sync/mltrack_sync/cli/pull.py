"""The command ``pull``, found by mltrack's CLI by entry point."""

from __future__ import annotations

import functools
import os
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from mltrack.text.figures import size
from mltrack.text.printing import Column, heading, print_json, print_table, say, styled
from mltrack_sync.cli.common import (
    PARTIAL,
    Command,
    artifact_bytes_max,
    artifact_options,
    json_option,
    open_store,
    rate_limiter,
    rate_option,
    remote_argument,
    selection_options,
)
from mltrack_sync.cli.progress import with_progress
from mltrack_sync.cli.waiting import saying_waits
from mltrack_sync.remotes.resolver import introduced, remote_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from mltrack.store import Store
    from mltrack_sync.report import PullReport

SAFE = "interrupted: the store is whole; what came is in it, and the next pull brings the rest"

__all__ = ["commands", "pull"]

BUNDLE_SUFFIX = ".mltb"


@click.command(
    "pull",
    short_help="Bring what is new on a remote into the store.",
    cls=Command,
    examples=["mltrack pull lab --experiment digits", "mltrack pull monday.mltb --dry-run"],
)
@remote_argument
@selection_options
@artifact_options
@click.option("--dry-run", is_flag=True, help="Show what would be brought; change nothing here.")
@click.option(
    "--recheck",
    is_flag=True,
    help="Look again at runs that seem unchanged: for files added or replaced later, or removed here.",
)
@click.option("--jobs", default=4, show_default=True, metavar="N", help="How many things to pull at a time.")
@rate_option
@json_option
@click.pass_context
def pull(
    ctx: click.Context,
    remote: str | None,
    runs: tuple[str, ...],
    experiments: tuple[str, ...],
    filter_string: str,
    no_artifacts: bool,
    max_artifact_size: str | None,
    dry_run: bool,
    recheck: bool,
    jobs: int,
    limit_rate: str | None,
    as_json: bool,
) -> None:
    """Bring what is new on a remote into the store.

    REMOTE is a name from "mltrack remote ls", a URL, the path of another store, or a bundle (FILE.mltb). Everything is
    brought once, however often the command is interrupted and run again, and what is newer here is never overwritten.
    Exits with 3 when something could not be brought: that is listed, and the next pull tries it again.
    """
    from mltrack_sync.selection import Selection

    size_max = artifact_bytes_max(no_artifacts, max_artifact_size)
    store = open_store(ctx)
    with saying_waits(SAFE):
        puller = _puller(store, remote, dry_run)
    one_pull = functools.partial(
        puller,
        selection=Selection(runs, experiments, filter_string),
        artifact_bytes_max=size_max,
        dry_run=dry_run,
        recheck=recheck,
        jobs=jobs,
        pace=rate_limiter(limit_rate),
    )
    with saying_waits(SAFE):
        report = with_progress(one_pull, as_json)
    if as_json:
        print_json({**asdict(report), "complete": report.complete})
    else:
        _print(report)
    if not report.complete and not dry_run:
        ctx.exit(PARTIAL)


def _puller(store: Store, remote: str | None, dry_run: bool) -> Callable[..., PullReport]:
    """What pulls into a store: from a bundle that is a file, or from a remote."""
    if remote is not None and (remote.endswith(BUNDLE_SUFFIX) or os.path.isfile(remote)):
        from mltrack_sync.stores.bundles import pull_bundle

        return functools.partial(pull_bundle, store, remote)
    from mltrack_sync.engine.pull import pull as pull_once

    target = remote_for(store, remote, remember=False)
    return functools.partial(pull_once, store, target if dry_run else introduced(store, target, to_read=True))


def _print(report: PullReport) -> None:
    title = f"{report.remote} ({report.url})"
    others = {
        "experiments": report.experiments,
        "models": report.models,
        "model versions": report.model_versions,
        "logged models": report.logged_models,
        "traces": report.traces,
        "evaluation datasets, scorers, label schemas": report.evaluation_items,
    }
    if report.runs or report.artifacts or any(others.values()):
        heading(f"{'Would come from' if report.dry_run else 'Came from'} {title}")
        rows = {"runs": f"{report.runs:,} ({report.created:,} new)", "points": f"{report.points:,}"}
        rows |= {"artifacts": f"{report.artifacts:,} ({size(report.artifact_bytes)})"}
        if report.skipped_artifacts:
            rows["artifacts left out"] = f"{report.skipped_artifacts:,}"
        rows |= {what: f"{count:,}" for what, count in others.items() if count}
        if not report.dry_run:
            rows |= {"bytes": f"{report.bytes:,}"} if report.bytes else {}
            rows["seconds"] = f"{report.seconds:.1f}"
        print_table([Column("what"), Column("count", right=True)], list(rows.items()))
    elif report.complete:
        say(f"{title}: nothing new")
    for words in (*report.notes, *report.unsupported):
        say(words)
    for problem in report.problems:
        say(styled(f"to be tried again: {problem}", fg="yellow"))
    for words in report.left_behind:
        say(f"left behind: {words}")


commands: list[click.Command] = [pull]
"""What mltrack's CLI adds to its own."""
