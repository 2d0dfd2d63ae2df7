"""Filters traces by their assessments. One on a session counts for all traces of the session."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from mlflow.tracing.constant import TraceMetadataKey

from mltrack.catalog.comparators import EQUALITY, NULLS, ORDERED, comparator_test
from mltrack.mlflow_plugin.tracking.trace_entities import value_number
from mltrack.storage.traces.views import LATEST_FIRST, TraceField

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mltrack.mlflow_plugin.tracking.shown_assessments import ShownAssessments
    from mltrack.storage.traces.traces import Assessment, Trace, Traces

__all__ = ["Clause", "Test", "assessed"]

Test = Callable[["Trace"], bool]


class Clause(NamedTuple):
    """One comparison of a filter."""

    kind: str
    key: str
    comparator: str
    value: Any

    @property
    def name(self) -> tuple[str, str, str, str]:
        """What distinguishes it from others."""
        return self.kind, self.key, self.comparator, repr(self.value)


def assessed(
    clause: Clause, store: Traces, scope: frozenset[str] | None, shown: ShownAssessments
) -> tuple[Test, list[Trace] | None]:
    """A test of valid assessments of one kind and name that count, and the traces that may pass, if they are few.

    Raises:
        StoreError: the store can't be read.
    """
    fits = _value_test(clause) if clause.comparator not in NULLS else (lambda held: True)

    def held_by(trace: Trace) -> list[Assessment]:
        return [
            held
            for held in trace.assessments.values()
            if held.kind == clause.kind and held.name == clause.key and held.valid and fits(held)
        ]

    def matching(trace: Trace) -> list[Assessment]:
        return [held for held in held_by(trace) if shown.shows(held)]

    session_held = store.having(_ON_SESSION, True)
    sessions = {
        trace.session
        for trace in (store.in_order(scope, LATEST_FIRST) if session_held is None else session_held)
        if trace.session is not None
        and (scope is None or trace.experiment_id in scope)
        and any(_on_session(held) for held in matching(trace))
    }
    wanted = clause.comparator != "IS NULL"
    possible = None
    if wanted:
        named = TraceField(clause.name, lambda trace: (bool(held_by(trace)),), text=json.dumps(clause.key))
        possible = _together([store.having(named, True), *(store.having(_SESSION, session) for session in sessions)])
    return lambda trace: (trace.session in sessions or bool(matching(trace))) == wanted, possible


def _together(found: Iterable[list[Trace] | None]) -> list[Trace] | None:
    by_id: dict[str, Trace] = {}
    for traces in found:
        if traces is None:
            return None
        by_id.update((trace.trace_id, trace) for trace in traces)
    return list(by_id.values())


def _on_session(held: Assessment) -> bool:
    return held.metadata is not None and _SESSION_KEY in held.metadata


def _value_test(clause: Clause) -> Callable[[Assessment], bool]:
    comparator, value = clause.comparator, clause.value
    if comparator in ORDERED:
        above = comparator_test(comparator, value)

        def in_order(held: Assessment) -> bool:
            number, itself = value_number(held)
            return itself and above(number)

        return in_order
    if comparator in EQUALITY:
        texts = (value, json.dumps(value))
        return lambda held: (held.value in texts) == (comparator == "=")
    matches = comparator_test(comparator, value)
    return lambda held: matches(held.value)


_SESSION_KEY = f'"{TraceMetadataKey.TRACE_SESSION}":'
_ON_SESSION = TraceField(
    ("assessment", "on a session"),
    lambda trace: (any(map(_on_session, trace.assessments.values())),),
    text=json.dumps(_SESSION_KEY)[1:-1],
)
_SESSION = TraceField(("session",), lambda trace: (trace.session,), as_text=True)
