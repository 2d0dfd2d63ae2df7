"""`mltrack sql`."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING

import click

from mltrack.cli.context import Session, command, json_option, pass_session
from mltrack.errors import UsageError
from mltrack.text.printing import Column, data_stream, is_terminal, note, print_json, print_table, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from mltrack_sync.lake.lake import Lake

__all__ = ["sql"]

SQL_ROWS_MAX = 200
"""How many rows are shown in a terminal; a pipe, --json and --csv get all."""


@command(
    "sql",
    "Query the store in SQL.",
    "mltrack sql \"SELECT run_name, value FROM latest_metrics JOIN runs USING (run_id) WHERE key = 'loss'\"",
    'mltrack sql "SELECT count(*) AS points FROM metrics" --json',
    'mltrack sql "SHOW TABLES"',
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
        raise UsageError("--json and --csv can't be used together", hint="choose one")
    source = session.store() if remote is None else _open_lake(session, remote)
    with _interrupts_at_once():
        table = source.sql(query)
    if as_json:
        from mltrack.text.arrow_cells import records

        print_json(records(table))
    elif as_csv:
        import pyarrow.csv

        from mltrack.text.arrow_cells import with_text_times

        pyarrow.csv.write_csv(with_text_times(table), data_stream())
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
    from mltrack.cli.formatting import plural
    from mltrack.text.arrow_cells import cells, is_number, is_time

    if table.column_names == ["explain_key", "explain_value"]:  # a drawing of lines
        for text in table.column("explain_value").to_pylist():
            for line in text.splitlines():
                say(line)
        return
    shown = table.slice(0, SQL_ROWS_MAX) if is_terminal() else table
    columns = [
        Column(field.name, right=is_number(field.type), cut=not is_time(field.type), drop=at)
        for at, field in enumerate(table.schema)
    ]
    print_table(columns, zip(*map(cells, shown.columns), strict=True))
    if len(shown) < len(table):
        note(f"{plural(len(table) - len(shown), 'more row')}: use LIMIT, --csv or --json")
