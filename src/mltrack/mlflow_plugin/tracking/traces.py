"""The tracking store's methods for traces: starting, spans, reading, tags, links, deletion."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from typing import Any

from mlflow.entities import Trace as MlflowTrace
from mlflow.entities import TraceData
from mlflow.entities.span import LazySpan, Span
from mlflow.entities.trace_info_v2 import TraceInfoV2
from mlflow.exceptions import MlflowException, MlflowTracingException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST
from mlflow.tracing.constant import (
    SpansLocation,
    TraceMetadataKey,
    TraceSizeStatsKey,
    TraceTagKey,
)
from mlflow.tracing.utils import generate_request_id_v2
from mlflow.utils.validation import _parse_experiment_id, _parse_experiment_ids, _validate_trace_tag

from mltrack.entities import DEFAULT_EXPERIMENT_ID, Experiment
from mltrack.errors import NotFoundError, UsageError
from mltrack.mlflow_plugin.arguments import text_of
from mltrack.mlflow_plugin.errors import raises_mlflow, with_words
from mltrack.mlflow_plugin.tracking.base import BaseStore
from mltrack.mlflow_plugin.tracking.experiments import active
from mltrack.mlflow_plugin.tracking.trace_entities import (
    TracePlaces,
    assessment_fields,
    assessment_of,
    info_fields,
    to_info,
)
from mltrack.mlflow_plugin.tracking.trace_spans import as_texts, check_name, described
from mltrack.storage.traces.traces import SpanReader, Trace

__all__ = ["Traces"]

LINKED_TRACES_MAX = 100
_ATTEMPTS = 3  # to read a trace whose last spans have not arrived yet
_log = logging.getLogger(__name__)


@raises_mlflow
@with_words({"get_trace": (NotFoundError, "Trace with ID {trace_id} is not found.")})
class Traces(BaseStore):
    """The store's traces, in MLflow's terms."""

    # --- writing ---

    def start_trace(self, trace_info: Any) -> Any:
        """Store a trace's info, which replaces what its spans implied; returns the resulting info."""
        experiment = self._active_experiment(trace_info.experiment_id)
        check_name(trace_info.tags.get(TraceTagKey.TRACE_NAME))
        fact: dict[str, Any] = {
            "type": "info",
            "trace_id": trace_info.trace_id,
            "request_time": trace_info.request_time,
            "duration": trace_info.execution_duration,
            "state": trace_info.state.value,
            "client_request_id": trace_info.client_request_id,
            "final": True,
            **info_fields(trace_info.trace_metadata, trace_info.tags),
        }
        fact["metadata"][TraceMetadataKey.TRACE_INFO_FINALIZED] = "true"
        for name in ("request_preview", "response_preview"):
            if getattr(trace_info, name) is not None:
                fact[name] = getattr(trace_info, name)
        if trace_info.assessments:
            fact["assessments"] = [assessment_fields(assessment_of(one)) for one in trace_info.assessments]
        self._store.traces.add(experiment.experiment_id, fact)
        return self.get_trace_info(trace_info.trace_id)

    def log_spans(self, location: str, spans: Sequence[Any], tracking_uri: str | None = None) -> list[Any]:
        """Store spans, of one or several traces, in the experiment ``location``; first spans create their trace."""
        if not spans:
            return []
        experiment = self._traced_experiment(location or DEFAULT_EXPERIMENT_ID)
        by_trace: dict[str, list[Any]] = {}
        for span in spans:
            by_trace.setdefault(span.trace_id, []).append(span)
        new = [described(trace_id, some) for trace_id, some in by_trace.items()]
        facts = [fact for fact, _ in new]
        try:
            self._store.traces.add_spans(experiment.experiment_id, facts, [contents for _, contents in new])
        except UsageError:
            texts = [as_texts(contents) for _, contents in new]
            self._store.traces.add_spans(experiment.experiment_id, facts, texts)
        return list(spans)

    def deprecated_start_trace_v2(
        self, experiment_id: str, timestamp_ms: int, request_metadata: dict[str, str], tags: dict[str, str]
    ) -> Any:
        """Start a trace as MLflow 2 does; its spans are then files."""
        experiment = self._active_experiment(experiment_id)
        check_name(tags.get(TraceTagKey.TRACE_NAME))
        trace_id = generate_request_id_v2()
        fact = {"type": "info", "trace_id": trace_id, "request_time": timestamp_ms, "state": "IN_PROGRESS"}
        self._store.traces.add(experiment.experiment_id, {**fact, **info_fields(request_metadata, tags)})
        return TraceInfoV2.from_v3(self.get_trace_info(trace_id))

    def deprecated_end_trace_v2(
        self, request_id: str, timestamp_ms: int, status: Any, request_metadata: dict[str, str], tags: dict[str, str]
    ) -> Any:
        """End a trace as MLflow 2 does."""
        trace = self._trace(request_id)
        check_name(tags.get(TraceTagKey.TRACE_NAME))
        fact = {
            "type": "info",
            "trace_id": request_id,
            "duration": timestamp_ms - trace.request_time,
            "state": status.value,
            **info_fields(request_metadata, tags),
        }
        self._store.traces.add(trace.experiment_id, fact)
        return TraceInfoV2.from_v3(self.get_trace_info(request_id))

    def _active_experiment(self, experiment_id: str) -> Experiment:
        return active(self._traced_experiment(experiment_id))

    def _traced_experiment(self, experiment_id: str) -> Experiment:
        found = self._store.workspace.experiments().get(str(_parse_experiment_id(experiment_id)))
        if found is None:
            raise NotFoundError(f"No Experiment with id={experiment_id} exists")
        return found

    # --- reading ---

    def get_trace_info(self, trace_id: str) -> Any:
        """A trace without its spans."""
        return to_info(self._trace(trace_id), TracePlaces(self._store), self._shown())

    def _trace(self, trace_id: str) -> Trace:
        found = self._store.traces.find(trace_id)
        if found is None:
            raise NotFoundError(f"Trace with ID '{trace_id}' not found.")
        return found

    def get_trace(self, trace_id: str, *, allow_partial: bool = False) -> Any:
        """A trace with its spans; if not all have arrived, it is read again for a few seconds.

        With ``allow_partial``, those that were found are returned at once.
        """
        for attempt in range(_ATTEMPTS):
            trace = self._trace(trace_id)
            with self._store.traces.spans() as reader:
                whole = self._with_spans(trace, reader, allow_partial=allow_partial)
            if whole is not None and (whole.data.spans or allow_partial):
                return whole
            if attempt < _ATTEMPTS - 1:
                time.sleep(2**attempt)
        raise MlflowException(
            f"Trace with ID {trace_id} is not fully exported yet, please try again later.",
            error_code=RESOURCE_DOES_NOT_EXIST,
        )

    def batch_get_traces(
        self, trace_ids: Sequence[str], location: str | None = None, experiment_ids: Sequence[str] | None = None
    ) -> list[Any]:
        """Those of the traces that exist with all their spans, in the given order."""
        with self._store.traces.spans() as reader:
            found = [self._with_spans(trace, reader) for trace in self._some(trace_ids, experiment_ids)]
        return [whole for whole in found if whole is not None and whole.data.spans]

    def batch_get_trace_infos(
        self, trace_ids: Sequence[str], location: str | None = None, experiment_ids: Sequence[str] | None = None
    ) -> list[Any]:
        """Those of the traces that exist, without spans, in the given order."""
        places, shown = TracePlaces(self._store), self._shown()
        return [to_info(trace, places, shown) for trace in self._some(trace_ids, experiment_ids)]

    def _some(self, trace_ids: Sequence[str], experiment_ids: Sequence[str] | None) -> list[Trace]:
        if not trace_ids:
            return []
        scope = None if experiment_ids is None else {str(one) for one in _parse_experiment_ids(list(experiment_ids))}
        found = self._store.traces.find_some(dict.fromkeys(trace_ids))
        return [trace for trace in found if scope is None or trace.experiment_id in scope]

    def _with_spans(self, trace: Trace, reader: SpanReader, *, allow_partial: bool = False) -> Any:
        """MLflow's trace; None if spans that its info counts are missing."""
        if trace.tags.get(TraceTagKey.SPANS_LOCATION) != SpansLocation.TRACKING_STORE.value:
            raise MlflowTracingException("Trace data not stored in tracking store")
        stats = trace.metadata.get(TraceMetadataKey.SIZE_STATS)
        if stats and not allow_partial:
            expected = json.loads(stats).get(TraceSizeStatsKey.NUM_SPANS, 0)
            if len(trace.spans) < expected:
                _log.debug("%d of %d spans of trace %s have arrived", len(trace.spans), expected, trace.trace_id)
                return None
        texts = reader.read(trace.ordered_spans())
        for damage in reader.damage:
            _log.warning("%s", damage)
        reader.damage.clear()
        spans: list[Span] = [LazySpan.from_stored_content(text) for text in texts]
        info = to_info(trace, TracePlaces(self._store), self._shown())
        return MlflowTrace(info=info, data=TraceData(spans=spans))

    # --- changing ---

    def set_trace_tag(self, trace_id: str, key: str, value: str) -> None:
        """Set a tag."""
        key, value = _validate_trace_tag(key, value)
        if key == TraceTagKey.TRACE_NAME:
            check_name(value)
        self._say(trace_id, {"type": "tag", "key": key, "value": text_of(value)})

    def delete_trace_tag(self, trace_id: str, key: str) -> None:
        """Remove a tag."""
        found = self._store.traces.find(trace_id)
        if found is None or key not in found.tags:
            raise NotFoundError(f"No trace tag with key '{key}' for trace with ID '{trace_id}'")
        self._say(trace_id, {"type": "tag", "key": key, "value": None})

    def link_traces_to_run(self, trace_ids: Sequence[str], run_id: str) -> None:
        """Link traces to a run, even if they have not arrived yet."""
        self._link(trace_ids, run_id, linked=True)

    def unlink_traces_from_run(self, trace_ids: Sequence[str], run_id: str) -> None:
        """Remove links to a run."""
        self._link(trace_ids, run_id, linked=False)

    def _link(self, trace_ids: Sequence[str], run_id: str, *, linked: bool) -> None:
        if len(trace_ids) > LINKED_TRACES_MAX:
            raise UsageError(
                f"Cannot link more than {LINKED_TRACES_MAX} traces to a run in a single request. "
                f"Provided {len(trace_ids)} traces."
            )
        for trace_id in dict.fromkeys(trace_ids):
            trace = self._store.traces.find(trace_id)
            if trace is None or (run_id in trace.run_ids) != linked:
                experiment_id = trace.experiment_id if trace is not None else "0"
                fact = {"type": "run", "trace_id": trace_id, "run_id": run_id, "linked": linked}
                self._store.traces.add(experiment_id, fact)

    def link_prompts_to_trace(self, trace_id: str, prompt_versions: Sequence[Any]) -> None:
        """Link versions of prompts to a trace."""
        if prompt_versions:
            names = dict.fromkeys(f"{version.name}/{version.version}" for version in prompt_versions)
            self._say(trace_id, *({"type": "prompt", "prompt": name} for name in names))

    def _say(self, trace_id: str, *facts: dict[str, Any]) -> None:
        """Store facts of an existing trace."""
        trace = self._trace(trace_id)
        self._store.traces.add(trace.experiment_id, *({"trace_id": trace_id, **fact} for fact in facts))

    def _delete_traces(
        self,
        experiment_id: str,
        max_timestamp_millis: int | None = None,
        max_traces: int | None = None,
        trace_ids: Sequence[str] | None = None,
    ) -> int:
        """Delete an experiment's traces: by id, or the oldest up to a time, at most that many; returns the number."""
        experiment_id = str(_parse_experiment_id(experiment_id))
        ids = set(trace_ids) if trace_ids else None
        chosen = [
            trace
            for trace in self._store.traces.all()
            if trace.experiment_id == experiment_id
            and (ids is None or trace.trace_id in ids)
            and (max_timestamp_millis is None or trace.request_time <= max_timestamp_millis)
        ]
        if max_traces is not None:
            chosen.sort(key=lambda trace: (trace.request_time, trace.trace_id))
            del chosen[max_traces:]
        facts = [{"type": "delete", "trace_id": trace.trace_id} for trace in chosen]
        if facts:
            self._store.traces.add(experiment_id, *facts)
            self._remove_from_tables(trace_ids=[trace.trace_id for trace in chosen])
        return len(facts)
