"""The tracking store's methods for assessments: feedback, expectations and issues on traces."""

from __future__ import annotations

import json
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR
from mlflow.utils.time import get_current_time_millis

from mltrack.errors import NotFoundError, UsageError
from mltrack.mlflow_plugin.errors import raises_mlflow
from mltrack.mlflow_plugin.tracking.base import BaseStore
from mltrack.mlflow_plugin.tracking.trace_entities import assessment_fields, assessment_of, to_assessment
from mltrack.storage.traces.traces import Assessment, Trace

__all__ = ["Assessments"]


@raises_mlflow
class Assessments(BaseStore):
    """Assessments, stored as facts of their traces."""

    def create_assessment(self, assessment: Any) -> Any:
        """Store an assessment, with a new id if it has none; one that it overrides becomes invalid."""
        trace = self._assessed(assessment.trace_id, "Trace with ID '{}' not found.")
        held = assessment_of(assessment)
        if held.overrides and held.overrides not in trace.assessments:
            raise NotFoundError(f"Assessment with ID '{held.overrides}' not found for trace '{trace.trace_id}'")
        if held.assessment_id in trace.assessments:
            raise MlflowException(
                f"Failed to create assessment for trace '{trace.trace_id}' due to a constraint violation. "
                f"(there is one with ID '{held.assessment_id}' already)",
                INTERNAL_ERROR,
            )
        self._assess(trace, {"type": "assessment", "assessment": assessment_fields(held)})
        return to_assessment(trace.trace_id, held)

    def get_assessment(self, trace_id: str, assessment_id: str) -> Any:
        """One assessment of a trace."""
        return to_assessment(trace_id, self._held(trace_id, assessment_id)[1])

    def update_assessment(
        self,
        trace_id: str,
        assessment_id: str,
        name: str | None = None,
        expectation: Any = None,
        feedback: Any = None,
        rationale: str | None = None,
        metadata: dict[str, str] | None = None,
    ) -> Any:
        """Change an assessment: given values are set, metadata is merged; its source and span stay."""
        trace, held = self._held(trace_id, assessment_id)
        if expectation is not None and feedback is not None:
            raise UsageError("Cannot specify both `expectation` and `feedback` parameters.")
        if expectation is not None and held.kind != "expectation":
            raise UsageError("Cannot update expectation value on a Feedback assessment.")
        if feedback is not None and held.kind != "feedback":
            raise UsageError("Cannot update feedback value on an Expectation assessment.")
        changes: dict[str, Any] = {"update_time": get_current_time_millis()}
        if name is not None:
            changes["name"] = name
        if expectation is not None:
            changes["value"] = json.dumps(expectation.value)
        if feedback is not None:
            changes["value"] = json.dumps(feedback.value)
            changes["error"] = json.dumps(feedback.error.to_dictionary()) if feedback.error else None
        if rationale is not None and held.kind != "expectation":
            changes["rationale"] = rationale
        if metadata:
            changes["metadata"] = json.dumps({**json.loads(held.metadata or "{}"), **metadata})
        self._assess(trace, {"type": "assessment_change", "assessment_id": assessment_id, "changes": changes})
        return self.get_assessment(trace_id, assessment_id)

    def delete_assessment(self, trace_id: str, assessment_id: str) -> None:
        """Remove an assessment; one that it overrode is valid again. It need not exist."""
        trace = self._store.traces.find(trace_id)
        if trace is not None and assessment_id in trace.assessments:
            self._assess(trace, {"type": "assessment_delete", "assessment_id": assessment_id})

    def _held(self, trace_id: str, assessment_id: str) -> tuple[Trace, Assessment]:
        trace = self._assessed(trace_id, "Trace with request_id '{}' not found")
        held = trace.assessments.get(assessment_id)
        if held is None or not self._shown().shows(held):
            raise NotFoundError(f"Assessment with ID '{assessment_id}' not found for trace '{trace_id}'")
        return trace, held

    def _assessed(self, trace_id: str, otherwise: str) -> Trace:
        trace = self._store.traces.find(trace_id)
        if trace is None:
            raise NotFoundError(otherwise.format(trace_id))
        return trace

    def _assess(self, trace: Trace, fact: dict[str, Any]) -> None:
        self._store.traces.add(trace.experiment_id, {"trace_id": trace.trace_id, **fact})
