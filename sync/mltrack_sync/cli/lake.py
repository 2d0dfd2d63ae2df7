"""The commands ``mltrack lake status``, ``compact``, ``vacuum`` and ``repair``: the upkeep of lakes."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from mltrack.errors import NotFoundError, UsageError
from mltrack.extras import need
from mltrack.text.counting import plural
from mltrack.text.printing import Column, print_json, print_table, say
from mltrack_sync.cli.common import Command, json_option, open_store
from mltrack_sync.remotes.resolver import remote_for

if TYPE_CHECKING:
    from mltrack_sync.lake.tables import LakeTables
    from mltrack_sync.lake.upkeep import TableStatus

__all__ = ["commands", "lake"]

MB = 1e6


@click.group("lake")
def lake() -> None:
    """Look after the files of a lake."""


def _tables(ctx: click.Context, text: str) -> LakeTables:
    """The lake with a name or a URL."""
    need("deltalake", "a lake")
    from mltrack_sync.lake.files import files_of
    from mltrack_sync.lake.places import LakePlace, is_lake_url
    from mltrack_sync.lake.tables import LakeTables

    url = text
    if not is_lake_url(text):
        remote = remote_for(open_store(ctx), text, remember=False)
        remote.require_trust()
        url = remote.url
        if not is_lake_url(url):
            raise UsageError(f"remote {text!r} is not a lake", hint="mltrack remote ls")
    place = LakePlace.parse(url)
    tables = LakeTables(place, files_of(place))
    if not tables.check(create=False):
        raise NotFoundError(f"no lake at {place.uri}", hint=f"a push makes it: mltrack sync {place.url}")
    return tables


@lake.command(
    "status",
    short_help="Show how many files each table has, and how large they are.",
    cls=Command,
    examples=["mltrack lake status lake", "mltrack lake status s3://bucket/prefix"],
)
@click.argument("name", metavar="LAKE")
@json_option
@click.pass_context
def show_status(ctx: click.Context, name: str, as_json: bool) -> None:
    """Show how many files each table has, and how large they are.

    Also shows the smallest file, and how many files "mltrack lake compact" would leave. LAKE is the name of a remote,
    or a URL.
    """
    from mltrack_sync.lake.upkeep import status

    found = status(_tables(ctx, name))
    if as_json:
        print_json([asdict(each) for each in found])
        return
    rows = [
        (each.table, f"{each.rows:,}", f"{each.files:,}", f"{each.bytes / MB:,.1f}", *map(_grouped, _last(each)))
        for each in found
    ]
    titles = ("table", "rows", "files", "MB", "smallest, bytes", "files when compacted")
    print_table([Column(title, right=title != "table") for title in titles], rows)


def _last(each: TableStatus) -> tuple[int, int]:
    return each.smallest, each.files_after


def _grouped(number: int) -> str:
    return f"{number:,}"


@lake.command("compact", cls=Command, examples=["mltrack lake compact lake"])
@click.argument("name", metavar="LAKE")
@json_option
@click.pass_context
def compact_files(ctx: click.Context, name: str, as_json: bool) -> None:
    """Join small files, so that readers open fewer.

    LAKE is the name of a remote, or a URL. Others may push and read meanwhile. The command may be interrupted.
    """
    from mltrack_sync.lake.upkeep import compact

    done = list(compact(_tables(ctx, name)))
    if as_json:
        print_json([asdict(each) for each in done])
        return
    before, after = sum(each.before for each in done), sum(each.after for each in done)
    say(f"{plural(before, 'small file')} became {after:,}" if done else "nothing to join")
    conflicts = sum(each.conflict for each in done)
    if conflicts:
        say(f"{plural(conflicts, 'group')} of files were joined by another compaction meanwhile")


@lake.command(
    "vacuum",
    short_help="Remove files that no reader needs any more.",
    cls=Command,
    examples=["mltrack lake vacuum lake --dry-run", "mltrack lake vacuum lake --older-than 30d"],
)
@click.argument("name", metavar="LAKE")
@click.option(
    "--older-than", default="7d", show_default=True, metavar="AGE", help="Keep what was replaced more recently."
)
@click.option("--dry-run", is_flag=True, help="Only list the files.")
@json_option
@click.pass_context
def vacuum_files(ctx: click.Context, name: str, older_than: str, dry_run: bool, as_json: bool) -> None:
    """Remove files that no reader needs any more.

    These were replaced by "mltrack lake compact", or left by interrupted pushes, a week ago or earlier. LAKE is the
    name of a remote, or a URL.
    """
    from mltrack_sync.gc import parse_age
    from mltrack_sync.lake.upkeep import vacuum

    removed = vacuum(_tables(ctx, name), older_than_hours=int(parse_age(older_than) // 3600), dry_run=dry_run)
    if as_json:
        print_json({"files": removed, "dry_run": dry_run})
        return
    for path in removed if dry_run else ():
        say(path)
    verb = "would be" if dry_run else "was" if len(removed) == 1 else "were"
    say(f"{plural(len(removed), 'file')} {verb} removed")


@lake.command(
    "repair",
    short_help="Remove rows that are in a lake twice.",
    cls=Command,
    examples=["mltrack lake repair lake --dry-run", "mltrack lake repair lake"],
)
@click.argument("name", metavar="LAKE")
@click.option("--dry-run", is_flag=True, help="Only say how many.")
@json_option
@click.pass_context
def repair_rows(ctx: click.Context, name: str, dry_run: bool, as_json: bool) -> None:
    """Remove rows that are in a lake twice.

    Two stores that have one new run, and push it at the same moment, may both send its points: "mltrack verify" shows
    more rows in the lake then. LAKE is the name of a remote, or a URL. Others may push and read meanwhile.
    """
    from mltrack_sync.lake.repair import repair

    done = list(repair(_tables(ctx, name), dry_run=dry_run))
    if as_json:
        print_json([asdict(each) for each in done])
        return
    verb = "would be removed" if dry_run else "removed"
    for each in done:
        say(f"{each.table}: {plural(each.rows, 'row')} of {plural(each.runs, 'run')} {verb}")
    if not done:
        say("nothing is there twice")


commands = [lake]
