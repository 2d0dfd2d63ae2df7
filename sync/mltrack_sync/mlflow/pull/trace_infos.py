"""What a server says of a trace besides its spans, in the store's words: as the fact that sets it, and assessments."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mltrack.storage.traces.figures import cost_of, json_object, token_usage_of
from mltrack.storage.traces.trace import COST, IN_PROGRESS, SESSION, TOKENS
from mltrack_sync.http.shapes import identifier, integer, mapping, rows, text, texts
from mltrack_sync.mlflow.plan.pending_traces import ARTIFACT_LOCATION, ASSESSMENT_RUN, MODEL_ID, SOURCE_RUN
from mltrack_sync.mlflow.plan.proto_json import duration_ms, millis

if TYPE_CHECKING:
    from mltrack.storage.traces.trace import Assessment
    from mltrack_sync.http.shapes import Fields
    from mltrack_sync.mlflow.pull.run_ids import RunIds

__all__ = ["TheirTrace", "is_same_assessment", "trace_fingerprint"]

TRACE_ID = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)
_PROMOTED = (SESSION, TOKENS, COST)
_STATES = ("OK", "ERROR", IN_PROGRESS)


def trace_fingerprint(fields: Fields) -> str:
    """Changes with whatever the server says of a trace where it lists them."""
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode("ascii")).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class TheirTrace:
    """A trace as the server lists it, with ids of runs, models and prompts as they are here. Times are ms.

    ``uri`` is where the server keeps its files; ``assessments`` are as facts have them, the oldest first.
    """

    trace_id: str
    experiment_id: str
    request_time: int
    duration: int | None
    state: str
    tags: Mapping[str, str]
    metadata: Mapping[str, str]
    given: Mapping[str, str]
    assessments: tuple[dict[str, Any], ...]
    uri: str

    @classmethod
    def of(cls, fields: Fields, ids: RunIds) -> TheirTrace:
        """Read it.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: it has another shape.
            RemoteError: see mltrack_sync.errors.
        """
        tags, state = texts(fields.get("tags")), text(fields.get("state"))
        found = [_assessment(row, ids) for row in rows(fields, "assessments")]
        names = ("client_request_id", "request_preview", "response_preview")
        return cls(
            trace_id=trace_id_of(fields),
            experiment_id=identifier(fields["trace_location"]["mlflow_experiment"]["experiment_id"]),
            request_time=_ms(fields["request_time"]),
            duration=_duration(fields.get("execution_duration")),
            state=state if state in _STATES else "STATE_UNSPECIFIED",
            tags=ids.mapped_texts({key: value for key, value in tags.items() if key != ARTIFACT_LOCATION}),
            metadata=_mapped(texts(fields.get("trace_metadata")), ids),
            given={name: text(fields[name]) for name in names if fields.get(name) is not None},
            assessments=tuple(sorted(found, key=lambda each: (each["create_time"], each["assessment_id"]))),
            uri=tags.get(ARTIFACT_LOCATION, ""),
        )

    @property
    def ended(self) -> bool:
        """Whether nothing more is expected of it."""
        return self.state != IN_PROGRESS

    def info_fact(self) -> dict[str, Any]:
        """The fact that sets all of this but tags and assessments."""
        fact: dict[str, Any] = {
            "type": "info",
            "trace_id": self.trace_id,
            "request_time": self.request_time,
            "duration": self.duration,
            "state": self.state,
            "metadata": {key: value for key, value in self.metadata.items() if key not in _PROMOTED},
            "final": self.ended,
            **self.given,
        }
        if SESSION in self.metadata:
            fact["session"] = self.metadata[SESSION]
        if TOKENS in self.metadata:
            fact["tokens"] = token_usage_of(json_object(self.metadata[TOKENS]) or {}, unusable=True)
        if COST in self.metadata:
            fact["cost"] = cost_of(json_object(self.metadata[COST]) or {}, unusable=True)
        return fact


def trace_id_of(fields: Fields) -> str:
    """The id of a trace that the server lists: it names a folder, and must not be a path.

    Raises:
        KeyError, ValueError: it is none.
    """
    trace_id = text(fields["trace_id"])
    if not TRACE_ID.fullmatch(trace_id):
        raise ValueError("not the id of a trace")
    return trace_id


def is_same_assessment(held: Assessment, record: Mapping[str, Any]) -> bool:
    """Whether an assessment here is what the server has."""
    for key, value in record.items():
        mine = getattr(held, key)
        if key in ("value", "error", "metadata"):
            if json.loads(mine or "{}") != json.loads(value or "{}"):
                return False
        elif (mine or None) != (value or None):
            return False
    given = ("source_id", "error", "span_id", "rationale", "overrides", "metadata")
    return not any(getattr(held, key) for key in given if key not in record)


def _assessment(row: Fields, ids: RunIds) -> dict[str, Any]:
    """As a fact has it, without what it does not have."""
    kind, value, error = _value(row)
    source = mapping(row.get("source") or {})
    metadata = _mapped(texts(row.get("metadata")), ids)
    record = {
        "assessment_id": identifier(row["assessment_id"]),
        "name": text(row.get("assessment_name")),
        "kind": kind,
        "value": json.dumps(value),
        "error": json.dumps(error) if error else None,
        "source_type": text(source.get("source_type")) or "SOURCE_TYPE_UNSPECIFIED",
        "source_id": text(source.get("source_id")) or None,
        "create_time": _ms(row["create_time"]),
        "update_time": _ms(row["last_update_time"]),
        "run_id": metadata.get(ASSESSMENT_RUN),
        "span_id": text(row.get("span_id")) or None,
        "rationale": text(row.get("rationale")) or None,
        "overrides": text(row.get("overrides")) or None,
        "metadata": json.dumps(metadata) if metadata else None,
    }
    return {key: each for key, each in record.items() if each is not None}


def _value(row: Fields) -> tuple[str, Any, Any]:
    """Its kind, its value, and its error."""
    if "issue" in row:
        return "issue", {"issue_name": text(mapping(row["issue"]).get("issue_name"))}, None
    if "expectation" in row:
        expectation = mapping(row["expectation"])
        if "serialized_value" in expectation:
            return (
                "expectation",
                json.loads(text(mapping(expectation["serialized_value"]).get("value")) or "null"),
                None,
            )
        return "expectation", expectation.get("value"), None
    feedback = mapping(row.get("feedback") or {})
    return "feedback", feedback.get("value"), dict(mapping(feedback.get("error") or {}))


def _mapped(found: Mapping[str, str], ids: RunIds) -> dict[str, str]:
    """Metadata, with ids as they are here."""
    mapped = ids.mapped_texts(found)
    for key in (SOURCE_RUN, ASSESSMENT_RUN):
        if mapped.get(key):
            mapped[key] = ids.of(mapped[key])
    if mapped.get(MODEL_ID):
        mapped[MODEL_ID] = ids.model_of(mapped[MODEL_ID])
    return mapped


def _ms(value: Any) -> int:
    return millis(value) if isinstance(value, str) else integer(value)


def _duration(value: Any) -> int | None:
    return duration_ms(value) if value is None or isinstance(value, str) else integer(value)
