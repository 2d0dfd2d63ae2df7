"""`mltrack sql` and `mltrack export`."""

from __future__ import annotations

import contextlib
import signal
import threading
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mltrack.cli.context import RUN, Session, command, json_option, pass_session
from mltrack.cli.exit_codes import PARTIAL
from mltrack.errors import UsageError
from mltrack.text.printing import Column, data_stream, is_terminal, note, print_json, print_table, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from mltrack_sync.lake.lake import Lake

__all__ = ["export", "sql"]

SQL_ROWS_MAX = 200
"""How many rows are shown in a terminal; a pipe, --json and --csv get all."""


@command(
    "sql",
    "Query the store in SQL.",
    "mltrack sql \"SELECT run_name, value FROM latest_metrics JOIN runs USING (run_id) WHERE key = 'loss'\"",
    'mltrack sql "SELECT count(*) AS points FROM metrics" --json',
)
@click.argument("query")
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("--remote", metavar="LAKE", help="Query a lake, by its name as a remote or by its URL.")
@pass_session
def sql(session: Session, query: str, as_json: bool, as_csv: bool, remote: str | None) -> None:
    """Query in SQL (DuckDB's) over runs, params, tags, metrics, latest_metrics, datasets, artifacts, alerts,
    experiments.
    """
    if as_json and as_csv:
        raise UsageError("--json and --csv exclude each other", hint="choose one")
    source = session.store() if remote is None else _open_lake(session, remote)
    with _interrupts_at_once():
        table = source.sql(query)
    if as_json:
        print_json(table.to_pylist())
    elif as_csv:
        import pyarrow.csv

        pyarrow.csv.write_csv(table, data_stream())
    else:
        _print(table)


def _open_lake(session: Session, text: str) -> Lake:
    """The lake that is named; one that is given by its URL needs no store."""
    from mltrack_sync.lake.lake import Lake
    from mltrack_sync.lake.places import is_lake_url
    from mltrack_sync.remotes.resolver import remote_for

    if is_lake_url(text):
        return Lake(text)
    remote = remote_for(session.store(), text, remember=False)
    remote.require_trust()
    if not is_lake_url(remote.url):
        raise UsageError(f"remote {remote.name!r} is not a lake", hint="SQL is answered by lakes and by the store here")
    return Lake(remote.url)


@contextlib.contextmanager
def _interrupts_at_once() -> Iterator[None]:
    """Let Ctrl-C kill the process while DuckDB works: on an interrupt it may wait for its own threads forever."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _print(table: pa.Table) -> None:
    import pyarrow as pa

    from mltrack.cli.formatting import plural

    shown = table.slice(0, SQL_ROWS_MAX) if is_terminal() else table
    numeric = [pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in table.schema.types]
    headed = enumerate(zip(table.column_names, numeric, strict=True))
    columns = [Column(name, right=right, cut=True, drop=at) for at, (name, right) in headed]
    print_table(columns, zip(*([_cell(v) for v in c.to_pylist()] for c in shown.columns), strict=True))
    if len(shown) < len(table):
        note(f"{plural(len(table) - len(shown), 'more row')}: use LIMIT, --csv or --json")


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


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and is_terminal():
        from mltrack.cli.formatting import number

        return number(value)
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


@command(
    "export",
    "Write runs to Parquet, CSV or JSON.",
    "mltrack export --all -o out/",
    "mltrack export spirals-1 --format csv -o loss.csv",
    "mltrack export spirals-1 spirals-2 --format json -o -",
)
@click.argument("runs", type=RUN, nargs=-1, metavar="[RUN]...")
@click.option("--all", "everything", is_flag=True, help="All runs that are not deleted.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["parquet", "csv", "json"]),
    help="Default: by the file's suffix, else parquet.",
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
    form: str | None,
    output: str,
    force: bool,
    as_json: bool,
) -> None:
    """Write runs to files that other tools read.

    A folder gets runs, params, tags, artifacts (their names, sizes and checksums) and metrics (every point), each as
    one file. A PATH ending in .parquet, .csv, .json or .jsonl, or - for standard output, gets only the points. JSON is
    written as one object per line.
    """
    from mltrack.catalog.export import export_folder, export_points
    from mltrack.cli.formatting import plural
    from mltrack.cli.select import iterate_runs

    if bool(runs) == everything:
        raise UsageError("export needs runs, or --all", hint="mltrack export --all")
    _check_suffix(output, form)
    session = ctx.find_object(Session) or Session()
    chosen = iterate_runs(session.store(), runs)
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
