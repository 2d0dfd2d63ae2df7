"""A trace as read: its spans without their contents, its assessments, times, tags and metadata."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "COST_KEYS",
    "LAZY_FIELDS",
    "TOKEN_KEYS",
    "Assessment",
    "SpanHead",
    "SpanPlace",
    "Trace",
    "TraceSource",
    "lazy_trace",
    "set_field",
]

IN_PROGRESS = "IN_PROGRESS"
OPEN_STATES = (IN_PROGRESS, "STATE_UNSPECIFIED")

SESSION = "mlflow.trace.session"
USER = "mlflow.trace.user"
TOKENS = "mlflow.trace.tokenUsage"
COST = "mlflow.trace.cost"
SOURCE_RUN = "mlflow.assessment.sourceRunId"
COUNTED_TOKENS = ("input_tokens", "output_tokens", "total_tokens")
CACHED_TOKENS = ("cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation_input_tokens_above_1hr")
TOKEN_KEYS = COUNTED_TOKENS + CACHED_TOKENS
COST_KEYS = ("input_cost", "output_cost", "total_cost")


class SpanPlace(NamedTuple):
    """The place of a line of spans: the experiment and writer that name its file, then byte offset and length."""

    experiment_id: str
    writer: str
    offset: int
    size: int


class SpanHead(NamedTuple):
    """A span without its contents. Times are ns since the epoch; ``end`` is None while it runs.

    ``usage`` (tokens) and ``cost`` (USD) are None if the span has none; ``order`` is its index in the line.
    """

    span_id: str
    parent_id: str | None
    name: str
    kind: str | None
    status: str
    start: int
    end: int | None
    usage: Mapping[str, int] | None
    cost: Mapping[str, float] | None
    model: str | None
    provider: str | None
    place: SpanPlace
    order: int


@dataclass(frozen=True, slots=True)
class Assessment:
    """A judgement on a trace: ``kind`` is feedback, expectation or issue. Times are ms since the epoch.

    ``value``, ``error`` and ``metadata`` are JSON texts. One that another overrides is no longer ``valid``.
    """

    assessment_id: str
    name: str
    kind: str
    value: str
    source_type: str
    create_time: int
    update_time: int
    source_id: str | None = None
    error: str | None = None
    run_id: str | None = None
    span_id: str | None = None
    rationale: str | None = None
    overrides: str | None = None
    metadata: str | None = None
    valid: bool = True

    @property
    def source_run(self) -> str | None:
        """The id of the run that made it, such as an evaluation, as its metadata names it."""
        if self.metadata is None or SOURCE_RUN not in self.metadata:
            return None
        named = json.loads(self.metadata)
        found = named.get(SOURCE_RUN) if isinstance(named, dict) else None
        return found if isinstance(found, str) else None


class TraceSource(Protocol):
    """Has the fields of traces that were not decoded yet."""

    def fill(self, trace: Trace, row: int, name: str) -> None:
        """Set the field ``name`` of the trace with that number, and others on the way."""


class _Lazy:
    """What a trace has that is decoded field by field: where from, and its number there."""

    __slots__ = ("_source",)
    _source: tuple[TraceSource, int]

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Called for a field that was not set yet."""
            if name not in _FIELDS:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            source, row = self._source
            source.fill(self, row, name)
            return object.__getattribute__(self, name)


@dataclass(frozen=True, slots=True)
class Trace(_Lazy):
    """A trace folded from its facts, without the contents of its spans. Times are ms since the epoch.

    ``tokens``, ``cost`` and ``session`` are not in ``metadata``; ``full_metadata`` has them as MLflow shows them.
    ``final``: the process of its root span has written the last of its time and state. One that is not ``born`` has
    only links so far, and readers don't see it.
    """

    trace_id: str
    experiment_id: str
    request_time: int
    duration: int | None = None
    state: str = IN_PROGRESS
    client_request_id: str | None = None
    request_preview: str | None = None
    response_preview: str | None = None
    session: str | None = None
    final: bool = False
    tokens: Mapping[str, int] = field(default_factory=dict)
    cost: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    assessments: Mapping[str, Assessment] = field(default_factory=dict)
    spans: Mapping[str, SpanHead] = field(default_factory=dict)
    run_ids: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    born: bool = True

    @property
    def full_metadata(self) -> dict[str, str]:
        """The metadata with session, tokens and cost, the last two as JSON."""
        found = dict(self.metadata)
        if self.session is not None:
            found[SESSION] = self.session
        for key, keys, values in ((TOKENS, TOKEN_KEYS, self.tokens), (COST, COST_KEYS, self.cost)):
            if values:
                found[key] = json.dumps({name: values[name] for name in keys if name in values})
        return found

    def ordered_spans(self) -> list[SpanHead]:
        """Its spans, roots first, then by start."""
        return sorted(self.spans.values(), key=lambda span: (span.parent_id is not None, span.start))


_FIELDS = frozenset(each.name for each in fields(Trace))
LAZY_FIELDS = tuple(each.name for each in fields(Trace) if each.name != "spans")
"""All but the spans, which are decoded by themselves."""


def lazy_trace(source: tuple[TraceSource, int]) -> Trace:
    """A trace of which each field is decoded when it is first asked for."""
    made = object.__new__(Trace)
    _set_source(made, source)
    return made


def set_field(name: str) -> Callable[[Trace, Any], None]:
    """Sets that field of a trace which is being decoded."""
    return _SETTERS[name]


_SETTERS: dict[str, Callable[[Trace, Any], None]] = {name: Trace.__dict__[name].__set__ for name in _FIELDS}
_set_source: Callable[[Trace, Any], None] = _Lazy.__dict__["_source"].__set__
