"""Spans as a server gives them, made into what a store keeps: contents as MLflow's JSON, and a fact that names them."""

from __future__ import annotations

import base64
import json
import math
from typing import TYPE_CHECKING, Any, NamedTuple

from mltrack.storage.traces.figures import cost_of, json_object, token_usage_of
from mltrack_sync.http.shapes import integer, mapping, text
from mltrack_sync.mlflow.plan.proto_json import STATUS_NAMES, attributes_of, hex_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["PulledSpan", "read_spans", "spans_fact"]

SPAN_TYPE = "mlflow.spanType"
USAGE = "mlflow.chat.tokenUsage"
COST = "mlflow.llm.cost"
MODEL = "mlflow.llm.model"
PROVIDER = "mlflow.llm.provider"
NAME_CHARS_MAX = 500
NS_PER_MS = 1_000_000
_STATUS = {"STATUS_CODE_UNSET": "UNSET", "STATUS_CODE_OK": "OK", "STATUS_CODE_ERROR": "ERROR"}


class PulledSpan(NamedTuple):
    """A span: its head, as facts have it, and its content."""

    head: dict[str, Any]
    content: dict[str, Any]

    @property
    def state(self) -> tuple[str, int | None]:
        """Its id, and when it ended: what tells whether it is to be stored again."""
        return self.head["id"], self.head.get("end")


def read_spans(rows: Iterable[Mapping[str, Any]]) -> list[PulledSpan]:
    """Spans of protobuf's JSON.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: they have another shape.
    """
    return [_span(row) for row in rows]


def spans_fact(trace_id: str, spans: Sequence[PulledSpan], tags: Mapping[str, str]) -> dict[str, Any]:
    """The fact that names these spans of a trace; there is at least one."""
    ends = [span.head["end"] for span in spans if "end" in span.head]
    fact: dict[str, Any] = {
        "type": "spans",
        "trace_id": trace_id,
        "start": min(span.head["start"] for span in spans) // NS_PER_MS,
        "heads": [span.head for span in spans],
        "tags": dict(tags),
    }
    if ends:
        fact["end"] = max(ends) // NS_PER_MS
    roots = [span for span in spans if "parent" not in span.head]
    if roots:
        fact["root_state"] = "ERROR" if roots[0].head["status"] == "ERROR" else "OK"
    return fact


def _span(row: Mapping[str, Any]) -> PulledSpan:
    attributes = {key: _dumped(value) for key, value in attributes_of(row.get("attributes")).items()}
    span_id, parent = hex_of(row["span_id"]), hex_of(row.get("parent_span_id") or "")
    start, end = integer(row.get("start_time_unix_nano") or 0), integer(row.get("end_time_unix_nano") or 0)
    status = mapping(row.get("status") or {})
    code = _code(status.get("code"))
    content = {
        "trace_id": text(row["trace_id"]),
        "span_id": text(row["span_id"]),
        "parent_span_id": text(row["parent_span_id"]) if parent else None,
        "name": text(row.get("name")),
        "start_time_unix_nano": start,
        "end_time_unix_nano": end or None,
        "events": [_event(each) for each in row.get("events") or []],
        "status": {"code": code, "message": text(status.get("message"))},
        "attributes": attributes,
        "links": [_link(each) for each in row.get("links") or []],
    }
    usage, cost = json_object(attributes.get(USAGE)), json_object(attributes.get(COST))
    head = {
        "id": span_id,
        "parent": parent or None,
        "name": content["name"],
        "kind": _plain(attributes.get(SPAN_TYPE)),
        "status": _STATUS[code],
        "start": start,
        "end": end or None,
        "usage": token_usage_of(usage) if usage is not None else None,
        "cost": cost_of(cost) if cost is not None else None,
        "model": _plain(attributes.get(MODEL)),
        "provider": _plain(attributes.get(PROVIDER)),
    }
    return PulledSpan({key: value for key, value in head.items() if value is not None}, content)


def _code(value: Any) -> str:
    if type(value) is int and 0 <= value < len(STATUS_NAMES):
        return STATUS_NAMES[value]
    return value if value in STATUS_NAMES else STATUS_NAMES[0]


def _dumped(value: Any) -> str:
    """An attribute as MLflow keeps it, as JSON."""
    return json.dumps(_numbers(value), ensure_ascii=False)


def _numbers(value: Any) -> Any:
    """The value, with numbers for the texts that stand for NaN and infinities."""
    match value:
        case "NaN" | "Infinity" | "-Infinity":
            return {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}[value]
        case list():
            return [_numbers(each) for each in value]
        case dict():
            return {key: _numbers(each) for key, each in value.items()}
    return value


def _plain(dumped: str | None) -> str | None:
    """A text that is kept as JSON; None for anything else."""
    value = json.loads(dumped) if dumped is not None else None
    return value[:NAME_CHARS_MAX] if isinstance(value, str) else None


def _event(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": text(row.get("name")),
        "time_unix_nano": integer(row.get("time_unix_nano") or 0),
        "attributes": attributes_of(row.get("attributes")),
    }


def _link(row: Mapping[str, Any]) -> dict[str, Any]:
    trace_id = base64.b64decode(text(row["trace_id"])).hex()
    attributes = attributes_of(row.get("attributes"))
    return {"trace_id": f"tr-{trace_id}", "span_id": hex_of(row["span_id"]), "attributes": attributes or None}
