"""Converts between MLflow's entities of traces and the store's facts."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mlflow.entities import (
    AssessmentError,
    AssessmentSource,
    Expectation,
    Feedback,
    IssueReference,
    TraceInfo,
    TraceLocation,
    TraceState,
)
from mlflow.tracing.constant import MAX_CHARS_IN_TRACE_INFO_METADATA, TraceMetadataKey
from mlflow.tracing.utils import generate_assessment_id
from mlflow.utils.mlflow_tags import MLFLOW_ARTIFACT_LOCATION
from mlflow.utils.time import get_current_time_millis
from mlflow.utils.uri import append_to_uri_path
from mlflow.utils.validation import _validate_length_limit

from mltrack.errors import UsageError
from mltrack.mlflow_plugin.uris import artifact_uri
from mltrack.storage.traces.figures import cost_of, finite, json_object, token_usage_of
from mltrack.storage.traces.traces import Assessment
from mltrack.text.encodable import encodable, encodable_pairs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mltrack.mlflow_plugin.tracking.shown_assessments import ShownAssessments
    from mltrack.storage.traces.traces import Trace
    from mltrack.store import Store

__all__ = [
    "TracePlaces",
    "assessment_fields",
    "assessment_of",
    "info_fields",
    "to_assessment",
    "to_info",
    "value_number",
]

_PLAIN_ID = "tr-0"
_PROMOTED = (TraceMetadataKey.TRACE_SESSION, TraceMetadataKey.TOKEN_USAGE, TraceMetadataKey.COST)


class TracePlaces:
    """Where the files of traces are (attachments, and contents of old clients), in the store's present place."""

    def __init__(self, store: Store) -> None:
        self._layout = store.layout
        self._experiments = store.workspace.experiments()
        self._around: dict[str, tuple[str, str]] = {}  # experiment id -> what comes before and after a plain trace id

    def of(self, trace: Trace) -> str:
        """The artifact URI of a trace."""
        if not trace.trace_id.removeprefix("tr-").isalnum() or not trace.trace_id.isascii():
            return self._uri(trace.experiment_id, trace.trace_id)
        around = self._around.get(trace.experiment_id)
        if around is None:
            before, _, after = self._uri(trace.experiment_id, _PLAIN_ID).rpartition(_PLAIN_ID)
            around = self._around[trace.experiment_id] = before, after
        return f"{around[0]}{trace.trace_id}{around[1]}"

    def _uri(self, experiment_id: str, trace_id: str) -> str:
        experiment = self._experiments.get(experiment_id)
        if experiment is not None and experiment.artifact_location:
            return str(append_to_uri_path(experiment.artifact_location, "traces", trace_id, "artifacts"))
        return artifact_uri(self._layout.trace_folder(experiment_id).files(trace_id).absolute())


def to_info(trace: Trace, places: TracePlaces, shown: ShownAssessments) -> Any:
    """MLflow's info of a trace, with the assessments that count."""
    return TraceInfo(
        trace_id=trace.trace_id,
        trace_location=TraceLocation.from_experiment_id(trace.experiment_id),
        request_time=trace.request_time,
        execution_duration=trace.duration,
        state=TraceState(trace.state),
        tags={**encodable_pairs(trace.tags), MLFLOW_ARTIFACT_LOCATION: places.of(trace)},
        trace_metadata=encodable_pairs(trace.full_metadata),
        client_request_id=encodable(trace.client_request_id),
        request_preview=encodable(trace.request_preview),
        response_preview=encodable(trace.response_preview),
        assessments=[to_assessment(trace.trace_id, one) for one in shown.of(trace)],
    )


def info_fields(metadata: Mapping[str, str], tags: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a fact for metadata and tags; session, tokens and cost are stored separately.

    Raises:
        MlflowException: the session's id is too long.
    """
    fields: dict[str, Any] = {
        "metadata": {key: _text(value) for key, value in metadata.items() if key not in _PROMOTED},
        "tags": {key: _text(value) for key, value in tags.items() if key != MLFLOW_ARTIFACT_LOCATION},
    }
    if TraceMetadataKey.TRACE_SESSION in metadata:
        session = metadata[TraceMetadataKey.TRACE_SESSION]
        fields["session"] = _validate_length_limit("Session ID", MAX_CHARS_IN_TRACE_INFO_METADATA, session)
    if TraceMetadataKey.TOKEN_USAGE in metadata:
        fields["tokens"] = token_usage_of(json_object(metadata[TraceMetadataKey.TOKEN_USAGE]) or {}, unusable=True)
    if TraceMetadataKey.COST in metadata:
        fields["cost"] = cost_of(json_object(metadata[TraceMetadataKey.COST]) or {}, unusable=True)
    return fields


def _text(value: Any) -> Any:
    return value if value is None or isinstance(value, str) else str(value)


# --- assessments -----------------------------------------------------------------------------------------------


def assessment_of(entity: Any) -> Assessment:
    """The stored form of one of MLflow's assessments, with a new id if it has none.

    Raises:
        UsageError: it has neither feedback nor expectation nor issue.
    """
    if entity.assessment_id is None:
        entity.assessment_id = generate_assessment_id()
    error = None
    if entity.feedback is not None:
        kind, value = "feedback", entity.feedback.value
        error = json.dumps(entity.feedback.error.to_dictionary()) if entity.feedback.error else None
    elif entity.expectation is not None:
        kind, value = "expectation", entity.expectation.value
    elif entity.issue is not None:
        kind, value = "issue", entity.issue.to_dictionary()
    else:
        raise UsageError("Assessment must have either feedback, expectation, or issue value")
    now = get_current_time_millis()
    return Assessment(
        assessment_id=entity.assessment_id,
        name=entity.name,
        kind=kind,
        value=json.dumps(value),
        error=error,
        create_time=entity.create_time_ms or now,
        update_time=entity.last_update_time_ms or now,
        source_type=str(entity.source.source_type),
        source_id=entity.source.source_id,
        run_id=entity.run_id,
        span_id=entity.span_id,
        rationale=entity.rationale,
        overrides=entity.overrides,
        metadata=json.dumps(entity.metadata) if entity.metadata else None,
    )


def to_assessment(trace_id: str, held: Assessment) -> Any:
    """MLflow's assessment from its stored form."""
    common: dict[str, Any] = {
        "source": AssessmentSource(source_type=held.source_type, source_id=held.source_id),
        "trace_id": trace_id,
        "metadata": json.loads(held.metadata) if held.metadata is not None else None,
        "span_id": held.span_id,
        "create_time_ms": held.create_time,
        "last_update_time_ms": held.update_time,
    }
    value = json.loads(held.value)
    entity: Any
    if held.kind == "feedback":
        error = AssessmentError.from_dictionary(json.loads(held.error)) if held.error is not None else None
        entity = Feedback(name=held.name, value=value, error=error, rationale=held.rationale, **common)
    elif held.kind == "expectation":
        entity = Expectation(name=held.name, value=value, **common)
    else:
        entity = IssueReference(
            issue_id=held.name, issue_name=value.get("issue_name"), rationale=held.rationale, **common
        )
    entity.overrides, entity.valid = held.overrides, held.valid
    entity.run_id, entity.assessment_id = held.run_id, held.assessment_id
    return entity


def assessment_fields(held: Assessment) -> dict[str, Any]:
    """An assessment in a fact: fields without a value are omitted."""
    return {key: value for key, value in asdict(held).items() if value is not None and key != "valid"}


def value_number(held: Assessment) -> tuple[float | None, bool]:
    """An assessment's value as a number for aggregation (yes and true are 1), and whether it is a number itself."""
    value = json.loads(held.value)
    if isinstance(value, bool):
        return float(value), False
    if isinstance(value, (int, float)):
        number = finite(value)
        return number, number is not None
    answer = {"yes": 1.0, "no": 0.0}.get(value.strip().lower()) if isinstance(value, str) else None
    return answer, False
