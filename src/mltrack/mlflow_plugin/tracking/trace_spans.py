"""Logged spans: their contents, and the fact about each trace that its new spans imply."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from mlflow.entities import SpanStatusCode, TraceState
from mlflow.exceptions import MlflowException
from mlflow.tracing.constant import (
    MAX_CHARS_IN_TRACE_INFO_METADATA,
    MAX_CHARS_IN_TRACE_INFO_TAGS_VALUE,
    GenAiSemconvKey,
    SpanAttributeKey,
    SpansLocation,
    TraceTagKey,
)
from mlflow.tracing.otel.translation import translate_span_when_storing
from mlflow.tracing.utils import TraceJSONEncoder
from mlflow.tracing.utils.truncation import _get_truncated_preview
from mlflow.utils.validation import _validate_length_limit, _validate_trace_tag

from mltrack.storage.traces.figures import cost_of, json_object, token_usage_of

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["as_texts", "check_name", "described"]

MODEL_NAME_MAX = 500  # characters
_OWN_RESOURCES = ("telemetry.sdk.", "mlflow.")

_log = logging.getLogger(__name__)


def described(trace_id: str, spans: Sequence[Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The fact about a trace from its new spans, and their contents.

    Raises:
        MlflowException: the session's id or the trace's name is too long.
    """
    contents = [translate_span_when_storing(span) for span in spans]
    ends = [span.end_time_ns for span in spans if span.end_time_ns is not None]
    fact: dict[str, Any] = {
        "type": "spans",
        "trace_id": trace_id,
        "start": min(span.start_time_ns for span in spans) // 1_000_000,
        "heads": [_head(span, content["attributes"]) for span, content in zip(spans, contents, strict=True)],
        "tags": {TraceTagKey.SPANS_LOCATION: SpansLocation.TRACKING_STORE.value, **_resource_tags(spans)},
    }
    if ends:
        fact["end"] = max(ends) // 1_000_000
    for content in contents:
        for field, value in _caller(content["attributes"]).items():
            fact.setdefault(field, value)
    roots = [(span, content) for span, content in zip(spans, contents, strict=True) if span.parent_id is None]
    if roots:
        failed = roots[0][0].status.status_code == SpanStatusCode.ERROR
        fact["root_state"] = (TraceState.ERROR if failed else TraceState.OK).value
        fact |= _previews(roots[-1][1]["attributes"])
        fact["tags"] |= _trace_tags(roots[-1][1]["attributes"])
    return fact, contents


def as_texts(contents: Sequence[dict[str, Any]]) -> list[str]:
    """Contents that JSON can't express (NaN, objects of any class), as MLflow's text."""
    return [json.dumps(content, cls=TraceJSONEncoder, ensure_ascii=False) for content in contents]


def check_name(name: str | None) -> str | None:
    """A trace's name.

    Raises:
        MlflowException: it is too long.
    """
    checked: str | None = _validate_length_limit("Trace name", MAX_CHARS_IN_TRACE_INFO_TAGS_VALUE, name)
    return checked


def _head(span: Any, attributes: dict[str, Any]) -> dict[str, Any]:
    usage = json_object(attributes.get(SpanAttributeKey.CHAT_USAGE))
    cost = json_object(attributes.get(SpanAttributeKey.LLM_COST))
    fields = {
        "id": span.span_id,
        "parent": span.parent_id,
        "name": span.name,
        "kind": span.span_type,
        "status": str(span.status.status_code.value),
        "start": span.start_time_ns,
        "end": span.end_time_ns,
        "usage": token_usage_of(usage) if usage is not None else None,
        "cost": cost_of(cost) if cost is not None else None,
        "model": _model(attributes.get(SpanAttributeKey.MODEL)),
        "provider": _model(attributes.get(SpanAttributeKey.MODEL_PROVIDER)),
    }
    return {key: value for key, value in fields.items() if value is not None}


def _model(value: Any) -> str | None:
    text = _unquoted(value)
    return text[:MODEL_NAME_MAX] if isinstance(text, str) else None


def _unquoted(value: Any) -> Any:
    """The text of a JSON string; anything else unchanged."""
    if isinstance(value, str):
        try:
            parsed = json.loads(value)
        except ValueError:
            return value
        return parsed if isinstance(parsed, str) else value
    return value


def _caller(attributes: dict[str, Any]) -> dict[str, Any]:
    """The session and the user a span names, by MLflow's or OpenTelemetry's attributes."""
    found = {}
    session = attributes.get(SpanAttributeKey.SESSION_ID) or attributes.get(GenAiSemconvKey.CONVERSATION_ID)
    if session:
        found["session"] = _validate_length_limit("Session ID", MAX_CHARS_IN_TRACE_INFO_METADATA, _unquoted(session))
    if attributes.get("user.id"):
        found["user"] = _unquoted(attributes["user.id"])
    return found


def _previews(attributes: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for field, key, role in (
        ("request_preview", SpanAttributeKey.INPUTS, "user"),
        ("response_preview", SpanAttributeKey.OUTPUTS, "assistant"),
    ):
        if attributes.get(key):
            try:
                preview = _get_truncated_preview(attributes[key], role=role)
            except (AttributeError, KeyError, IndexError, TypeError, ValueError):  # messages of unknown form
                _log.debug("no preview of %s", key, exc_info=True)
                continue
            if preview is not None:
                found[field] = preview
    return found


def _trace_tags(attributes: dict[str, Any]) -> dict[str, str]:
    """The trace's tags in its root span, from an OpenTelemetry client."""
    prefix = SpanAttributeKey.TRACE_TAG_PREFIX
    found = _usable_tags(
        (name.removeprefix(prefix), str(_unquoted(value)))
        for name, value in attributes.items()
        if name.startswith(prefix)
    )
    if TraceTagKey.TRACE_NAME in found:
        check_name(found[TraceTagKey.TRACE_NAME])
    return found


def _resource_tags(spans: Sequence[Any]) -> dict[str, str]:
    """The resource attributes of the first span that has any, such as service.name."""
    resources = (getattr(span._span, "resource", None) for span in spans)
    resource = next((one for one in resources if one is not None and one.attributes), None)
    if resource is None:
        return {}
    return _usable_tags(
        (key, value if isinstance(value, str) else json.dumps(value))
        for key, value in resource.attributes.items()
        if not key.startswith(_OWN_RESOURCES)
    )


def _usable_tags(pairs: Any) -> dict[str, str]:
    found = {}
    for key, value in pairs:
        try:
            key, value = _validate_trace_tag(key, value)
        except MlflowException:
            _log.debug("%r can't be a tag", key)
            continue
        found[key] = value
    return found
