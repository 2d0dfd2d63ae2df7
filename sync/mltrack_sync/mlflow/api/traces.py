"""MLflow's calls on traces. Traces, spans and assessments have the same ids on the remote: nearly all may be repeated.

Only creating an assessment that exists already is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mltrack_sync.http.body import AnswerTooLargeError
from mltrack_sync.http.shapes import identifier, integer, mapping, rows, shaped, texts
from mltrack_sync.http.transport import Call
from mltrack_sync.mlflow.api.base import ApiClient, ignoring_missing, in_path

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["RemoteTrace", "TracesClient"]

SPANS = "/v1/traces"
EXPERIMENT_HEADER = "x-mlflow-experiment-id"
VERSION_BYTES_MAX = 1_000


@dataclass(frozen=True, slots=True)
class RemoteTrace:
    """A remote trace as in its info: its tags, the ids of its assessments, and the info as the remote answers it."""

    experiment_id: str
    tags: Mapping[str, str] = field(default_factory=dict)
    assessments: tuple[str, ...] = ()
    info: Mapping[str, Any] = field(default_factory=dict)


class TracesClient(ApiClient):
    """What the syncer asks of a remote's traces."""

    def send_spans(self, experiment_id: str, body: bytes) -> None:
        """Spans in OpenTelemetry's protocol (protobuf), all or none of them."""
        self._transport.send(
            Call(
                "POST",
                SPANS,
                True,
                body=body,
                body_bytes=len(body),
                content_type="application/x-protobuf",
                headers={EXPERIMENT_HEADER: experiment_id},
            )
        )

    def put(self, info: Mapping[str, Any]) -> RemoteTrace:
        """Set a trace's info, which overrides what its spans said; returns the trace as it is then."""
        return self._trace(self._send_3("POST", "traces", {"trace": {"trace_info": info}}))

    def get(self, trace_id: str) -> RemoteTrace:
        """The trace as it is now."""
        return self._trace(self._send_3("GET", f"traces/{in_path(trace_id)}"))

    def infos(self, trace_ids: Sequence[str]) -> dict[str, RemoteTrace]:
        """Several traces as they are now, by id; without those that the remote does not have."""
        answer = self._send_3("POST", "traces/batchGetInfos", {"trace_ids": list(trace_ids)})
        with shaped(self.url, "traces/batchGetInfos", answer):
            return {identifier(info["trace_id"]): _remote_trace(info) for info in rows(answer, "trace_infos")}

    def end(self, trace_id: str, end_ms: int, state: str) -> int:
        """Set when a trace ended, and its state; returns the duration in ms that it has then."""
        fields = {"request_id": trace_id, "timestamp_ms": end_ms, "status": state}
        answer = self._transport.post(f"traces/{in_path(trace_id)}", fields, repeatable=True, method="PATCH")
        with shaped(self.url, "traces", answer):
            return integer(answer["trace_info"]["execution_time_ms"])

    def delete(self, experiment_id: str, trace_id: str) -> None:
        """Delete a trace."""
        fields = {"experiment_id": experiment_id, "request_ids": [trace_id]}
        self._transport.post("traces/delete-traces", fields, repeatable=True)

    def server_version(self) -> str:
        """The version of MLflow that the server says it is."""
        found = bytearray()

        def take(chunk: bytes) -> None:
            found.extend(chunk)
            if len(found) > VERSION_BYTES_MAX:
                raise AnswerTooLargeError(f"has an answer of more than {VERSION_BYTES_MAX:,} bytes")

        def begin() -> Callable[[bytes], None]:
            found.clear()
            return take

        self._transport.download("/version", begin)
        return found.decode("ascii", "replace")

    def set_tag(self, trace_id: str, key: str, value: str) -> None:
        """Set a tag."""
        self._send_3("PATCH", f"traces/{in_path(trace_id)}/tags", {"key": key, "value": value})

    def delete_tag(self, trace_id: str, key: str) -> None:
        """Remove a tag; a missing one is not an error."""
        with ignoring_missing():
            self._send_3("DELETE", f"traces/{in_path(trace_id)}/tags", {"key": key})

    def create_assessment(self, trace_id: str, assessment: Mapping[str, Any]) -> None:
        """Create an assessment with its id. The second time, the server answers as if it had failed."""
        path = f"traces/{in_path(trace_id)}/assessments"
        self._send_3("POST", path, {"assessment": assessment}, repeatable=False)

    def delete_assessment(self, trace_id: str, assessment_id: str) -> None:
        """Remove an assessment."""
        self._send_3("DELETE", f"traces/{in_path(trace_id)}/assessments/{in_path(assessment_id)}", {})

    def link_to_run(self, remote_run: str, trace_ids: Sequence[str]) -> None:
        """Link traces to a run."""
        fields = {"run_id": remote_run, "trace_ids": list(trace_ids)}
        self._transport.post("traces/link-to-run", fields, repeatable=True)

    def link_prompts(self, trace_id: str, prompts: Sequence[tuple[str, str]]) -> None:
        """Link versions of prompts (name and remote number) to a trace."""
        versions = [{"name": name, "version": version} for name, version in prompts]
        fields = {"trace_id": trace_id, "prompt_versions": versions}
        self._transport.post("traces/link-prompts", fields, repeatable=True)

    def _trace(self, answer: Mapping[str, Any]) -> RemoteTrace:
        with shaped(self.url, "traces", answer):
            return _remote_trace(mapping(answer["trace"]["trace_info"]))


def _remote_trace(info: Mapping[str, Any]) -> RemoteTrace:
    place = info["trace_location"]["mlflow_experiment"]
    assessments = tuple(identifier(each["assessment_id"]) for each in rows(info, "assessments"))
    return RemoteTrace(identifier(place["experiment_id"]), texts(info.get("tags")), assessments, info)
