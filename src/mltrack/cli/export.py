"""`mltrack export`."""

from __future__ import annotations

import sys
from difflib import get_close_matches
from pathlib import Path

import click

from mltrack.cli.context import RUN, Session, command, experiments_option, filter_option, json_option
from mltrack.cli.exit_codes import PARTIAL
from mltrack.errors import NotFoundError, UsageError
from mltrack.text.printing import data_stream, is_terminal, note, print_json, say

__all__ = ["export"]

FORMAT_OF = {".parquet": "parquet", ".csv": "csv", ".json": "json", ".jsonl": "json"}
"""The format of a file, by its suffix."""

OTHER_FORMATS = {".txt", ".tsv", ".xls", ".xlsx", ".ndjson", ".arrow", ".feather", ".pq", ".gz", ".zip", ".db"}
"""Suffixes of files, not folders, that can't be written."""


def _check_suffix(output: str, form: str | None) -> None:
    """Check that the file's name means what is written into it.

    Raises:
        UsageError: it names another format, or one that can't be written.
    """
    suffix = Path(output).suffix.lower()
    if output == "-" or output.endswith("/") or Path(output).is_dir():
        return
    if suffix in FORMAT_OF and form not in (None, FORMAT_OF[suffix]):
        raise UsageError(f"{output} is not a name for {form}", hint="leave --format out, or give another name")
    near = get_close_matches(suffix, FORMAT_OF, cutoff=0.75)
    if suffix not in FORMAT_OF and (near or suffix in OTHER_FORMATS):
        hint = f"give one of {', '.join(FORMAT_OF)}, or a folder with a slash at its end"
        raise UsageError(f"{suffix} is not a format that can be written", hint=hint)


@command(
    "export",
    "Write runs to Parquet, CSV or JSON.",
    "mltrack export --all -o out/",
    "mltrack export spirals-1 --format csv -o loss.csv",
    "mltrack export spirals-1 spirals-2 --format json -o -",
    "mltrack export -f 'metrics.loss < 0.5' -o good/",
)
@click.argument("runs", type=RUN, nargs=-1, metavar="[RUN]...")
@click.option("--all", "everything", is_flag=True, help="All runs that are not deleted.")
@experiments_option
@filter_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["parquet", "csv", "json"]),
    help="Default: by the file's suffix, csv for -, else parquet.",
)
@click.option(
    "-o", "--output", default="mltrack-export", show_default=True, metavar="PATH", help="A folder, a file, or -."
)
@click.option("--force", is_flag=True, help="Replace existing files.")
@json_option
@click.pass_context
def export(
    ctx: click.Context,
    runs: tuple[str, ...],
    everything: bool,
    experiments: tuple[str, ...],
    filter_string: str,
    form: str | None,
    output: str,
    force: bool,
    as_json: bool,
) -> None:
    """Write runs to files that other tools read.

    A folder gets runs, params, tags, datasets, artifacts (their names, sizes and checksums) and metrics (every point),
    each as one file. A PATH ending in .parquet, .csv, .json or .jsonl, or - for standard output, gets only the points.
    JSON is written as one object per line.
    """
    from mltrack.catalog.export import export_folder, export_points
    from mltrack.cli.formatting import plural
    from mltrack.cli.select import find_runs, iterate_runs

    chosen_by_facts = bool(experiments or filter_string)
    if not runs and not everything and not chosen_by_facts:
        raise UsageError("export needs runs, or --all, or a filter", hint="mltrack export --all")
    if runs and (everything or chosen_by_facts):
        raise UsageError("runs that are named can't be combined with --all or a filter", hint="leave one of them out")
    _check_suffix(output, form)
    session = ctx.find_object(Session) or Session()
    store = session.store()
    chosen = iterate_runs(store, runs)
    if experiments or filter_string:
        found = find_runs(store, experiments=experiments, filter_string=filter_string, limit=sys.maxsize)
        if not found:
            raise NotFoundError(f"no runs match in {store.path}", hint="see: mltrack ls")
        chosen = iterate_runs(store, [run.info.run_id for run in found])
    if output == "-":
        if form == "parquet" and is_terminal():
            raise UsageError("Parquet can't be shown in a terminal", hint="name a file: -o metrics.parquet")
        report = export_points(chosen, data_stream(), form or "csv")
    elif Path(output).suffix in FORMAT_OF and not output.endswith("/"):
        report = export_points(chosen, Path(output), form, force=force)
    else:
        report = export_folder(chosen, Path(output), form or "parquet", force=force)
    for error in report.damage:
        note(f"omitted: {error}", style="red")
    facts = {"files": [str(path) for path in report.files], "runs": report.runs, "points": report.points}
    if as_json and output != "-":
        print_json({**facts, "damage": [str(error) for error in report.damage]})
    elif output != "-":
        where = (
            output if len(report.files) == 1 else f"{output.rstrip('/')}/ ({', '.join(p.name for p in report.files)})"
        )
        say(f"{plural(report.runs, 'run')}, {plural(report.points, 'point')} -> {where}")
    if report.damage:
        ctx.exit(PARTIAL)
