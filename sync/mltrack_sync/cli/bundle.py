"""The commands ``bundle`` and ``receipt``, found by mltrack's CLI by entry point."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mltrack.errors import UsageError
from mltrack.text.counting import plural
from mltrack.text.figures import size
from mltrack.text.printing import console, print_json, say
from mltrack_sync.cli.common import (
    Command,
    artifact_bytes_max,
    artifact_options,
    json_option,
    open_store,
    selection_options,
)

if TYPE_CHECKING:
    from mltrack.store import Store
    from mltrack_sync.stores.bundle_writer import WrittenBundle
    from mltrack_sync.stores.bundles import BundleOptions

__all__ = ["bundle", "commands", "receipt"]


@click.command(
    "bundle",
    short_help="Write runs to one file, for an air gap.",
    cls=Command,
    examples=["mltrack bundle all.mltb", "mltrack bundle monday.mltb --for headquarters"],
)
@click.argument("out", metavar="OUT.mltb", type=click.Path())
@selection_options
@artifact_options
@click.option("--for", "receiver", default="", metavar="NAME", help="Only what is new since NAME's last receipt.")
@click.option("--assume-arrived", is_flag=True, help="With --for: only what is new since the last bundle.")
@json_option
@click.pass_context
def bundle(
    ctx: click.Context,
    out: str,
    runs: tuple[str, ...],
    experiments: tuple[str, ...],
    filter_string: str,
    no_artifacts: bool,
    max_artifact_size: str | None,
    receiver: str,
    assume_arrived: bool,
    as_json: bool,
) -> None:
    """Write runs, and what goes with them, to one file.

    "mltrack pull OUT.mltb" brings them into another store. With --for the file holds only what is new since the last
    bundle of which NAME sent a receipt (see "mltrack receipt"). Nothing is written where nothing is new.
    """
    from mltrack_sync.selection import Selection
    from mltrack_sync.stores.bundles import BundleOptions

    if assume_arrived and not receiver:
        raise UsageError("--assume-arrived goes with --for", hint="say for whom the bundle is")
    options = BundleOptions(
        Selection(runs, experiments, filter_string),
        receiver,
        assume_arrived,
        artifact_bytes_max(no_artifacts, max_artifact_size),
    )
    written = _write(open_store(ctx), out, options, as_json)
    if as_json:
        print_json(_fields(written))
    elif written is None:
        say(f"nothing new for {receiver}: no file was written" if receiver else "the store is empty")
    else:
        runs_in = sum(unit.snapshot.unit.startswith("runs/") for unit in written.units)
        which = f", bundle {written.manifest.number} for {receiver}" if receiver else ""
        say(f"{written.path}: {plural(runs_in, 'run')}, {size(written.bytes)}{which}")


def _write(store: Store, out: str, options: BundleOptions, as_json: bool) -> WrittenBundle | None:
    from dataclasses import replace

    from mltrack_sync.progress import BarProgress
    from mltrack_sync.stores.bundles import bundle as write

    if as_json or not sys.stderr.isatty():
        return write(store, out, options)
    with BarProgress(console(err=True)) as progress:
        return write(store, out, replace(options, progress=progress))


def _fields(written: WrittenBundle | None) -> dict[str, Any]:
    if written is None:
        return {"path": None, "units": 0, "bytes": 0}
    manifest = written.manifest
    return {
        "path": str(written.path),
        "bundle": manifest.bundle_id,
        "for": manifest.receiver,
        "number": manifest.number,
        "after": manifest.after,
        "units": manifest.units,
        "bytes": written.bytes,
    }


@click.command(
    "receipt",
    short_help="Say that a bundle has arrived.",
    cls=Command,
    examples=["mltrack receipt monday.mltb --out monday.receipt", "mltrack receipt --accept monday.receipt"],
)
@click.argument("file", metavar="[FILE.mltb]", required=False, type=click.Path())
@click.option("--out", metavar="PATH", type=click.Path(), help="Write the receipt to a file instead of printing it.")
@click.option("--accept", "accepted", metavar="PATH", type=click.Path(), help="Note that a bundle has arrived.")
@click.pass_context
def receipt(ctx: click.Context, file: str | None, out: str | None, accepted: str | None) -> None:
    """Say that a bundle has arrived, in a line that goes back to its sender.

    Where the bundle was pulled, "mltrack receipt FILE.mltb" prints the receipt. Its sender accepts it with --accept:
    the next bundle with --for then begins where that one ended.
    """
    from mltrack_sync.stores.bundles import accept, make_receipt

    if (file is None) == (accepted is None):
        raise UsageError("give a bundle, or --accept with a receipt", hint="mltrack receipt --help")
    store = open_store(ctx)
    if accepted is not None:
        receiver, number = accept(store, accepted)
        say(f"{receiver}: bundle {number} has arrived")
        return
    line = make_receipt(store, str(file))
    if out is None:
        say(line.decode().rstrip("\n"))
    else:
        Path(out).write_bytes(line)
        say(f"{out}: {size(len(line))}")


commands: list[click.Command] = [bundle, receipt]
"""What mltrack's CLI adds to its own."""
