"""Filters traces: parsed by MLflow's own parser, with the meaning that MLflow's SQL store gives it.

Traces are tested in the order that is asked for, and no more of them than the page needs, or, if a clause asks for one
value and few traces have it, only those. Tests of the facts come first; the contents of spans are read only for traces
that passed them.
"""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_left, bisect_right
from functools import lru_cache
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from mlflow.tracing.constant import TraceMetadataKey, TraceTagKey
from mlflow.utils.search_utils import SearchTraceUtils

from mltrack.catalog.comparators import EQUALITY, LISTS, NULLS, comparator_test
from mltrack.catalog.filter_tokens import time_in_ms
from mltrack.errors import UsageError
from mltrack.mlflow_plugin.arguments import parsing
from mltrack.mlflow_plugin.tracking.assessment_filter import Clause, Test, assessed
from mltrack.storage.traces.views import LATEST_FIRST, TraceField, in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence

    from mltrack.mlflow_plugin.tracking.shown_assessments import ShownAssessments
    from mltrack.storage.traces.traces import Assessment, SpanHead, SpanReader, Trace, Traces
    from mltrack.storage.traces.views import SortKey

__all__ = ["ATTRIBUTE_COLUMNS", "TraceFilter", "attribute_reader"]

ENOUGH_TESTED = 200
"""So few traces with a value are tested without a look at who has another value."""

LITERAL_MIN = 3
"""A shorter text of a pattern is in most traces."""

SPAN_CLOCK_TOLERANCE_NS = 10_000_000_000  # how much earlier than its trace a span may begin, by another clock


class TraceFilter:
    """A parsed filter: ``select`` returns the traces that pass all its clauses."""

    def __init__(self, filter_string: str | None) -> None:
        """Parse it.

        Raises:
            MlflowException: it does not parse, or a comparison is invalid.
        """
        self._quick: list[Test] = []  # of what is known of a trace before more of it is decoded
        self._tests: list[Test] = []
        self._assessed: list[Clause] = []  # their tests need other traces first
        self._values: list[tuple[TraceField, Any]] = []  # what a trace must have to pass; tests check it again
        self._earliest_ms, self._latest_ms = -math.inf, math.inf  # of the traces; tests check it again
        self._earliest_ns = -math.inf  # of the spans that are tested
        self._heads: list[Callable[[SpanHead], bool]] = []
        self._contents: list[Callable[[str], bool]] = []
        for clause in parsed(filter_string or ""):
            self._add(clause)
        if (self._heads or self._contents) and self._earliest_ns > -math.inf:
            self._heads.append(lambda head: head.start >= self._earliest_ns)

    def search(
        self,
        store: Traces,
        scope: frozenset[str] | None,
        keys: tuple[SortKey, ...],
        shown: ShownAssessments,
        stop: int | None = None,
    ) -> list[Trace]:
        """The traces of these experiments (None: of all) that pass, in order; only the first ``stop`` of them.

        Raises:
            StoreError: the store can't be read.
        """
        judged = [assessed(clause, store, scope, shown) for clause in self._assessed]
        tests = [*self._tests, *(test for test, _ in judged)]
        few = self._few(store, scope, [possible for _, possible in judged])
        found: Iterator[Trace]
        if few is None:
            tests = [*self._quick, *tests]
            found = (trace for trace in self._in_order(store, scope, keys) if _passes(tests, trace))
        elif all(key.column is not None for key in keys):
            quickly = in_order((trace for trace in few if _passes(self._quick, trace)), keys)
            found = (trace for trace in quickly if _passes(tests, trace))
        else:
            tests = [*self._quick, *tests]
            found = iter(in_order((trace for trace in few if _passes(tests, trace)), keys))
        if self._contents:
            with store.spans() as reader:
                return list(islice((trace for trace in found if self._some_content(trace, reader)), stop))
        if self._heads:
            found = (trace for trace in found if self._some_head(trace))
        return list(islice(found, stop))

    def _few(
        self, store: Traces, scope: frozenset[str] | None, known: Iterable[list[Trace] | None]
    ) -> list[Trace] | None:
        """The fewest traces among which all that pass are, in any order; None if they are not few."""
        fewest = min((found for found in known if found is not None), key=len, default=None)
        for field, value in sorted(self._values, key=lambda one: one[0].column is None):
            if fewest is not None and len(fewest) <= ENOUGH_TESTED:
                break  # to know the others takes longer than to test these
            found = store.having(field, value)
            if found is not None and (fewest is None or len(found) < len(fewest)):
                fewest = found
        if fewest is None:
            return None
        return [trace for trace in fewest if scope is None or trace.experiment_id in scope]

    def _in_order(self, store: Traces, scope: frozenset[str] | None, keys: tuple[SortKey, ...]) -> Sequence[Trace]:
        """All traces, in order; without those outside of the times asked for, if the order is that of time."""
        found = store.in_order(scope, keys)
        if keys != LATEST_FIRST or (self._earliest_ms == -math.inf and self._latest_ms == math.inf):
            return found
        first = bisect_left(found, -self._latest_ms, key=_earlier)
        return found[first : bisect_right(found, -self._earliest_ms, key=_earlier)]

    def _some_head(self, trace: Trace) -> bool:
        return any(_passes(self._heads, head) for head in trace.spans.values())

    def _some_content(self, trace: Trace, reader: SpanReader) -> bool:
        heads = [head for head in trace.spans.values() if _passes(self._heads, head)]
        return any(_passes(self._contents, text) for text in reader.read(heads))

    # --- clauses ---

    def _add(self, clause: Clause) -> None:
        kind, key, comparator, value = clause
        if SearchTraceUtils.is_issue(kind, key, comparator):
            self._holds(clause, lambda trace: any(a.kind == "issue" and a.name == value for a in _all(trace)), value)
        elif SearchTraceUtils.is_attribute(kind, key, comparator):
            self._add_attribute(clause)
        elif SearchTraceUtils.is_tag(kind, comparator):
            if key == TraceTagKey.LINKED_PROMPTS:
                self._add_prompt(clause)
            else:
                self._add_keyed(clause, lambda trace: trace.tags)
        elif SearchTraceUtils.is_request_metadata(kind, comparator):
            self._add_metadata(clause)
        elif SearchTraceUtils.is_span(kind, key, comparator):
            self._add_span(clause)
        elif SearchTraceUtils.is_assessment(kind, key, comparator):
            self._assessed.append(clause)
        else:
            raise UsageError(f"Invalid search expression type '{kind}'")

    def _holds(self, clause: Clause, test: Test, part: str, *, whole: bool = True) -> None:
        """A test that passes only traces that have a text in their tags, metadata or assessments, or a part of one."""
        self._tests.append(test)
        text = json.dumps(part) if whole else json.dumps(part)[1:-1]
        self._values.append((TraceField(clause.name, lambda trace: (test(trace),), text=text), True))

    def _needs(self, clause: Clause, values: Callable[[Trace], Iterable[Hashable]], column: str | None = None) -> None:
        """If the clause asks for one value: the traces to test are among those that have it."""
        if clause.comparator == "=":
            self._values.append((TraceField((clause.kind, clause.key), values, column is None, column), clause.value))

    def _add_attribute(self, clause: Clause) -> None:
        _, key, comparator, value = clause
        if key in SearchTraceUtils.NUMERIC_ATTRIBUTES:
            value = _as_number(key, value)
            if key == "timestamp_ms" and comparator in (">", ">="):
                self._earliest_ns = max(self._earliest_ns, value * 1_000_000 - SPAN_CLOCK_TOLERANCE_NS)
                self._earliest_ms = max(self._earliest_ms, value)
            elif key == "timestamp_ms" and comparator in ("<", "<="):
                self._latest_ms = min(self._latest_ms, value)
        read, matches = attribute_reader(key), comparator_test(comparator, value)
        column = ATTRIBUTE_COLUMNS.get(key)
        if column is not None or key == "client_request_id":
            self._needs(clause._replace(value=value), lambda trace: (read(trace),), column)
        tests = self._tests if key == "client_request_id" else self._quick
        tests.append(lambda trace: matches(read(trace)))

    def _add_prompt(self, clause: Clause) -> None:
        if clause.comparator != "=":
            raise UsageError(
                f"Invalid comparator '{clause.comparator}' for prompts filter. "
                "Only '=' is supported with format: prompt = \"name/version\""
            )
        if clause.value.count("/") != 1:
            raise UsageError(
                f"Invalid prompts filter value '{clause.value}'. Expected format: prompt = \"name/version\""
            )
        self._needs(clause, lambda trace: trace.prompts)
        self._tests.append(lambda trace: clause.value in trace.prompts)

    def _add_keyed(self, clause: Clause, values: Callable[[Trace], Mapping[str, str]]) -> None:
        """A clause on one key of a trace's tags or metadata."""
        key, comparator = clause.key, clause.comparator
        if comparator == "=":
            self._needs(clause, lambda trace: (values(trace)[key],) if key in values(trace) else ())
        elif comparator != "IS NULL":
            literal = max(re.split("[%_]", clause.value), key=len) if comparator == "LIKE" else ""
            known = len(literal) >= LITERAL_MIN
            self._holds(clause, _keyed(clause, values), literal if known else key, whole=not known)
            return
        self._tests.append(_keyed(clause, values))

    def _add_metadata(self, clause: Clause) -> None:
        _, key, comparator, value = clause
        if key == TraceMetadataKey.SOURCE_RUN and comparator == "=":
            self._needs(clause, lambda trace: {*trace.run_ids, trace.metadata.get(key)})
            self._tests.append(lambda trace: value in trace.run_ids or trace.metadata.get(key) == value)
            return
        derived = key in (TraceMetadataKey.TOKEN_USAGE, TraceMetadataKey.COST)
        if derived and comparator not in (*EQUALITY, *NULLS):
            raise UsageError(
                f"Comparator '{comparator}' is not supported for reserved metadata '{key}'. "
                "Only '=', '!=', 'IS NULL', and 'IS NOT NULL' are supported."
            )
        if derived or key == TraceMetadataKey.TRACE_SESSION:
            if not derived:
                self._needs(clause, lambda trace: (trace.session,))
            self._tests.append(_keyed(clause, lambda trace: trace.full_metadata))
        else:
            self._add_keyed(clause, lambda trace: trace.metadata)

    def _add_span(self, clause: Clause) -> None:
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
def parsed(filter_string: str) -> tuple[Clause, ...]:
    """The clauses of a filter.

    Raises:
        MlflowException: it does not parse.
        UsageError: a list is compared with one value.
    """
    with parsing("filter", filter_string):
        clauses = SearchTraceUtils.parse_search_filter_for_search_traces(filter_string)
    found = tuple(Clause(c["type"], c["key"], c["comparator"].upper(), c["value"]) for c in clauses)
    for clause in found:
        if isinstance(clause.value, (tuple, list)) and clause.comparator not in LISTS:
            raise UsageError(f"{clause.comparator} takes one value, not {clause.value!r}", hint="write it without ( )")
    return found


ATTRIBUTE_COLUMNS = {
    "request_id": "trace_id",
    "timestamp_ms": "request_time",
    "execution_time_ms": "duration",
    "status": "state",
}
"""The fields of traces that attributes are, by their names in searches."""

_READERS: dict[str, Callable[[Trace], Any]] = {
    "request_id": attrgetter("trace_id"),
    "timestamp_ms": attrgetter("request_time"),
    "execution_time_ms": attrgetter("duration"),
    "end_time_ms": lambda trace: trace.request_time + (trace.duration or 0),
    "end_time": lambda trace: trace.request_time + (trace.duration or 0),
    "status": attrgetter("state"),
    "client_request_id": attrgetter("client_request_id"),
    "experiment_id": lambda trace: int(trace.experiment_id),
}


def attribute_reader(key: str) -> Callable[[Trace], Any]:
    """Reads one of a trace's attributes, by its name in searches.

    Raises:
        UsageError: there is none with that name.
    """
    found = _READERS.get(key)
    if found is None:
        raise UsageError(f"Invalid attribute key '{key}'")
    return found


def _earlier(trace: Trace) -> float:
    """Ascends with ``LATEST_FIRST``."""
    return -trace.request_time


def _passes(tests: Iterable[Callable[[Any], bool]], tested: object) -> bool:
    for test in tests:  # noqa: SIM110 - all() with a generator takes twice as long
        if not test(tested):
            return False
    return True


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


def _keyed(clause: Clause, values: Callable[[Trace], Any]) -> Test:
    """A test of one key of a trace's tags or metadata; a trace without the key passes only IS NULL."""
    key, comparator = clause.key, clause.comparator
    if comparator in NULLS:
        return lambda trace: (key in values(trace)) == (comparator == "IS NOT NULL")
    matches = comparator_test(comparator, clause.value)
    return lambda trace: matches(values(trace).get(key))


def _all(trace: Trace) -> Iterable[Assessment]:
    return trace.assessments.values()
