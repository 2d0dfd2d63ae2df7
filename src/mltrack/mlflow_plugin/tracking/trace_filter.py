"""Filters traces: parsed by MLflow's own parser, with the meaning that MLflow's SQL store gives it.

Tests of the facts come first; the contents of spans are read only for traces that passed them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from mlflow.tracing.constant import TraceMetadataKey, TraceTagKey
from mlflow.utils.search_utils import SearchTraceUtils

from mltrack.catalog.comparators import EQUALITY, NULLS, ORDERED, comparator_test
from mltrack.catalog.filter_tokens import time_in_ms
from mltrack.errors import UsageError
from mltrack.mlflow_plugin.tracking.trace_entities import value_number

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mltrack.storage.traces.traces import Assessment, SpanHead, SpanReader, Trace, Traces

__all__ = ["TraceFilter", "attribute"]

SPAN_CLOCK_TOLERANCE_NS = 10_000_000_000  # how much earlier than its trace a span may begin, by another clock

Test = Callable[["Trace"], bool]


class _Clause(NamedTuple):
    kind: str
    key: str
    comparator: str
    value: Any


class TraceFilter:
    """A parsed filter: ``select`` returns the traces that pass all its clauses."""

    def __init__(self, filter_string: str | None) -> None:
        """Parse it.

        Raises:
            MlflowException: it does not parse, or a comparison is invalid.
        """
        self._tests: list[Test] = []
        self._scoped: list[Callable[[Sequence[Trace]], Test]] = []  # tests that need all traces first
        self._earliest_ns = -math.inf  # of the spans that are tested
        self._heads: list[Callable[[SpanHead], bool]] = []
        self._contents: list[Callable[[str], bool]] = []
        for clause in parsed(filter_string or ""):
            self._add(clause)
        if (self._heads or self._contents) and self._earliest_ns > -math.inf:
            self._heads.append(lambda head: head.start >= self._earliest_ns)

    def select(self, scope: Sequence[Trace], store: Traces) -> list[Trace]:
        """Those of ``scope``, which is all traces of the searched experiments, that pass."""
        tests = [*self._tests, *(make(scope) for make in self._scoped)]
        found = [trace for trace in scope if all(test(trace) for test in tests)] if tests else list(scope)
        if self._contents:
            with store.spans() as reader:
                return [trace for trace in found if self._some_content(trace, reader)]
        if self._heads:
            return [trace for trace in found if self._some_head(trace)]
        return found

    def _some_head(self, trace: Trace) -> bool:
        return any(all(test(head) for test in self._heads) for head in trace.spans.values())

    def _some_content(self, trace: Trace, reader: SpanReader) -> bool:
        heads = [head for head in trace.spans.values() if all(test(head) for test in self._heads)]
        return any(all(test(text) for test in self._contents) for text in reader.read(heads))

    # --- clauses ---

    def _add(self, clause: _Clause) -> None:
        kind, key, comparator, value = clause
        if SearchTraceUtils.is_issue(kind, key, comparator):
            self._tests.append(lambda trace: any(a.kind == "issue" and a.name == value for a in _all(trace)))
        elif SearchTraceUtils.is_attribute(kind, key, comparator):
            self._add_attribute(clause)
        elif SearchTraceUtils.is_tag(kind, comparator):
            if key == TraceTagKey.LINKED_PROMPTS:
                self._add_prompt(clause)
            else:
                self._tests.append(_keyed(clause, lambda trace: trace.tags))
        elif SearchTraceUtils.is_request_metadata(kind, comparator):
            self._add_metadata(clause)
        elif SearchTraceUtils.is_span(kind, key, comparator):
            self._add_span(clause)
        elif SearchTraceUtils.is_assessment(kind, key, comparator):
            self._scoped.append(lambda scope: _assessed(clause, scope))
        else:
            raise UsageError(f"Invalid search expression type '{kind}'")

    def _add_attribute(self, clause: _Clause) -> None:
        _, key, comparator, value = clause
        if key in SearchTraceUtils.NUMERIC_ATTRIBUTES:
            value = _as_number(key, value)
            if key == "timestamp_ms" and comparator in (">", ">="):
                self._earliest_ns = max(self._earliest_ns, value * 1_000_000 - SPAN_CLOCK_TOLERANCE_NS)
        matches = comparator_test(comparator, value)
        self._tests.append(lambda trace: matches(attribute(trace, key)))

    def _add_prompt(self, clause: _Clause) -> None:
        if clause.comparator != "=":
            raise UsageError(
                f"Invalid comparator '{clause.comparator}' for prompts filter. "
                "Only '=' is supported with format: prompt = \"name/version\""
            )
        if clause.value.count("/") != 1:
            raise UsageError(
                f"Invalid prompts filter value '{clause.value}'. Expected format: prompt = \"name/version\""
            )
        self._tests.append(lambda trace: clause.value in trace.prompts)

    def _add_metadata(self, clause: _Clause) -> None:
        _, key, comparator, value = clause
        if key == TraceMetadataKey.SOURCE_RUN and comparator == "=":
            self._tests.append(lambda trace: value in trace.run_ids or trace.metadata.get(key) == value)
            return
        derived = key in (TraceMetadataKey.TOKEN_USAGE, TraceMetadataKey.COST)
        if derived and comparator not in (*EQUALITY, *NULLS):
            raise UsageError(
                f"Comparator '{comparator}' is not supported for reserved metadata '{key}'. "
                "Only '=', '!=', 'IS NULL', and 'IS NOT NULL' are supported."
            )
        if derived or key == TraceMetadataKey.TRACE_SESSION:
            self._tests.append(_keyed(clause, lambda trace: trace.full_metadata))
        else:
            self._tests.append(_keyed(clause, lambda trace: trace.metadata))

    def _add_span(self, clause: _Clause) -> None:
        _, key, comparator, value = clause
        if key in ("name", "type", "status"):
            field = "kind" if key == "type" else key
            matches = comparator_test(comparator, value)
            self._heads.append(lambda head: matches(getattr(head, field)))
        elif key == "content":
            self._contents.append(comparator_test(comparator, value))
        else:
            name = key.removeprefix("attributes.").strip("`")
            pattern = _attribute_pattern(name, value) if comparator == "RLIKE" else f'%"{name}"{value}%'
            self._contents.append(comparator_test(comparator, pattern))


def _attribute_pattern(name: str, value: str) -> str:
    """The regular expression for an attribute in a span's JSON, where its value is JSON in a string."""
    before = '"\\\\"' if value.startswith("^") else '"\\\\".*'
    after = '\\\\"' if value.endswith("$") else ""
    return f'"{name}": {before}{value.removeprefix("^").removesuffix("$")}{after}'


@lru_cache(maxsize=64)
def parsed(filter_string: str) -> tuple[_Clause, ...]:
    """The clauses of a filter.

    Raises:
        MlflowException: it does not parse.
    """
    clauses = SearchTraceUtils.parse_search_filter_for_search_traces(filter_string)
    return tuple(_Clause(c["type"], c["key"], c["comparator"].upper(), c["value"]) for c in clauses)


def attribute(trace: Trace, key: str) -> Any:
    """One of a trace's attributes, by its name in searches."""
    match key:
        case "request_id":
            return trace.trace_id
        case "timestamp_ms":
            return trace.request_time
        case "execution_time_ms":
            return trace.duration
        case "end_time_ms" | "end_time":
            return trace.request_time + (trace.duration or 0)
        case "status":
            return trace.state
        case "client_request_id":
            return trace.client_request_id
        case "experiment_id":
            return int(trace.experiment_id)
        case _:
            raise UsageError(f"Invalid attribute key '{key}'")


def _as_number(key: str, value: Any) -> float:
    if isinstance(value, (int, float)):
        return value
    moment = time_in_ms(value) if key != "execution_time_ms" and isinstance(value, str) and "-" in value else None
    if moment is not None:
        return moment
    try:
        return float(value)
    except (TypeError, ValueError):
        raise UsageError(f"{key} is compared with a number, not with {value!r}") from None


def _keyed(clause: _Clause, values: Callable[[Trace], Any]) -> Test:
    """A test of one key of a trace's tags or metadata; a trace without the key passes only IS NULL."""
    key, comparator = clause.key, clause.comparator
    if comparator in NULLS:
        return lambda trace: (key in values(trace)) == (comparator == "IS NOT NULL")
    matches = comparator_test(comparator, clause.value)
    return lambda trace: matches(values(trace).get(key))


# --- assessments ---


def _all(trace: Trace) -> Iterable[Assessment]:
    return trace.assessments.values()


def _assessed(clause: _Clause, scope: Sequence[Trace]) -> Test:
    """A test of valid assessments of one kind and name. One on a session counts for all its traces."""
    null = clause.comparator in NULLS
    fits = _value_test(clause) if not null else (lambda held: True)

    def matching(trace: Trace) -> list[Assessment]:
        return [
            held
            for held in _all(trace)
            if held.kind == clause.kind and held.name == clause.key and held.valid and fits(held)
        ]

    sessions = {
        trace.session
        for trace in scope
        if trace.session is not None and any(_on_session(held) for held in matching(trace))
    }
    wanted = clause.comparator != "IS NULL"
    return lambda trace: (trace.session in sessions or bool(matching(trace))) == wanted


def _on_session(held: Assessment) -> bool:
    return held.metadata is not None and f'"{TraceMetadataKey.TRACE_SESSION}":' in held.metadata


def _value_test(clause: _Clause) -> Callable[[Assessment], bool]:
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
