"""`mltrack traces`: what programs did for each request, as MLflow's tracing recorded it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from mltrack.cli.context import Command, Session, experiments_option, json_option, pass_session
from mltrack.cli.names import wanted_tags
from mltrack.errors import UsageError
from mltrack.text.figures import with_times
from mltrack.text.printing import Column, heading, is_terminal, note, print_json, print_table, say

if TYPE_CHECKING:
    from mltrack.storage.traces.trace import SpanHead, Trace
    from mltrack.store import Store

__all__ = ["traces"]

TRACES_SHOWN = 20
STATES = ("OK", "ERROR", "IN_PROGRESS")


@click.group("traces", short_help="List and show traces.")
def traces() -> None:
    """List traces, and show their spans. MLflow's tracing records them: mlflow.set_tracking_uri("mltrack:")."""


@traces.command(
    "ls", short_help="List traces.", cls=Command, examples=["mltrack traces ls", "mltrack traces ls --state ERROR -n 5"]
)
@experiments_option
@click.option("-r", "--run", help="Only those of this run.")
@click.option("-s", "--state", type=click.Choice(STATES, case_sensitive=False), help="Only those in this state.")
@click.option("-t", "--tag", "tags", multiple=True, metavar="KEY=VALUE", help="Only with this tag; may be repeated.")
@click.option("-n", "--limit", type=click.IntRange(min=1), default=TRACES_SHOWN, show_default=True, help="How many.")
@json_option
@pass_session
def ls(
    session: Session,
    experiments: tuple[str, ...],
    run: str | None,
    state: str | None,
    tags: tuple[str, ...],
    limit: int,
    as_json: bool,
) -> None:
    """List traces, the newest first."""
    from mltrack.cli.formatting import ago, moment, plural

    store = session.store()
    found = _matching(store, experiments, run, state, tags)
    shown = found[:limit]
    if as_json:
        print_json([_facts(trace) for trace in shown])
        return
    import time

    now_ms = time.time_ns() // 1_000_000
    if not shown:
        note("no trace matches" if store.traces.all() else "there are none yet")
        return
    pretty = is_terminal()
    rows = [
        (
            trace.trace_id,
            ago(trace.request_time, now_ms) if pretty else moment(trace.request_time),
            trace.state,
            _milliseconds(trace.duration),
            str(len(trace.spans)),
            str(trace.tokens.get("total_tokens", "")),
            _one_line(trace.request_preview),
            _one_line(trace.response_preview),
        )
        for trace in shown
    ]
    columns = [Column("id", style="cyan"), Column("started", drop=3), Column("state"), Column("ms", right=True)]
    columns += [Column("spans", right=True, drop=4), Column("tokens", right=True, drop=5)]
    print_table([*columns, Column("request", cut=True, drop=2), Column("response", cut=True, drop=1)], rows)
    if len(found) > limit:
        say(f"{plural(len(found) - limit, 'older trace')} not shown: -n {len(found)}", err=True)


@traces.command("show", short_help="Show a trace.", cls=Command, examples=["mltrack traces show tr-0123 --json"])
@click.argument("trace_id", metavar="TRACE")
@json_option
@pass_session
def show(session: Session, trace_id: str, as_json: bool) -> None:
    """Show TRACE (an id, or its first digits): times, tags, assessments, and its spans as a tree."""
    from mltrack.cli.formatting import moment

    store = session.store()
    trace = _trace(store, trace_id)
    if as_json:
        print_json({**_facts(trace), "spans": [_span_facts(span) for span in trace.spans.values()]})
        return
    names = {each.experiment_id: f"{each.name} ({each.experiment_id})" for each in store.experiments()}
    pairs = [
        ("trace", trace.trace_id),
        ("experiment", names.get(trace.experiment_id, trace.experiment_id)),
        ("state", trace.state),
        ("started", moment(trace.request_time)),
        ("ms", _milliseconds(trace.duration)),
        ("runs", ", ".join(trace.run_ids)),
        ("request", _one_line(trace.request_preview)),
        ("response", _one_line(trace.response_preview)),
        *((f"tokens {key}", f"{count:,}") for key, count in trace.tokens.items()),
        *((f"tag {key}", value) for key, value in sorted(trace.tags.items())),
    ]
    print_table([Column("", style="dim"), Column("", wrap=True)], [pair for pair in pairs if pair[1]], headings=False)
    if trace.spans:
        say()
        heading("Spans")
        rows = [
            ("  " * depth + span.name, span.kind or "", span.status, _milliseconds(_span_ms(span)), span.model or "")
            for span, depth in _as_tree(trace)
        ]
        columns = [Column("span", cut=True), Column("kind"), Column("status"), Column("ms", right=True)]
        print_table([*columns, Column("model", drop=1)], rows)
    valid = [each for each in trace.assessments.values() if each.valid]
    if valid:
        say()
        heading("Assessments")
        judged = [(each.name, each.kind, each.value, each.source_id or each.source_type) for each in valid]
        print_table([Column(name, cut=name == "value") for name in ("name", "kind", "value", "by")], judged)


def _matching(
    store: Store, experiments: tuple[str, ...], run: str | None, state: str | None, tags: tuple[str, ...]
) -> list[Trace]:
    """The traces that match, the newest first."""
    from mltrack.cli.select import experiment_named
    from mltrack.storage.traces.views import LATEST_FIRST

    ids = {experiment_named(store, name).experiment_id for name in experiments}
    run_id = None if run is None else store.resolve(run)
    wanted = wanted_tags(tags, "mltrack traces ls --tag KEY=VALUE")
    return [
        trace
        for trace in store.traces.in_order(frozenset(ids) or None, LATEST_FIRST)
        if (run_id is None or run_id in trace.run_ids)
        and (state is None or trace.state == state)
        and (not wanted or wanted.items() <= trace.tags.items())
    ]


def _trace(store: Store, text: str) -> Trace:
    """The trace with that id, or the only one whose id begins so.

    Raises:
        NotFoundError: there is none.
        UsageError: there are several.
    """
    found = store.traces.find(text)
    if found is not None:
        return found
    matches = [
        trace for trace in store.traces.all() if trace.trace_id.removeprefix("tr-").startswith(text.removeprefix("tr-"))
    ]
    if len(matches) > 1:
        raise UsageError(f"{text!r} begins the ids of {len(matches)} traces", hint="give more digits")
    return matches[0] if matches else store.traces.get(text)


def _facts(trace: Trace) -> dict[str, Any]:
    """A trace for --json, without its spans."""
    facts = {key: value for key, value in asdict(trace).items() if key not in ("spans", "metadata", "born", "final")}
    return {
        **with_times(facts, ms=("request_time",)),
        "metadata": trace.full_metadata,
        "assessments": [
            with_times(asdict(each), ms=("create_time", "update_time")) for each in trace.assessments.values()
        ],
        "span_count": len(trace.spans),
    }


def _span_facts(span: SpanHead) -> dict[str, Any]:
    facts = {key: value for key, value in span._asdict().items() if key not in ("place", "order")}
    return with_times(facts, ns=("start", "end"))


def _span_ms(span: SpanHead) -> int | None:
    return None if span.end is None else (span.end - span.start) // 1_000_000


def _milliseconds(duration: int | None) -> str:
    return "" if duration is None else f"{duration:,}"


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())


def _as_tree(trace: Trace) -> list[tuple[SpanHead, int]]:
    """Each span with its depth, children right after their parent, in order of their start."""
    children: dict[str | None, list[SpanHead]] = {}
    for span in trace.spans.values():
        parent = span.parent_id if span.parent_id in trace.spans and span.parent_id != span.span_id else None
        children.setdefault(parent, []).append(span)
    for spans in children.values():
        spans.sort(key=lambda span: (span.start, span.span_id), reverse=True)
    ordered: list[tuple[SpanHead, int]] = []
    left = [(span, 0) for span in children.pop(None, [])]
    while left:
        span, depth = left.pop()
        ordered.append((span, depth))
        left += [(child, depth + 1) for child in children.pop(span.span_id, [])]
    return ordered
