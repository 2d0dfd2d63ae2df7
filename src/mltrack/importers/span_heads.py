"""Spans as MLflow 2 and 3 write them in JSON: their contents in the newer form, and the fact that names them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mltrack.importers.source import SourceError
from mltrack.storage.traces.trace import COST_KEYS, TOKEN_KEYS

__all__ = ["Span", "read_span", "spans_fact"]

SPANS_LOCATION = "mlflow.trace.spansLocation"
IN_STORE = "TRACKING_STORE"
NAME_CHARACTERS_MAX = 500
NS_PER_MS = 1_000_000
_ATTRIBUTES = {"kind": "mlflow.spanType", "model": "mlflow.llm.model", "provider": "mlflow.llm.provider"}
_FIGURES = {"usage": ("mlflow.chat.tokenUsage", TOKEN_KEYS, int), "cost": ("mlflow.llm.cost", COST_KEYS, float)}


class Span(NamedTuple):
    """A span: its head, as facts have it, and its content."""

    head: dict[str, Any]
    content: dict[str, Any]


def read_span(content: Mapping[str, Any]) -> Span:
    """A span of MLflow's JSON.

    Raises:
        SourceError: it has another form.
    """
    try:
        newer = _newer(content) if "context" in content else dict(content)
        return Span(_head(newer), newer)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SourceError(f"a span of another form: {error!r:.100}") from error


def spans_fact(trace_id: str, spans: Sequence[Span]) -> dict[str, Any]:
    """The fact that names these spans of a trace; there is at least one."""
    ends = [span.head["end"] for span in spans if "end" in span.head]
    fact: dict[str, Any] = {
        "type": "spans",
        "trace_id": trace_id,
        "start": min(span.head["start"] for span in spans) // NS_PER_MS,
        "heads": [span.head for span in spans],
        "tags": {SPANS_LOCATION: IN_STORE},
    }
    if ends:
        fact["end"] = max(ends) // NS_PER_MS
    roots = [span for span in spans if "parent" not in span.head]
    if roots:
        fact["root_state"] = "ERROR" if roots[0].head["status"] == "ERROR" else "OK"
    return fact


def _newer(content: Mapping[str, Any]) -> dict[str, Any]:
    """A span of MLflow 2 in the form of MLflow 3."""
    context, parent = content["context"], content.get("parent_id")
    status = content.get("status_code") or "UNSET"
    return {
        "trace_id": _as_base64(context["trace_id"]),
        "span_id": _as_base64(context["span_id"]),
        "parent_span_id": _as_base64(parent) if parent else None,
        "name": content["name"],
        "start_time_unix_nano": content["start_time"],
        "end_time_unix_nano": content.get("end_time"),
        "events": [
            {
                "name": event.get("name"),
                "time_unix_nano": event.get("timestamp"),
                "attributes": event.get("attributes") or {},
            }
            for event in content.get("events") or []
        ],
        "status": {"code": f"STATUS_CODE_{status}", "message": content.get("status_message") or ""},
        "attributes": content.get("attributes") or {},
    }


def _head(content: Mapping[str, Any]) -> dict[str, Any]:
    attributes = content.get("attributes") or {}
    head: dict[str, Any] = {
        "id": _as_hex(content["span_id"]),
        "parent": _as_hex(content.get("parent_span_id") or "") or None,
        "name": str(content["name"]),
        "status": str((content.get("status") or {}).get("code", "UNSET")).removeprefix("STATUS_CODE_"),
        "start": int(content["start_time_unix_nano"]),
        "end": content.get("end_time_unix_nano"),
    }
    for name, key in _ATTRIBUTES.items():
        text = _plain(attributes.get(key))
        head[name] = text[:NAME_CHARACTERS_MAX] if isinstance(text, str) else None
    for name, (key, known, kind) in _FIGURES.items():
        figures = _plain(attributes.get(key))
        if isinstance(figures, dict):
            head[name] = {each: kind(figures[each]) for each in known if isinstance(figures.get(each), int | float)}
    return {key: value for key, value in head.items() if value is not None}


def _plain(value: Any) -> Any:
    """What an attribute holds, which is kept as JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _as_base64(text: str) -> str:
    return base64.b64encode(bytes.fromhex(text.removeprefix("0x"))).decode()


def _as_hex(text: str) -> str:
    return base64.b64decode(text, validate=True).hex()
