"""MLflow's calls on traces. Traces, spans and assessments keep their ids over there, so nearly all may be repeated.

Only to make an assessment that is there already is an error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from mltrack_sync.errors import RemoteRefusedError
from mltrack_sync.http.shapes import identifier, mapping, rows, shaped, texts
from mltrack_sync.http.transport import Call

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mltrack_sync.http.transport import Transport

__all__ = ["RemoteTrace", "TracesClient"]

API_3 = "/api/3.0/mlflow/"
SPANS = "/v1/traces"
EXPERIMENT_HEADER = "x-mlflow-experiment-id"


@dataclass(frozen=True, slots=True)
class RemoteTrace:
    """A trace over there, as far as its info tells: its tags, and the ids of its assessments."""

    experiment_id: str
    tags: Mapping[str, str] = field(default_factory=dict)
    assessments: tuple[str, ...] = ()


class TracesClient:
    """What the syncer asks of a remote's traces."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

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
        """Have a trace's info, which stands over what its spans told; the answer is how it is then."""
        return self._trace(self._send("POST", "traces", {"trace": {"trace_info": info}}))

    def get(self, trace_id: str) -> RemoteTrace:
        """The trace as it is now."""
        return self._trace(self._send("GET", f"traces/{quote(trace_id, safe='')}"))

    def set_tag(self, trace_id: str, key: str, value: str) -> None:
        """Set a tag."""
        self._send("PATCH", f"traces/{quote(trace_id, safe='')}/tags", {"key": key, "value": value})

    def delete_tag(self, trace_id: str, key: str) -> None:
        """Take a tag away; one that is not there is no error."""
        try:
            self._send("DELETE", f"traces/{quote(trace_id, safe='')}/tags", {"key": key})
        except RemoteRefusedError as error:
            if error.code != "RESOURCE_DOES_NOT_EXIST":
                raise

    def create_assessment(self, trace_id: str, assessment: Mapping[str, Any]) -> None:
        """A new assessment, with its id. Made a second time it is refused as if the server had failed."""
        path = f"traces/{quote(trace_id, safe='')}/assessments"
        self._send("POST", path, {"assessment": assessment}, repeatable=False)

    def delete_assessment(self, trace_id: str, assessment_id: str) -> None:
        """Take an assessment away."""
        self._send("DELETE", f"traces/{quote(trace_id, safe='')}/assessments/{quote(assessment_id, safe='')}", {})

    def link_to_run(self, remote_run: str, trace_ids: Sequence[str]) -> None:
        """Tie traces to a run."""
        fields = {"run_id": remote_run, "trace_ids": list(trace_ids)}
        self._transport.post("traces/link-to-run", fields, repeatable=True)

    def link_prompts(self, trace_id: str, prompts: Sequence[tuple[str, str]]) -> None:
        """Tie versions of prompts (name and number there) to a trace."""
        versions = [{"name": name, "version": version} for name, version in prompts]
        fields = {"trace_id": trace_id, "prompt_versions": versions}
        self._transport.post("traces/link-prompts", fields, repeatable=True)

    def _send(
        self, method: str, path: str, fields: Mapping[str, Any] | None = None, *, repeatable: bool = True
    ) -> dict[str, Any]:
        body = json.dumps(fields, separators=(",", ":")).encode("ascii") if fields is not None else None
        return self._transport.send(Call(method, API_3 + path, repeatable, body=body, body_bytes=len(body or b"")))

    def _trace(self, answer: Mapping[str, Any]) -> RemoteTrace:
        with shaped(self._transport.url, "traces", answer):
            info = mapping(answer["trace"]["trace_info"])
            place = info["trace_location"]["mlflow_experiment"]
            assessments = tuple(identifier(each["assessment_id"]) for each in rows(info, "assessments"))
            return RemoteTrace(identifier(place["experiment_id"]), texts(info.get("tags")), assessments)
