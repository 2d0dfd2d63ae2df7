"""Spans as OpenTelemetry's protocol has them, made of what a store keeps of them: MLflow's JSON of a span."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from mltrack.errors import MltrackError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["UnsendableSpanError", "span_bodies"]

TRACE_ID_PREFIX = "tr-"
INT64_MAX = 2**63 - 1
_STATUS = {"STATUS_CODE_OK": 1, "OK": 1, "STATUS_CODE_ERROR": 2, "ERROR": 2}


class UnsendableSpanError(MltrackError):
    """A span that can't go by this protocol; the message says why."""


def span_bodies(trace_id: str, texts: Sequence[str], bytes_max: int) -> Iterator[bytes]:
    """Requests that hold these spans (JSON texts) of one trace, each of about ``bytes_max`` at most or of one span.

    Raises:
        UnsendableSpanError: one of them is no such span, or of a trace that would have another id on the remote.
    """
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    size = 0
    for text in texts:
        if spans and size + len(text) > bytes_max:
            yield request.SerializeToString()
            del spans[:]
            size = 0
        size += len(text)
        try:
            _fill(spans.add(), json.loads(text), trace_id)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UnsendableSpanError(f"a span of it is none that MLflow writes ({error})") from error
    if spans:
        yield request.SerializeToString()


def _fill(span: Any, content: Mapping[str, Any], trace_id: str) -> None:
    span.trace_id = _identifier(content["trace_id"], 16)
    if trace_id != TRACE_ID_PREFIX + span.trace_id.hex():
        raise UnsendableSpanError(f"its id is not that of its spans, {span.trace_id.hex()}: MLflow would change it")
    span.span_id = _identifier(content["span_id"], 8)
    if content.get("parent_span_id"):
        span.parent_span_id = _identifier(content["parent_span_id"], 8)
    span.name = _text(content["name"])
    span.start_time_unix_nano = int(content["start_time_unix_nano"])
    span.end_time_unix_nano = int(content.get("end_time_unix_nano") or 0)
    status = content.get("status") or {}
    span.status.code = _STATUS.get(str(status.get("code")), 0)
    span.status.message = _text(status.get("message") or "")
    for key, value in (content.get("attributes") or {}).items():
        _set(span.attributes, key, _decoded(value))
    for event in content.get("events") or []:
        there = span.events.add()
        there.name, there.time_unix_nano = _text(event["name"]), int(event["time_unix_nano"])
        for key, value in (event.get("attributes") or {}).items():
            _set(there.attributes, key, value)
    for link in content.get("links") or []:
        there = span.links.add()
        there.trace_id = _identifier(str(link["trace_id"]).rpartition("/")[2].removeprefix(TRACE_ID_PREFIX), 16)
        there.span_id = _identifier(link["span_id"], 8)
        for key, value in (link.get("attributes") or {}).items():
            _set(there.attributes, key, value)


def _identifier(text: str, size: int) -> bytes:
    """An id given in hex or base64."""
    if text.endswith("="):  # base64 of so many bytes always does; it may begin like a prefix of hex
        found = base64.b64decode(text, validate=True)
    else:
        found = bytes.fromhex(text.removeprefix(TRACE_ID_PREFIX).removeprefix("0x").rjust(2 * size, "0"))
    if len(found) != size:
        raise ValueError(f"{text!r} is no id of {size} bytes")
    return found


def _decoded(value: Any) -> Any:
    """An attribute's value: MLflow keeps each as JSON, and what is no JSON as it is."""
    if not isinstance(value, str) or not value:
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _set(attributes: Any, key: str, value: Any) -> None:
    pair = attributes.add()
    pair.key = _text(key)
    _set_value(pair.value, value)


def _set_value(there: Any, value: Any) -> None:
    match value:
        case None:
            return
        case bool():
            there.bool_value = value
        case int() if -INT64_MAX - 1 <= value <= INT64_MAX:
            there.int_value = value
        case float():
            there.double_value = value
        case list() | tuple():
            there.array_value.SetInParent()
            for item in value:
                _set_value(there.array_value.values.add(), item)
        case dict():
            there.kvlist_value.SetInParent()
            for name, item in value.items():
                _set(there.kvlist_value.values, name, item)
        case _:
            there.string_value = _text(str(value))


def _text(text: str) -> str:
    """Without half characters, which this protocol has no place for."""
    return text.encode("utf-8", "replace").decode("utf-8")
