"""The command ``sync``, found by mltrack's CLI by entry point."""

from __future__ import annotations

import contextlib
import functools
import queue
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import click

from mltrack.errors import UsageError
from mltrack.text.counting import plural
from mltrack.text.printable import printable
from mltrack.text.printing import Column, console, heading, print_json, print_table, say, styled
from mltrack_sync.cli.common import (
    PARTIAL,
    Command,
    artifact_bytes_max,
    artifact_options,
    json_option,
    open_store,
    print_rejected,
    rate_limiter,
    rate_option,
    remote_argument,
    selection_options,
)
from mltrack_sync.cli.waiting import saying_waits
from mltrack_sync.remotes.kind import rest_after_push_s
from mltrack_sync.remotes.resolver import introduced, remote_for
from mltrack_sync.report import json_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mltrack.store import Store
    from mltrack_sync.daemon.loop import Trigger
    from mltrack_sync.engine.estimate import PushEstimate
    from mltrack_sync.remotes.kind import Remote
    from mltrack_sync.report import PushReport

__all__ = ["commands", "ended_by_signals", "sync"]

SAFE = "interrupted: nothing is lost or sent twice; what arrived is noted, and the next sync sends the rest"

LONG_S = 10.0
"""A push that may take longer than this says so before it starts."""

NAMED_MAX = 3
"""So many runs are named in a line of --watch."""

SAID_IN_SECONDS_S = 90.0
SAID_IN_MINUTES = 120


@click.command(
    "sync",
    short_help="Push what is new to a remote.",
    cls=Command,
    examples=["mltrack sync http://127.0.0.1:5000 --dry-run", "mltrack sync --experiment digits --watch"],
)
@remote_argument
@selection_options
@artifact_options
@click.option(
    "--history", metavar="N", help="Send about N to 2N points of each metric, and the complete run as files; or whole."
)
@click.option("--dry-run", is_flag=True, help="Show what would be sent; make no request.")
@click.option("--watch", "watching", is_flag=True, help="Keep pushing what is new until stopped.")
@click.option("--interval", default=5.0, show_default=True, metavar="S", help="With --watch: poll every S seconds.")
@click.option("--jobs", default=4, show_default=True, metavar="N", help="How many runs to push at a time.")
@click.option("--retry-rejected", is_flag=True, help="Try again what the remote rejected.")
@click.option("--repair", is_flag=True, help='Repair on the remote what "mltrack verify" found missing or different.')
@rate_option
@click.option("--all-remotes", is_flag=True, help="Push to every remote, one after the other.")
@json_option
@click.pass_context
def sync(
    ctx: click.Context,
    remote: str | None,
    runs: tuple[str, ...],
    experiments: tuple[str, ...],
    filter_string: str,
    no_artifacts: bool,
    max_artifact_size: str | None,
    history: str | None,
    dry_run: bool,
    watching: bool,
    interval: float,
    jobs: int,
    retry_rejected: bool,
    repair: bool,
    limit_rate: str | None,
    all_remotes: bool,
    as_json: bool,
) -> None:
    """Push what is new to a remote.

    REMOTE is a name from "mltrack remote ls", the URL of an MLflow server, or the path of another store. Everything
    arrives once, however often the command is interrupted and run again. Exits with 3 when the remote rejected
    something or does not support it (an older server, for logged models or traces): that is listed, and the rest has
    arrived.
    """
    from mltrack_sync.engine.estimate import estimate_push
    from mltrack_sync.engine.push import push
    from mltrack_sync.remotes.settings import parse_history
    from mltrack_sync.selection import Selection

    points_of_metric = parse_history(history) if history is not None else None
    store = open_store(ctx)
    if interval <= 0:
        raise UsageError(f"--interval {interval} is too short", hint="give --interval 1 or more")
    if repair and (watching or all_remotes or dry_run):
        hint = "mltrack verify REMOTE lists what would be repaired; then mltrack sync REMOTE --repair"
        raise UsageError("--repair can't be combined with --watch, --all-remotes or --dry-run", hint=hint)
    selection = Selection(runs, experiments, filter_string)
    to_remote = functools.partial(
        push,
        store,
        selection=selection,
        history=points_of_metric,
        jobs=jobs,
        dry_run=dry_run,
        retry_rejected=retry_rejected,
        repair=repair,
        pace=rate_limiter(limit_rate),
        artifact_bytes_max=artifact_bytes_max(no_artifacts, max_artifact_size),
    )
    if all_remotes:
        if remote is not None or watching:
            raise UsageError("--all-remotes can't be combined with a remote or --watch", hint="leave one of them out")
        with saying_waits(SAFE):
            is_complete = _to_all(store, to_remote, as_json)
        if not is_complete and not dry_run:
            ctx.exit(PARTIAL)
        return
    target = remote_for(store, remote, remember=False)
    if watching and not dry_run:
        to_target = functools.partial(_to_introduced, store, target, to_remote)
        _watch(store, to_target, interval, retry_rejected, as_json, rest_after_push_s(target))
        return
    if not as_json:
        _say_how_long(estimate_push(store, target, selection, points_of_metric))
    one_cycle = functools.partial(to_remote, target)
    if not dry_run:
        one_cycle = functools.partial(_to_introduced, store, target, to_remote)
    with saying_waits(SAFE):
        report = _with_progress(one_cycle, as_json)
    _print_report(report, as_json)
    if repair and not as_json:
        say(f"to see whether all of it is repaired: mltrack verify {report.remote}")
    if not report.complete and not dry_run:
        ctx.exit(PARTIAL)


def _say_how_long(estimate: PushEstimate) -> None:
    """Say how long the push may take, if that is long, and what would make it short."""
    from mltrack_sync.engine.estimate import SAMPLE

    if estimate.seconds < LONG_S:
        return
    by = "as fast as the last time" if estimate.measured else "at the usual rate of an MLflow server"
    say(f"{estimate.points:,} points to send: about {_duration(estimate.seconds)}, {by}", err=True)
    sampled = estimate.sampled_seconds
    if sampled is not None and sampled < estimate.seconds / 2:
        less = f"a sampled history would take about {_duration(sampled)}, with the complete runs as files"
        say(f"{less}: mltrack sync --history {SAMPLE}", err=True)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if seconds < SAID_IN_SECONDS_S:
        return f"{max(1, round(seconds))} s"
    return f"{minutes} min" if minutes < SAID_IN_MINUTES else f"{minutes // 60} h {minutes % 60} min"


def _to_introduced(store: Store, target: Remote, to_remote: Callable[..., PushReport], **options: Any) -> PushReport:
    return to_remote(introduced(store, target), **options)


def _to_all(store: Store, to_remote: Callable[..., PushReport], as_json: bool) -> bool:
    """Each remote in turn; one that fails does not stop the others, and its error becomes the command's."""
    from mltrack.errors import BusyError, RemoteError, UntrustedError
    from mltrack_sync.remotes.config import Remotes

    reports: list[PushReport] = []
    failed: list[RemoteError | BusyError | UntrustedError] = []
    for target in Remotes(store).all():
        try:
            reports.append(_with_progress(functools.partial(to_remote, target), as_json))
        except (RemoteError, BusyError, UntrustedError) as error:
            failed.append(error)
            say(f"{target.name}: {error}", err=True)
        else:
            if not as_json:
                _print_report(reports[-1], as_json)
    if as_json:
        print_json([_fields(report) for report in reports])
    if failed:
        raise failed[0]
    return all(report.complete for report in reports)


def _with_progress(one_cycle: Callable[..., PushReport], as_json: bool) -> PushReport:
    from mltrack_sync.progress import BarProgress

    if as_json or not sys.stderr.isatty():
        return one_cycle()
    with BarProgress(console(err=True)) as progress:
        return one_cycle(progress=progress)


def _watch(
    store: Store,
    one_cycle: Callable[..., PushReport],
    interval: float,
    retry_rejected: bool,
    as_json: bool,
    rest_s: float,
) -> None:
    from mltrack_sync.daemon.loop import CURED_EVERY_S, Trigger, watch

    reported: list[str] = []
    retry = [retry_rejected]  # only in the first cycle
    cured_at = [0.0]

    shown: list[bool] = []

    def on_cycle(report: PushReport) -> None:
        reported.clear()
        is_first = not shown
        shown.append(True)
        if is_first or report.runs or report.logged_models or report.traces or report.problems:
            if as_json:
                print_json(_fields(report), line=True)
            else:
                say(_line(report, is_first=is_first))

    def cycle_once(stop: threading.Event) -> PushReport:
        cured = time.monotonic() >= cured_at[0]
        if cured:
            cured_at[0] = time.monotonic() + CURED_EVERY_S
        return one_cycle(stop=stop, retry_rejected=bool(retry and retry.pop()), retry_cured=cured)

    def on_trouble(error: Exception) -> None:
        if str(error) not in reported:  # once, not at each attempt
            reported.append(str(error))
            say(f"{_now()} waiting: {error}", err=True)

    trigger = Trigger()
    with ended_by_signals(trigger), saying_waits(SAFE):
        watch(
            store,
            cycle_once,
            on_cycle=on_cycle,
            on_trouble=on_trouble,
            interval_s=interval,
            rest_s=rest_s,
            trigger=trigger,
        )
    say("stopped; the next sync sends what is left", err=True)


@contextlib.contextmanager
def ended_by_signals(trigger: Trigger) -> Iterator[None]:
    """Let the first interrupt or termination end the loop after what is in hand; the second one acts as usual."""

    requests: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def end() -> None:
        """In a thread: a signal may come while the loop holds the locks that ending it needs."""
        if requests.get():
            trigger.end()

    def handle(number: int, frame: object) -> None:
        requests.put(True)
        signal.signal(number, before[number])

    before: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    ender = threading.Thread(target=end, name="mltrack-shutdown", daemon=True)
    ender.start()
    try:
        for number in before:
            signal.signal(number, handle)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        requests.put(False)
        ender.join()


def _fields(report: PushReport) -> dict[str, Any]:
    return {**json_fields(report), "complete": report.complete}


def _now() -> str:
    from mltrack.text.moments import moment

    return moment(time.time_ns() // 1_000_000)


def _line(report: PushReport, *, is_first: bool) -> str:
    """One cycle of --watch: when it ended, and what went."""
    did = report.runs or report.logged_models or report.traces or report.models or report.artifacts
    did = did or report.evaluation_items or report.experiments
    rejected = "" if report.complete else ", some of it rejected (see mltrack status)"
    if is_first and not did:
        return f"{_now()} {report.remote}: nothing to send{rejected}; watching for more"
    counts = f"{plural(report.points, 'point')}, {plural(report.artifacts, 'artifact')} in {report.seconds:.1f} s"
    return f"{_now()} {report.remote}: {_runs_in_words(report)}, {counts}{rejected}"


def _runs_in_words(report: PushReport) -> str:
    """The runs that went, the first of them by name."""
    names = [repr(printable(name)) for name in report.run_names[:NAMED_MAX]]
    more = report.runs - len(names)
    if not names:
        return plural(report.runs, "run")
    named = f"{'run' if len(names) == 1 else 'runs'} {', '.join(names)}"
    return f"{named} and {more:,} more" if more > 0 else named


def _print_report(report: PushReport, as_json: bool) -> None:
    if as_json:
        print_json(_fields(report))
        return
    title = f"{report.remote} ({report.url})"
    others = {"datasets": report.datasets, "logged models": report.logged_models, "traces": report.traces}
    others["evaluation datasets, scorers, label schemas"] = report.evaluation_items
    others["experiments without runs"] = report.experiments
    sent = report.runs or report.models or report.model_versions or any(others.values())
    if not (sent or report.rejected or report.problems or report.unsupported):
        say(f"{title}: nothing to send")
        for words in report.notes:
            say(words)
        return
    heading(f"{'Would go to' if report.dry_run else 'Sent to'} {title}")
    rows = {"runs": f"{report.runs:,} ({report.created:,} new)"}
    if report.params or report.tags:  # where runs are copied as files, nobody counts these
        rows |= {"params": f"{report.params:,}", "tags": f"{report.tags:,}"}
    rows |= {"points": f"{report.points:,}", "artifacts": f"{report.artifacts:,}"}
    if report.models or report.model_versions:
        rows |= {"models": f"{report.models:,}", "model versions": f"{report.model_versions:,}"}
    rows |= {what: f"{count:,}" for what, count in others.items() if count}
    if not report.dry_run:
        rows |= {"bytes": f"{report.bytes:,}", "seconds": f"{report.seconds:.1f}"}
        if report.points:
            rows |= {"points/s": f"{report.points_per_second:,.0f}"}
    if report.in_doubt:
        rows["in doubt"] = f"{report.in_doubt:,} of the points (their answer was lost: compared before they are sent)"
    if report.found:
        rows["found on remote"] = f"{report.found:,} points"
    if report.collapsed:
        rows["duplicates merged"] = f"{report.collapsed:,} (same metric, step, ms and value: MLflow keeps one)"
    print_table([Column("what"), Column("count", right=True)], list(rows.items()))
    print_rejected(report.rejected)
    for words in report.notes:
        say(words)
    for words in report.unsupported:
        say(styled(words, fg="yellow"))
    for problem in report.problems:
        say(styled(f"to be retried: {problem}", fg="yellow"))


commands: list[click.Command] = [sync]
"""What mltrack's CLI adds to its own."""
