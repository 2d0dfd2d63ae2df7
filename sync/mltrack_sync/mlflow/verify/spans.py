"""Spans in a comparable form: those of the store as they were sent, and those that a server returns."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mltrack_sync.mlflow.plan.otlp import span_bodies
from mltrack_sync.mlflow.plan.proto_json import STATUS_NAMES, attributes_of, hex_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Span", "local_spans", "remote_spans", "shown"]

Span = dict[str, Any]
"""A span's contents, by the words that differences use."""

REQUEST_BYTES_MAX = 64 << 20
_STATUS = {name: number for number, name in enumerate(STATUS_NAMES)}
_OWN_ATTRIBUTES = frozenset({"mlflow.traceRequestId"})  # the id of the trace, which MLflow adds to each span


def local_spans(trace_id: str, texts: Sequence[str]) -> dict[str, Span]:
    """The spans (JSON texts) by id, as they are sent to a remote.

    Raises:
        UnsendableSpanError: one of them is not a valid span.
    """
    from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    found: dict[str, Span] = {}
    for body in span_bodies(trace_id, texts, REQUEST_BYTES_MAX):
        for span in ExportTraceServiceRequest.FromString(body).resource_spans[0].scope_spans[0].spans:
            found |= remote_spans([MessageToDict(span, preserving_proto_field_name=True)])
    return found


def remote_spans(rows: Iterable[Mapping[str, Any]]) -> dict[str, Span]:
    """The spans by id, of protobuf's JSON."""
    return {hex_of(row["span_id"]): _span(row) for row in rows}


def _span(row: Mapping[str, Any]) -> Span:
    status = row.get("status") or {}
    code = status.get("code") or 0
    found = {
        "name": row.get("name") or "",
        "parent": hex_of(row.get("parent_span_id") or ""),
        "start": int(row.get("start_time_unix_nano") or 0),
        "end": int(row.get("end_time_unix_nano") or 0),
        "status": _STATUS.get(str(code), code),
        "status message": status.get("message") or "",
    }
    attributes = attributes_of(row.get("attributes"))
    found |= {f"attribute {key!r}": value for key, value in attributes.items() if key not in _OWN_ATTRIBUTES}
    found["events"] = [
        (each.get("name") or "", int(each.get("time_unix_nano") or 0), attributes_of(each.get("attributes")))
        for each in row.get("events") or []
    ]
    found["links"] = [
        (hex_of(each["trace_id"]), hex_of(each["span_id"]), attributes_of(each.get("attributes")))
        for each in row.get("links") or []
    ]
    return found


def shown(value: Any) -> str:
    """A value in a line."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
