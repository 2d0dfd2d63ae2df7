"""What MLflow says of a trace in the store's terms: the fields of a fact, from rows of a database or YAML."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any

from mltrack.importers.source import SourceError
from mltrack.storage.traces.trace import COST, COST_KEYS, SESSION, TOKEN_KEYS, TOKENS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mltrack.importers.source import SourceFile

__all__ = ["TRACE_STATES", "file_spans", "info_fields", "time_ms", "yaml_assessment"]

TRACE_STATES = ("STATE_UNSPECIFIED", "IN_PROGRESS", "OK", "ERROR")
ARTIFACT_LOCATION = "mlflow.artifactLocation"
SPANS_FILE = "traces.json"
SPANS_BYTES_MAX = 256 << 20


def info_fields(metadata: Mapping[str, str], tags: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a fact of type info for metadata and tags; session, tokens and cost have fields of their own."""
    promoted = (SESSION, TOKENS, COST)
    fields: dict[str, Any] = {
        "metadata": {key: value for key, value in metadata.items() if key not in promoted},
        "tags": {key: value for key, value in tags.items() if key != ARTIFACT_LOCATION},
    }
    if metadata.get(SESSION):
        fields["session"] = metadata[SESSION]
    for name, key, known in (("tokens", TOKENS, TOKEN_KEYS), ("cost", COST, COST_KEYS)):
        if key in metadata:
            fields[name] = _numbers(metadata[key], known, int if name == "tokens" else float)
    return fields


def _numbers(text: str, known: Iterable[str], kind: type) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {key: kind(found[key]) for key in known if isinstance(found.get(key), int | float)}


def time_ms(value: Any) -> int:
    """A time as ms since the epoch, from a number of ms or a text as protobuf writes it.

    Raises:
        SourceError: it is neither.
    """
    if isinstance(value, int):
        return value
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).replace("Z", "+00:00"))
        return round(moment.timestamp() * 1000)
    except ValueError as error:
        raise SourceError(f"{str(value)[:60]!r} is not a time") from error


def yaml_assessment(fields: Mapping[str, Any]) -> dict[str, Any]:
    """An assessment as a FileStore keeps it, as a fact has it.

    Raises:
        SourceError: it is none that is known.
    """
    error = None
    if isinstance(fields.get("feedback"), dict):
        kind, value = "feedback", fields["feedback"].get("value")
        error = fields["feedback"].get("error")
    elif isinstance(fields.get("expectation"), dict):
        kind, said = "expectation", fields["expectation"]
        value = said.get("value")
        if isinstance(said.get("serialized_value"), dict):
            value = json.loads(said["serialized_value"]["value"])
    elif isinstance(fields.get("issue"), dict):
        kind, value = "issue", fields["issue"]
    else:
        raise SourceError("an assessment of an unknown kind")
    source = fields.get("source") or {}
    found = {
        "assessment_id": fields.get("assessment_id"),
        "name": fields.get("assessment_name"),
        "kind": kind,
        "value": json.dumps(value),
        "error": None if error is None else json.dumps(error),
        "create_time": time_ms(fields.get("create_time")),
        "update_time": time_ms(fields.get("last_update_time")),
        "source_type": str(source.get("source_type", "")),
        "source_id": source.get("source_id"),
        "run_id": fields.get("run_id"),
        "span_id": fields.get("span_id"),
        "rationale": fields.get("rationale"),
        "overrides": fields.get("overrides"),
        "metadata": json.dumps(fields["metadata"]) if fields.get("metadata") else None,
    }
    return {key: value for key, value in found.items() if value is not None}


def file_spans(files: Iterator[SourceFile]) -> list[dict[str, Any]]:
    """The spans in the file that MLflow keeps among a trace's artifacts; none where it is missing.

    Raises:
        SourceError: it can't be read.
    """
    for file in files:
        if file.path == SPANS_FILE:
            try:
                stream: IO[bytes] = file.open()
                with stream:
                    found = json.loads(stream.read(SPANS_BYTES_MAX))
                spans = found["spans"]
                if not all(isinstance(span, dict) for span in spans):
                    raise ValueError("spans are objects")
            except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
                raise SourceError(f"{SPANS_FILE} is torn: {str(error)[:100]}") from error
            return list(spans)
    return []
