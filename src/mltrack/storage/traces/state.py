"""Folding: a trace is made of the facts its writers stored, in the order of (time, writer, seq).

What each fact does to a trace is what the same call does in MLflow's SQL store, so that a trace comes out the same.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from mltrack.storage.traces.figures import SpanSum
from mltrack.storage.traces.trace import (
    COST_KEYS,
    COUNTED_TOKENS,
    IN_PROGRESS,
    OPEN_STATES,
    USER,
    Assessment,
    SpanHead,
    SpanPlace,
    Trace,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["TraceFact", "fold_trace"]


class TraceFact(NamedTuple):
    """One line of a facts file. Facts are ordered by time (ns), writer, seq."""

    time: int
    writer: str
    seq: int
    experiment_id: str
    line: Mapping[str, Any]


def fold_trace(trace: Trace | None, facts: Iterable[TraceFact], bad: list[TraceFact]) -> Trace | None:
    """The trace after more facts, which are in order; None if it does not exist, or no longer.

    Facts without the fields that their type needs are added to ``bad`` and skipped; unknown types are skipped.
    """
    for kind, group in groupby(facts, key=lambda fact: str(fact.line.get("type"))):
        if kind == "spans":
            trace = _fold_spans(trace, group, bad)
            continue
        apply = _FOLDS.get(kind, _skipped)
        for fact in group:
            try:
                trace = apply(trace, fact)
            except _BAD:
                bad.append(fact)
    return trace


_BAD = (KeyError, TypeError, ValueError, AttributeError)
_SET = ("request_time", "duration", "state", "client_request_id", "request_preview", "response_preview", "session")


def _info(trace: Trace | None, fact: TraceFact) -> Trace:
    line = fact.line
    base = trace or Trace(str(line["trace_id"]), fact.experiment_id, int(line["request_time"]))
    given = {name: line[name] for name in _SET if name in line}
    assessments = dict(base.assessments)
    for record in line.get("assessments", ()):
        assessment = Assessment(**record)
        assessments[assessment.assessment_id] = assessment
    return replace(
        base,
        experiment_id=fact.experiment_id,
        final=base.final or bool(line.get("final")),
        tokens=_known({**base.tokens, **line.get("tokens", {})}),
        cost=_known({**base.cost, **line.get("cost", {})}),
        tags={**base.tags, **line.get("tags", {})},
        metadata={**base.metadata, **line.get("metadata", {})},
        assessments=assessments,
        born=True,
        **given,
    )


def _known(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _fold_spans(trace: Trace | None, facts: Iterable[TraceFact], bad: list[TraceFact]) -> Trace | None:
    """The trace after consecutive facts of spans: its mapping of spans is copied once, not for each fact."""
    spans = dict(trace.spans) if trace is not None else {}
    sums = (
        SpanSum("tokens", "usage", COUNTED_TOKENS, 0, spans.values()),
        SpanSum("cost", "cost", COST_KEYS, 0.0, spans.values()),
    )
    for fact in facts:
        try:
            new = _heads(fact)
            trace = _with_spans(trace, fact, new, spans)
        except _BAD:
            bad.append(fact)
            continue
        for each in sums:
            trace = each.replacing(trace, spans, new)
        spans |= new
        if trace.final:  # its first sums are kept: only a missing one is made
            trace = _summed(trace, spans, [each for each in sums if not getattr(trace, each.field)])
    return trace if trace is None or trace.final else _summed(trace, spans, sums)


def _summed(trace: Trace, spans: Mapping[str, SpanHead], sums: Iterable[SpanSum]) -> Trace:
    for each in sums:
        trace = each.summed(trace, spans)
    return trace


def _heads(fact: TraceFact) -> dict[str, SpanHead]:
    """The heads of a fact's spans, by span id."""
    offset, size = fact.line["at"]
    place = SpanPlace(fact.experiment_id, fact.writer, int(offset), int(size))
    heads = [_head(record, place, order) for order, record in enumerate(fact.line["heads"])]
    return {head.span_id: head for head in heads}


def _with_spans(
    trace: Trace | None, fact: TraceFact, new: Mapping[str, SpanHead], spans: Mapping[str, SpanHead]
) -> Trace:
    """The trace after a fact of ``new`` spans, without new sums; ``spans`` is the mapping that it will have."""
    line = fact.line
    start, end, root_state = int(line["start"]), line.get("end"), line.get("root_state")
    if trace is None or not trace.born:
        trace = _begun(trace, fact, start, end, root_state)
    changes: dict[str, Any] = {"spans": spans, "tags": {**trace.tags, **line.get("tags", {})}}
    has_figures = any(head.usage is not None or head.cost is not None for head in new.values())
    if not (trace.final and (line.get("session") or has_figures)):
        changes |= _widened(trace, start, end)
    if trace.state in OPEN_STATES and root_state:
        changes["state"] = root_state
    for name in ("request_preview", "response_preview", "session"):
        if getattr(trace, name) is None and line.get(name) is not None:
            changes[name] = line[name]
    if line.get("user") and USER not in trace.metadata:
        changes["metadata"] = {**trace.metadata, USER: line["user"]}
    return replace(trace, **changes)


def _begun(trace: Trace | None, fact: TraceFact, start: int, end: int | None, root_state: str | None) -> Trace:
    """The trace that its first spans make, with the links to runs that came before them."""
    links = trace.run_ids if trace is not None else ()
    duration = end - start if end else None
    state = root_state or IN_PROGRESS
    return Trace(str(fact.line["trace_id"]), fact.experiment_id, start, duration, state, run_ids=links)


def _head(record: Mapping[str, Any], place: SpanPlace, order: int) -> SpanHead:
    return SpanHead(
        span_id=str(record["id"]),
        parent_id=record.get("parent"),
        name=str(record["name"]),
        kind=record.get("kind"),
        status=str(record["status"]),
        start=int(record["start"]),
        end=record.get("end"),
        usage=_figures(record.get("usage")),
        cost=_figures(record.get("cost")),
        model=record.get("model"),
        provider=record.get("provider"),
        place=place,
        order=order,
    )


def _figures(values: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Figures, checked that they can be summed.

    Raises:
        TypeError, AttributeError: they can't.
    """
    if values:
        sum(values.values())
    return values


def _widened(trace: Trace, start: int, end: int | None) -> dict[str, int]:
    """The trace's time, extended over spans from ``start`` to ``end``."""
    earliest = min(trace.request_time, start)
    if end is None:
        return {"request_time": earliest}
    latest = end if trace.duration is None else max(end, trace.request_time + trace.duration)
    return {"request_time": earliest, "duration": latest - earliest}


def _tag(trace: Trace | None, fact: TraceFact) -> Trace | None:
    if trace is None:
        return None
    tags, key, value = dict(trace.tags), str(fact.line["key"]), fact.line["value"]
    if value is None:
        tags.pop(key, None)
    else:
        tags[key] = str(value)
    return replace(trace, tags=tags)


def _assessment(trace: Trace | None, fact: TraceFact) -> Trace | None:
    if trace is None:
        return None
    new = Assessment(**fact.line["assessment"])
    assessments = {**trace.assessments, new.assessment_id: new}
    overridden = assessments.get(new.overrides) if new.overrides else None
    if overridden is not None:
        assessments[overridden.assessment_id] = replace(overridden, valid=False)
    return replace(trace, assessments=assessments)


def _assessment_change(trace: Trace | None, fact: TraceFact) -> Trace | None:
    held = trace.assessments.get(fact.line["assessment_id"]) if trace is not None else None
    if trace is None or held is None:
        return trace
    changed = replace(held, **fact.line["changes"])
    return replace(trace, assessments={**trace.assessments, held.assessment_id: changed})


def _assessment_delete(trace: Trace | None, fact: TraceFact) -> Trace | None:
    held = trace.assessments.get(fact.line["assessment_id"]) if trace is not None else None
    if trace is None or held is None:
        return trace
    assessments = {key: one for key, one in trace.assessments.items() if key != held.assessment_id}
    restored = assessments.get(held.overrides) if held.overrides else None
    if restored is not None:
        assessments[restored.assessment_id] = replace(restored, valid=True)
    return replace(trace, assessments=assessments)


def _run(trace: Trace | None, fact: TraceFact) -> Trace:
    """A link may come before its trace, which may still be in another process's queue."""
    if trace is None:
        trace = Trace(str(fact.line["trace_id"]), fact.experiment_id, 0, born=False)
    run_id = str(fact.line["run_id"])
    others = tuple(one for one in trace.run_ids if one != run_id)
    return replace(trace, run_ids=(*others, run_id) if fact.line["linked"] else others)


def _prompt(trace: Trace | None, fact: TraceFact) -> Trace | None:
    prompt = str(fact.line["prompt"])
    if trace is None or prompt in trace.prompts:
        return trace
    return replace(trace, prompts=(*trace.prompts, prompt))


def _delete(trace: Trace | None, fact: TraceFact) -> None:
    return None


def _skipped(trace: Trace | None, fact: TraceFact) -> Trace | None:
    return trace


_FOLDS = {
    "info": _info,
    "tag": _tag,
    "assessment": _assessment,
    "assessment_change": _assessment_change,
    "assessment_delete": _assessment_delete,
    "run": _run,
    "prompt": _prompt,
    "delete": _delete,
}
