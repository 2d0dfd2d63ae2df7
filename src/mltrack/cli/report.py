"""`mltrack report`: one file that shows runs to somebody who does not have the store."""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mltrack.cli.context import RUN, Session, command, experiments_option, filter_option, pass_session
from mltrack.errors import NotFoundError, UsageError
from mltrack.report.model import PARTS
from mltrack.text.printing import console, data_stream, is_terminal, note, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mltrack.report.model import Report
    from mltrack.store import Store

__all__ = ["report"]

FORMATS = ("html", "md", "png")
FORMAT_OF = {".html": "html", ".htm": "html", ".md": "md", ".markdown": "md", ".png": "png"}
NOTES_BYTES_MAX = 1 << 20


@command(
    "report",
    "Write a report of runs as one file.",
    "mltrack report spirals-1 spirals-2 -o report.html",
    "mltrack report --filter \"params.lr = '0.1'\" --metrics 'loss|acc' --title 'Learning rates' -o report.md",
    "mltrack report @last --notes 'The **baseline**.' -o baseline.html",
)
@click.argument("runs", type=RUN, nargs=-1, metavar="[RUN]...")
@click.option("-o", "--output", metavar="FILE", help="Where to write; report.html by default, - is standard output.")
@click.option("--format", "form", type=click.Choice(FORMATS), help="By default what FILE's name ends in, or html.")
@experiments_option
@filter_option
@click.option("--order-by", multiple=True, metavar="FIELD", help="For example 'metrics.loss DESC'; may be repeated.")
@click.option("-n", "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="How many at most.")
@click.option("-m", "--metrics", default="", metavar="REGEX", help="Only metrics in which this is found.")
@click.option("--title", default="", metavar="TEXT", help="The title; by default it names the runs.")
@click.option("--notes", default="", metavar="FILE|TEXT", help="Markdown below the title: a file, or the text itself.")
@click.option(
    "--without", multiple=True, type=click.Choice(PARTS), help="Leave this out (media: images, tables, texts)."
)
@pass_session
def report(
    session: Session,
    runs: tuple[str, ...],
    output: str | None,
    form: str | None,
    experiments: tuple[str, ...],
    filter_string: str,
    order_by: tuple[str, ...],
    limit: int,
    metrics: str,
    title: str,
    notes: str,
    without: tuple[str, ...],
) -> None:
    """Write a report of RUNs, or of those that match (the newest 50 by default), as one file.

    HTML opens from disk without a network: a table to sort and filter, charts to zoom, images, tables, the ends of
    logs, source diffs, environment. Markdown has tables and text; PNG has the charts.
    """
    from mltrack.report.collect import collect_report

    target, form = _target(output, form)
    text = _notes(notes)
    if runs and (experiments or filter_string or order_by):
        raise UsageError("RUNs and a filter can't be used together", hint="name the runs, or select them by --filter")
    store = session.store()
    ids = _ids(store, runs, experiments, filter_string, order_by, limit)
    with _progress(len(ids)) as progress:
        made = collect_report(
            store,
            ids,
            now_ms=time.time_ns() // 1_000_000,
            title=title,
            notes=text,
            metrics=metrics,
            without=without,
            progress=progress,
        )
    _write(target, _rendered(made, form), made)


def _target(output: str | None, form: str | None) -> tuple[str, str]:
    """Where to write, and in which format.

    Raises:
        UsageError: the file's name means another format, or none that is known.
    """
    if output is None:
        return f"report.{form or 'html'}", form or "html"
    if output == "-":
        return output, form or "html"
    meant = FORMAT_OF.get(Path(output).suffix.lower())
    if meant is None and form is None:
        raise UsageError(f"{output}: no format has that ending", hint="use .html, .md or .png, or give --format")
    if meant is not None and form not in (None, meant):
        raise UsageError(f"{output} is not a name for {form}", hint="leave --format out, or give another name")
    return output, form or meant or "html"


def _notes(given: str) -> str:
    """The notes: of a file where it names one.

    Raises:
        NotFoundError: it looks like the name of a file, and there is none.
    """
    from mltrack.disk.filesystem import read_small

    name = given.strip()
    if not name or "\n" in name or len(name) > 1_000:
        return given
    if Path(name).is_file():
        return read_small(name, NOTES_BYTES_MAX).decode("utf-8", "replace")
    if " " not in name and Path(name).suffix.lower() in (".md", ".markdown", ".txt"):
        raise NotFoundError(f"there is no file {name}", hint="give a file of Markdown, or the text itself")
    return given


def _ids(
    store: Store,
    runs: tuple[str, ...],
    experiments: tuple[str, ...],
    filter_string: str,
    order_by: tuple[str, ...],
    limit: int,
) -> list[str]:
    from mltrack.cli.select import find_runs, iterate_runs

    if runs:
        return [run.run_id for run in iterate_runs(store, runs)]
    found = find_runs(store, experiments=experiments, filter_string=filter_string, order_by=order_by, limit=limit + 1)
    if not found:
        matching = " that match" if experiments or filter_string else ""
        raise NotFoundError(f"no runs{matching} in {store.path}", hint="see: mltrack ls")
    if len(found) > limit:
        note(f"there are more runs than {limit}: choose others, or give --limit {limit * 10}")
    return [run.info.run_id for run in found[:limit]]


@contextmanager
def _progress(runs: int) -> Iterator[Callable[[str], None]]:
    """Shows in a terminal which run is read."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    done = 0
    with console(err=True).status("reading") as shown:

        def advance(label: str) -> None:
            nonlocal done
            done += 1
            shown.update(f"reading run {done} of {runs}: {label}")

        yield advance


def _rendered(made: Report, form: str) -> bytes:
    if form == "png":
        from mltrack.report.png import as_png

        return as_png(made)
    if form == "md":
        from mltrack.report.markdown import as_markdown

        return as_markdown(made).encode("utf-8", "backslashreplace")
    from mltrack.report.html_page import as_html

    return as_html(made).encode("utf-8", "backslashreplace")


def _write(target: str, data: bytes, made: Report) -> None:
    from mltrack.cli.formatting import plural, size
    from mltrack.disk.filesystem import LOCAL

    if target == "-":
        if data.startswith(b"\x89PNG") and is_terminal():
            raise UsageError("an image can't be shown in a terminal", hint="give a file: -o report.png")
        stream = data_stream()
        stream.write(data)
        stream.flush()
        return
    try:
        if not os.path.lexists(parent := Path(target).parent):
            LOCAL.make_folder(parent)
        LOCAL.publish_bytes(Path(target), data)
    except OSError as error:  # its file name would be that of a temporary file
        raise OSError(error.errno, error.strerror, target) from error
    say(f"{target}: {plural(len(made.runs), 'run')}, {plural(len(made.charts), 'chart')}, {size(len(data))}")
    for text in made.left_out:
        say(f"not in the report: {text}", err=True)
