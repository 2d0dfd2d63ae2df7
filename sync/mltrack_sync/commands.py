"""The commands that talk to remotes: ``sync``, ``status`` and ``remote``, found by mltrack's CLI by entry point."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from mltrack.errors import UsageError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import Console

    from mltrack.reading import Store
    from mltrack_sync.presence import Presence
    from mltrack_sync.remotes import Remote
    from mltrack_sync.report import PushReport, Rejected
    from mltrack_sync.status import RemoteStatus
    from mltrack_sync.watch import Waker

__all__ = ["commands"]

PARTIAL = 3
SHOWN_REJECTED_MAX = 20


class Command(click.Command):
    """A command whose help ends with examples."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        formatter.write_paragraph()
        with formatter.section("Example" if len(self.examples) == 1 else "Examples"):
            for line in self.examples:
                formatter.write(f"  {line}\n")


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def open_store(ctx: click.Context) -> Store:
    """The store that the command line or the environment names, or the nearest one."""
    from mltrack.reading import Store

    named = ctx.obj.get("store") if isinstance(ctx.obj, Mapping) else getattr(ctx.obj, "store_path", None)
    return Store.open(named)


def remote_for(store: Store, text: str | None, *, remember: bool = True) -> Remote:
    """The remote that ``text`` names, by name or URL; without it the only one, else ``MLFLOW_TRACKING_URI``.

    A URL goes by a name made from its host; whether or not anything answers there it is remembered, if that is asked
    for (else see introduced).

    Raises:
        NotFoundError, UsageError: there is no such remote, or several to choose from.
    """
    from mltrack_sync.remotes import Remotes, without_token

    remotes = Remotes(store)
    known = remotes.all()
    from_environment = os.environ.get("MLFLOW_TRACKING_URI", "")
    if text is None and not known and from_environment.startswith(("http://", "https://", "azureml://")):
        text = without_token(from_environment)
    if text is None:
        if len(known) == 1:
            return known[0]
        names = ", ".join(remote.name for remote in known)
        raise UsageError(
            f"{store.path} has {len(known)} remotes" if known else f"{store.path} has no remote yet",
            hint=f"say which: {names}" if known else "add one: mltrack remote add NAME URL",
        )
    if "://" not in text and not text.startswith("azureml:"):
        return remotes.get(text)
    found, is_known = remotes.for_url(text)
    return found if is_known or not remember else remotes.add(found.name, found.url)


def introduced(store: Store, remote: Remote) -> Remote:
    """The remote, remembered by now: a new one first has to answer, so that no mistyped URL becomes the only remote.

    Raises:
        RemoteError: it does not answer, is no MLflow server, or does not let us in.
    """
    from mltrack_sync.remotes import Remotes
    from mltrack_sync.retry import RetryPolicy
    from mltrack_sync.transport import Transport

    remotes = Remotes(store)
    policy = RetryPolicy(attempts_max=3, retry_after_max_s=5)
    if remote not in remotes.all():
        with contextlib.closing(Transport(remote.workspace(), policy=policy, connections_max=1)) as transport:
            transport.knock()
        remotes.add(remote.name, remote.url)
    return remote


# --- sync --------------------------------------------------------------------------------------------------------


@click.command(
    "sync",
    cls=Command,
    examples=["mltrack sync http://127.0.0.1:5000 --dry-run", "mltrack sync --experiment digits --watch"],
)
@click.argument("remote", required=False)
@click.option("--run", "runs", multiple=True, metavar="RUN", help="Only this run (id, its first digits, or name).")
@click.option("--experiment", "experiments", multiple=True, metavar="NAME", help="Only runs of this experiment.")
@click.option("--filter", "filter_string", default="", metavar="EXPR", help="Only runs that meet a search filter.")
@click.option("--dry-run", is_flag=True, help="Say what would be sent; ask nobody.")
@click.option("--watch", "watching", is_flag=True, help="Go on pushing what comes in until stopped.")
@click.option("--interval", default=5.0, show_default=True, metavar="S", help="With --watch: look every S seconds.")
@click.option("--jobs", default=4, show_default=True, metavar="N", help="How many runs to push at a time.")
@click.option("--retry-rejected", is_flag=True, help="Try again what the remote refused.")
@click.option("--limit-rate", metavar="RATE", help="Send at most so many bytes a second, in all: 2M, 500k.")
@click.option("--all-remotes", is_flag=True, help="Push to every remote, one after the other.")
@json_option
@click.pass_context
def sync(
    ctx: click.Context,
    remote: str | None,
    runs: tuple[str, ...],
    experiments: tuple[str, ...],
    filter_string: str,
    dry_run: bool,
    watching: bool,
    interval: float,
    jobs: int,
    retry_rejected: bool,
    limit_rate: str | None,
    all_remotes: bool,
    as_json: bool,
) -> None:
    """Push what is new to a REMOTE: a name from ``mltrack remote ls``, or the URL of an MLflow server.

    Everything arrives once, however often this is interrupted and run again. Ends with 3 when the remote refused
    something, or has no place for it (an older server, for logged models or traces): that is listed, and the rest has
    arrived.
    """
    from mltrack_sync.pace import Pace, parse_rate
    from mltrack_sync.passes import push
    from mltrack_sync.selection import Selection

    store = open_store(ctx)
    if interval <= 0:
        raise UsageError(f"an interval of {interval} seconds is none", hint="give --interval 1 or more")
    to_remote = functools.partial(
        push,
        store,
        selection=Selection(runs, experiments, filter_string),
        jobs=jobs,
        dry_run=dry_run,
        retry_rejected=retry_rejected,
        pace=Pace(parse_rate(limit_rate)) if limit_rate is not None else None,
    )
    if all_remotes:
        if remote is not None or watching:
            raise UsageError("--all-remotes goes with neither a remote nor --watch", hint="leave one of them out")
        if not _to_all(store, to_remote, as_json) and not dry_run:
            ctx.exit(PARTIAL)
        return
    target = remote_for(store, remote, remember=False)
    if watching and not dry_run:
        to_target = functools.partial(_to_introduced, store, target, to_remote)
        _watch(store, to_target, interval, retry_rejected, as_json)
        return
    one_pass = functools.partial(to_remote, target if dry_run else introduced(store, target))
    report = _with_progress(one_pass, as_json)
    _print_report(report, as_json)
    if not report.complete and not dry_run:
        ctx.exit(PARTIAL)


def _to_introduced(store: Store, target: Remote, to_remote: Callable[..., PushReport], **options: Any) -> PushReport:
    return to_remote(introduced(store, target), **options)


def _to_all(store: Store, to_remote: Callable[..., PushReport], as_json: bool) -> bool:
    """Each remote in turn; one that fails keeps no other from being reached, and its error is the command's."""
    from mltrack.errors import BusyError, RemoteError
    from mltrack_sync.remotes import Remotes

    reports: list[PushReport] = []
    failed: list[RemoteError | BusyError] = []
    for target in Remotes(store).all():
        try:
            reports.append(_with_progress(functools.partial(to_remote, target), as_json))
        except (RemoteError, BusyError) as error:
            failed.append(error)
            click.echo(f"{target.name}: {error}", err=True)
        else:
            if not as_json:
                _print_report(reports[-1], as_json)
    if as_json:
        click.echo(json.dumps([_fields(report) for report in reports], indent=2))
    if failed:
        raise failed[0]
    return all(report.complete for report in reports)


def _with_progress(one_pass: Callable[..., PushReport], as_json: bool) -> PushReport:
    from rich.console import Console

    from mltrack_sync.progress import BarProgress

    console = Console(stderr=True)
    if as_json or not console.is_terminal:
        return one_pass()
    with BarProgress(console) as progress:
        return one_pass(progress=progress)


def _watch(
    store: Store, one_pass: Callable[..., PushReport], interval: float, retry_rejected: bool, as_json: bool
) -> None:
    from mltrack_sync.watch import Waker, watch

    told: list[str] = []
    retry = [retry_rejected]  # at the first pass, not at each

    def on_pass(report: PushReport) -> None:
        told.clear()
        if report.runs or report.logged_models or report.traces or report.problems:
            click.echo(json.dumps(_fields(report)) if as_json else _line(report))

    def pass_once(stop: threading.Event) -> PushReport:
        return one_pass(stop=stop, retry_rejected=bool(retry and retry.pop()))

    def on_trouble(error: Exception) -> None:
        if str(error) not in told:  # once, not at every try
            told.append(str(error))
            click.echo(f"waiting: {error}", err=True)

    waker = Waker()
    with _ended_by_signals(waker):
        watch(store, pass_once, on_pass=on_pass, on_trouble=on_trouble, interval_s=interval, waker=waker)
    click.echo("stopped; what is left goes with the next sync", err=True)


@contextlib.contextmanager
def _ended_by_signals(waker: Waker) -> Iterator[None]:
    """Let the first interrupt or termination end the loop after what is in hand; the second one acts as ever."""

    def end(number: int, frame: object) -> None:
        waker.end()
        signal.signal(number, before[number])

    before: dict[int, Any] = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _fields(report: PushReport) -> dict[str, Any]:
    return {**asdict(report), "complete": report.complete}


def _line(report: PushReport) -> str:
    return (
        f"{report.remote}: {report.runs} runs, {report.points:,} points, {report.artifacts} artifacts"
        f" in {report.seconds:.1f} s{'' if report.complete else ', some of it rejected (see mltrack status)'}"
    )


def _print_report(report: PushReport, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(_fields(report), indent=2))
        return
    from rich.table import Table

    console = _console()
    title = f"{report.remote} ({report.url})"
    others = {"datasets": report.datasets, "logged models": report.logged_models, "traces": report.traces}
    sent = report.runs or report.models or report.model_versions or any(others.values())
    if not (sent or report.rejected or report.problems or report.lacking):
        console.print(f"{title}: nothing to send", highlight=False, soft_wrap=True)
        return
    table = Table(title=f"{'Would go to' if report.dry_run else 'Sent to'} {title}", title_justify="left")
    rows = {"runs": f"{report.runs:,} ({report.created:,} new)", "params": f"{report.params:,}"}
    rows |= {"tags": f"{report.tags:,}", "points": f"{report.points:,}", "artifacts": f"{report.artifacts:,}"}
    if report.models or report.model_versions:
        rows |= {"models": f"{report.models:,}", "model versions": f"{report.model_versions:,}"}
    rows |= {what: f"{count:,}" for what, count in others.items() if count}
    if not report.dry_run:
        rows |= {"bytes": f"{report.bytes:,}", "seconds": f"{report.seconds:.1f}"}
        rows |= {"points/s": f"{report.points_per_second:,.0f}"}
    if report.found:
        rows["found there"] = f"{report.found:,} points"
    if report.collapsed:
        rows["equal points"] = f"{report.collapsed:,} (same metric, step, ms and value: MLflow keeps one)"
    table.add_column("what")
    table.add_column("count", justify="right")
    for what, count in rows.items():
        table.add_row(what, count)
    console.print(table)
    _print_rejected(console, report.rejected)
    for words in report.lacking:
        console.print(words, style="yellow", highlight=False, markup=False, soft_wrap=True)
    for problem in report.problems:
        console.print(f"to be tried again: {problem}", style="yellow", highlight=False, markup=False, soft_wrap=True)


def _print_rejected(console: Console, rejected: tuple[Rejected, ...]) -> None:
    for item in rejected[:SHOWN_REJECTED_MAX]:
        many = f" ({item.points:,} points)" if item.points else ""
        what = f"{item.kind} {item.key!r}" if item.key else item.kind
        whose = f"run {item.run_id[:8]} " if item.run_id else ""
        text = f"rejected: {whose}{what}{many}: {item.reason}"
        console.print(text, style="yellow", highlight=False, markup=False, soft_wrap=True)
    if len(rejected) > SHOWN_REJECTED_MAX:
        console.print(f"... and {len(rejected) - SHOWN_REJECTED_MAX} more (--json lists all)", style="yellow")


def _console() -> Console:
    from rich.console import Console

    # a pipe has no width: nothing is cut there
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else 1_000)


# --- status ------------------------------------------------------------------------------------------------------


@click.command("status", cls=Command, examples=["mltrack status"])
@json_option
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:
    """Say for each remote what waits to be pushed and what it refused. Asks nobody."""
    from mltrack_sync.remotes import Remotes
    from mltrack_sync.status import status_of

    store = open_store(ctx)
    found = [status_of(store, remote) for remote in Remotes(store).all()]
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], indent=2))
    elif not found:
        click.echo(f"{store.path} has no remote yet. Add one: mltrack remote add NAME URL")
    else:
        _print_status(found)


def _print_status(found: list[RemoteStatus]) -> None:
    from rich.table import Table

    console = _console()
    table = Table()
    for column in (
        "remote",
        "url",
        "runs there",
        "runs",
        "points",
        "files",
        "bytes",
        "behind",
        "last sync",
        "rejected",
    ):
        table.add_column(column, justify="left" if column in ("remote", "url") else "right")
    for one in found:
        counts = (one.pending_runs, one.pending_points, one.pending_artifacts, one.pending_bytes)
        cells = [f"{count:,}" for count in (one.runs_there, *counts)]
        table.add_row(one.remote, one.url, *cells, _age(one.lag_s), _when(one.last_sync), str(len(one.rejected)))
    console.print(table)
    for one in found:
        if one.background is not None:
            console.print(_background_line(one.remote, one.background), highlight=False, markup=False, soft_wrap=True)
        _print_rejected(console, one.rejected)
        if one.pending_models:
            text = f"{one.remote}: {one.pending_models:,} models with {one.pending_model_versions:,} versions wait"
            console.print(text, highlight=False, markup=False, soft_wrap=True)
        for what in _waiting(one):
            console.print(f"{one.remote}: {what}", highlight=False, markup=False, soft_wrap=True)
        for words in one.damage:
            console.print(f"{one.remote}: {words}", style="yellow", highlight=False, markup=False, soft_wrap=True)
        if one.last_error:
            text = f"{one.remote}: last sync failed at {_when(one.last_error_time)}: {one.last_error}"
            console.print(text, style="red", highlight=False, markup=False, soft_wrap=True)


def _waiting(one: RemoteStatus) -> Iterator[str]:
    if one.pending_logged_models:
        yield f"{one.pending_logged_models:,} logged models wait"
    if one.pending_traces:
        yield f"{one.pending_traces:,} traces wait"
    if one.pending_ties:
        yield f"{one.pending_ties:,} runs have datasets or logged models that it had no place for"


def _background_line(remote: str, background: Presence) -> str:
    text = (
        f"{remote}: pushed in the background by process {background.pid} on {background.host} since"
        f" {_when(background.since)}, last look {_when(background.last_pass)}"
    )
    return f"{text}; {background.trouble}" if background.trouble else text


def _age(seconds: float) -> str:
    """How long ago, in the largest unit that fits."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s" if seconds else "-"


def _when(time_ns: int) -> str:
    from datetime import datetime

    return datetime.fromtimestamp(time_ns / 1e9).astimezone().strftime("%Y-%m-%d %H:%M:%S") if time_ns else "never"


# --- remote ------------------------------------------------------------------------------------------------------


@click.group("remote", epilog="Example:  mltrack remote add lab http://127.0.0.1:5000")
def remote() -> None:
    """Name the places to push to. Credentials are never stored: they come from MLflow's environment variables."""


@remote.command(
    "add",
    cls=Command,
    examples=["mltrack remote add lab http://127.0.0.1:5000", "mltrack remote add prod azureml: --config config.json"],
)
@click.argument("name")
@click.argument("url")
@click.option("--config", metavar="PATH", help="With azureml: the config.json to read (else it is searched for).")
@click.option("--token-file", default="", metavar="PATH", help="Azure: a file that holds a token, kept fresh by you.")
@click.option("--token-command", default="", metavar="CMD", help="Azure: a command that prints a token.")
@click.pass_context
def remote_add(
    ctx: click.Context, name: str, url: str, config: str | None, token_file: str, token_command: str
) -> None:
    """Remember the MLflow server or Azure ML workspace at URL as NAME.

    ``azureml:`` alone takes the workspace from Azure's config.json, searched for from here upward.
    """
    from mltrack_sync.remotes import Remotes

    if url in ("azureml:", "azureml://"):
        from mltrack_sync.azure import AzureWorkspace

        url = AzureWorkspace.from_config(config).url
    elif config is not None:
        raise UsageError("--config goes with azureml: alone", hint="leave one of them out")
    if token_file:
        token_file = os.path.abspath(token_file)
    added = Remotes(open_store(ctx)).add(name, url, token_file=token_file, token_command=token_command)
    click.echo(f"{added.name}: {added.url}")


@remote.command("ls", cls=Command, examples=["mltrack remote ls"])
@json_option
@click.pass_context
def remote_ls(ctx: click.Context, as_json: bool) -> None:
    """List the remotes."""
    from mltrack_sync.remotes import Remotes

    found = Remotes(open_store(ctx)).all()
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], indent=2))
    for one in () if as_json else found:
        click.echo(f"{one.name}\t{one.url}")


@remote.command("rm", cls=Command, examples=["mltrack remote rm lab"])
@click.argument("name")
@click.pass_context
def remote_rm(ctx: click.Context, name: str) -> None:
    """Forget a remote. What is there stays there."""
    from mltrack_sync.remotes import Remotes

    Remotes(open_store(ctx)).remove(name)
    click.echo(f"{name}: removed")


commands: list[click.Command] = [sync, status, remote]
"""What mltrack's CLI adds to its own."""
