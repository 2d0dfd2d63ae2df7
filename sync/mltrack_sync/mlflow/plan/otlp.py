"""Spans in OpenTelemetry's protocol, converted from MLflow's JSON of a span, which a store keeps."""

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
    """A span that can't be sent by this protocol; the message says why."""


def span_bodies(trace_id: str, texts: Sequence[str], bytes_max: int) -> Iterator[bytes]:
    """Requests that hold these spans (JSON texts) of one trace, each of about ``bytes_max`` at most or of one span.

    Raises:
        UnsendableSpanError: one of them is not such a span, or its trace would have another id on the remote.
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
            raise UnsendableSpanError(f"a span of it is not one that MLflow writes ({error})") from error
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
        added = span.events.add()
        added.name, added.time_unix_nano = _text(event["name"]), int(event["time_unix_nano"])
        for key, value in (event.get("attributes") or {}).items():
            _set(added.attributes, key, value)
    for link in content.get("links") or []:
        added = span.links.add()
        added.trace_id = _identifier(str(link["trace_id"]).rpartition("/")[2].removeprefix(TRACE_ID_PREFIX), 16)
        added.span_id = _identifier(link["span_id"], 8)
        for key, value in (link.get("attributes") or {}).items():
            _set(added.attributes, key, value)


def _identifier(text: str, size: int) -> bytes:
    """An id given in hex or base64."""
    if text.endswith("="):  # base64 of this size always does; it may look like hex at its beginning
        found = base64.b64decode(text, validate=True)
    else:
        found = bytes.fromhex(text.removeprefix(TRACE_ID_PREFIX).removeprefix("0x").rjust(2 * size, "0"))
    if len(found) != size:
        raise ValueError(f"{text!r} is not an id of {size} bytes")
    return found


def _decoded(value: Any) -> Any:
    """An attribute's value: MLflow keeps each as JSON, and text that is not JSON as it is."""
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


def _set_value(target: Any, value: Any) -> None:
    match value:
        case None:
            return
        case bool():
            target.bool_value = value
        case int() if -INT64_MAX - 1 <= value <= INT64_MAX:
            target.int_value = value
        case float():
            target.double_value = value
        case list() | tuple():
            target.array_value.SetInParent()
            for item in value:
                _set_value(target.array_value.values.add(), item)
        case dict():
            target.kvlist_value.SetInParent()
            for name, item in value.items():
                _set(target.kvlist_value.values, name, item)
        case _:
            target.string_value = _text(str(value))


def _text(text: str) -> str:
    """Without lone surrogates, which this protocol can't carry."""
    return text.encode("utf-8", "replace").decode("utf-8")
