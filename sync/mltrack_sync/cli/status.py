"""The command ``status``: what is pending for each remote."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from mltrack.text.counting import plural
from mltrack.text.printing import Column, console, is_terminal, note, print_json, print_table, say, styled
from mltrack_sync.cli.common import Command, json_option, open_store, print_rejected

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mltrack_sync.daemon.heartbeat import Heartbeat
    from mltrack_sync.status import RemoteStatus

__all__ = ["status"]

WIDE = 120
"""Characters of a terminal that has room for URLs next to the counts of a remote."""


@click.command("status", short_help="Show what is pending for each remote.", cls=Command, examples=["mltrack status"])
@json_option
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:
    """Show what is pending for each remote.

    Also shows what was rejected, and the last error. Makes no network request.
    """
    from mltrack_sync.remotes.config import Remotes
    from mltrack_sync.remotes.receivers import receivers
    from mltrack_sync.status import status_fields, status_of

    store = open_store(ctx)
    found = [status_of(store, remote) for remote in (*Remotes(store).all(), *receivers(store))]
    if as_json:
        print_json([status_fields(one) for one in found])
    elif not found:
        say(f"{store.path} has no remote yet. Add one: mltrack remote add NAME URL")
    else:
        _print_status(found)


def _print_status(found: list[RemoteStatus]) -> None:
    is_narrow = is_terminal() and console().width < WIDE
    counts = ("runs on remote", "runs", "points", "files", "bytes", "oldest unsent")
    names = ("remote", "url", *counts, "last sync", "rejected")
    rows = []
    for one in found:
        pending = (one.pending_runs, one.pending_points, one.pending_artifacts, one.pending_bytes)
        cells = [f"{count:,}" for count in (one.runs_on_remote, *pending)]
        last = _age(max(0.0, time.time() - one.last_sync / 1e9)) if one.last_sync else "never"
        when = (last if one.last_sync == 0 else f"{last} ago") if is_narrow else _when(one.last_sync)
        rows.append((one.remote, one.url, *cells, _age(one.lag_s), when, str(len(one.rejected))))
    left_out = {"url", *(() if any(one.rejected for one in found) else ("rejected",))} if is_narrow else set()
    columns = [
        Column("on remote" if is_narrow and name == "runs on remote" else name, right=at > 1, cut=name == "url")
        for at, name in enumerate(names)
        if name not in left_out
    ]
    kept = [at for at, name in enumerate(names) if name not in left_out]
    print_table(columns, [[row[at] for at in kept] for row in rows])
    if left_out:
        note(f"not shown, as the terminal is narrow: {', '.join(sorted(left_out, reverse=True))}")
    for one in found:
        if one.background is not None:
            say(_background_line(one.remote, one.background))
        print_rejected(one.rejected)
        if one.pending_models:
            versions = plural(one.pending_model_versions, "version")
            say(f"{one.remote}: {plural(one.pending_models, 'registered model')} ({versions}) pending")
        if one.bundles_written:
            say(f"{one.remote}: {plural(one.bundles_written, 'bundle')} written, {_arrived(one)}")
        if one.running:
            since = _age(max(0.0, time.time() - one.running_as_of / 1e9))
            words = f"{plural(one.running, 'run')} being recorded there, as of {since} ago"
            say(f"{one.remote}: {words} (mltrack pull {one.remote})")
        for what in _waiting(one):
            say(f"{one.remote}: {what}")
        for words in one.damage:
            say(styled(f"{one.remote}: {words}", fg="yellow"))
        if one.last_error:
            text = f"{one.remote}: last sync failed at {_when(one.last_error_time)}: {one.last_error}"
            say(styled(text, fg="red"))


def _arrived(one: RemoteStatus) -> str:
    if not one.bundles_arrived:
        return "no receipt came back (mltrack receipt --accept PATH)"
    return f"receipts came back up to bundle {one.bundles_arrived}"


def _waiting(one: RemoteStatus) -> Iterator[str]:
    if one.pending_logged_models:
        yield f"{plural(one.pending_logged_models, 'logged model')} pending"
    if one.pending_traces:
        yield f"{plural(one.pending_traces, 'trace')} pending"
    if one.pending_evaluation_items:
        yield f"evaluation datasets, scorers and label schemas: {one.pending_evaluation_items:,} pending"
    if one.pending_experiments:
        yield f"{plural(one.pending_experiments, 'experiment')} without runs pending"
    if one.pending_links:
        yield f"{plural(one.pending_links, 'run')} with datasets or logged models, which the remote does not support"


def _background_line(remote: str, background: Heartbeat) -> str:
    text = (
        f"{remote}: pushed in the background by process {background.pid} on {background.host} since"
        f" {_when(background.since)}, last poll {_when(background.last_pass)}"
    )
    return f"{text}; {background.trouble}" if background.trouble else text


def _age(seconds: float) -> str:
    """How long, as `mltrack ls` writes durations; a dash for none."""
    from mltrack.text.figures import duration

    return duration(seconds * 1000) if seconds else "-"


def _when(time_ns: int) -> str:
    from mltrack.text.moments import moment

    return moment(time_ns // 1_000_000) if time_ns else "never"
