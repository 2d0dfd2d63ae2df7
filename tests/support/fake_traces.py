"""Traces of the MLflow server in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from mltrack_sync.mlflow.plan.proto_json import duration_ms, millis
from tests.support.fake_parts import Fields, Refused, missing, pairs_of, unknown_call

PLACE = "mlflow.artifactLocation"


@dataclass
class FakeTrace:
    """A trace as the server keeps it: ``spans`` by id, as protobuf's JSON; ``assessments`` by id."""

    info: Fields
    tags: dict[str, str]
    metadata: dict[str, str] = field(default_factory=dict)
    spans: dict[str, Fields] = field(default_factory=dict)
    assessments: dict[str, Fields] = field(default_factory=dict)
    runs: set[str] = field(default_factory=set)
    prompts: list[Fields] = field(default_factory=list)

    def fields(self) -> Fields:
        held = {"tags": self.tags, "trace_metadata": self.metadata, "assessments": list(self.assessments.values())}
        return {"trace_info": {**self.info, **held}, "spans": list(self.spans.values())}


def _seconds(ms: int) -> str:
    return f"{ms // 1000}.{ms % 1000:03}s"


def _extend(info: Fields, end_ms: int) -> None:
    """Until its last span ends, as MLflow does even if the info came first."""
    if "request_time" in info:
        known = duration_ms(info.get("execution_duration")) or 0
        info["execution_duration"] = _seconds(max(known, end_ms - millis(info["request_time"])))


class FakeTraces:
    """Calls of the API's third version begin with their method; a trace's id is the field ``trace_id``."""

    def __init__(self) -> None:
        self.held: dict[str, FakeTrace] = {}
        self.version = 3
        """Of the API: with 2 it knows only the call that lists infos of that version."""

    def answer(self, call: str, fields: Fields) -> Fields:
        """What the server answers."""
        known = {
            "v1/traces": self._spans,
            "POST traces": self._put,
            "GET traces": self._get,
            "GET traces/get": self._get,
            "POST traces/batchGetInfos": self._infos,
            "POST traces/search": self._search,
            "PATCH traces/end": self._end,
            "traces/delete-traces": self._delete,
            "PATCH traces/tags": self._set_tag,
            "DELETE traces/tags": self._delete_tag,
            "POST traces/assessments": self._create_assessment,
            "DELETE traces/assessments": self._delete_assessment,
            "traces/link-to-run": self._link_to_run,
            "traces/link-prompts": self._link_prompts,
        }
        if self.version == 2:
            known = {"traces": self._search_2}
        if call not in known:
            raise unknown_call(call)
        return known[call](fields)

    def _trace(self, fields: Fields) -> FakeTrace:
        if fields["trace_id"] not in self.held:
            raise missing(f"Trace with ID '{fields['trace_id']}' not found.")
        return self.held[fields["trace_id"]]

    def _made(self, trace_id: str, experiment_id: str) -> FakeTrace:
        if trace_id not in self.held:
            place = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment_id}}
            info = {"trace_id": trace_id, "trace_location": place, "state": "IN_PROGRESS"}
            uri = f"mlflow-artifacts:/{experiment_id}/traces/{trace_id}/artifacts"
            self.held[trace_id] = FakeTrace(info, {PLACE: uri})
        return self.held[trace_id]

    def _spans(self, fields: Fields) -> Fields:
        from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        for resource in ExportTraceServiceRequest.FromString(fields["body"]).resource_spans:
            for span in resource.scope_spans[0].spans:
                trace = self._made(f"tr-{span.trace_id.hex()}", fields["experiment_id"])
                trace.spans[span.span_id.hex()] = MessageToDict(span, preserving_proto_field_name=True)
                _extend(trace.info, span.end_time_unix_nano // 1_000_000)
        return {}

    def _put(self, fields: Fields) -> Fields:
        info = dict(fields["trace"]["trace_info"])
        place = info["trace_location"]["mlflow_experiment"]["experiment_id"]
        trace = self._made(info["trace_id"], place)
        trace.tags |= info.pop("tags")
        trace.metadata |= info.pop("trace_metadata")
        trace.assessments |= {each["assessment_id"]: each for each in info.pop("assessments")}
        trace.info |= info
        return {"trace": trace.fields()}

    def _end(self, fields: Fields) -> Fields:
        info = self._trace({"trace_id": fields["request_id"]}).info
        info |= {"execution_duration": _seconds(fields["timestamp_ms"] - millis(info["request_time"]))}
        info["state"] = fields["status"]
        return {"trace_info": {"execution_time_ms": fields["timestamp_ms"] - millis(info["request_time"])}}

    def _delete(self, fields: Fields) -> Fields:
        for trace_id in fields["request_ids"]:
            self.held.pop(trace_id, None)
        return {}

    def _get(self, fields: Fields) -> Fields:
        return {"trace": self._trace(fields).fields()}

    def _infos(self, fields: Fields) -> Fields:
        found = [self.held[trace_id] for trace_id in fields["trace_ids"] if trace_id in self.held]
        return {"trace_infos": [trace.fields()["trace_info"] for trace in found]}

    def _search(self, fields: Fields) -> Fields:
        places = {place["mlflow_experiment"]["experiment_id"] for place in fields["locations"]}
        found = [
            t for t in self.held.values() if t.info["trace_location"]["mlflow_experiment"]["experiment_id"] in places
        ]
        run_id = fields.get("filter", "").partition("attributes.run_id = ")[2].strip("'")
        if run_id:
            found = [t for t in found if run_id in t.runs or t.metadata.get("mlflow.sourceRun") == run_id]
        return {"traces": [trace.fields()["trace_info"] for trace in found]}

    def _search_2(self, fields: Fields) -> Fields:
        """As servers did before the third version."""
        found = []
        for held in self.held.values():
            info = held.info
            whole, _, fraction = info["request_time"].removesuffix("Z").partition(".")
            time = int(datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp()) * 1000 + int(fraction)
            made = {"request_id": info["trace_id"], "timestamp_ms": str(time), "status": info["state"]}
            made["experiment_id"] = info["trace_location"]["mlflow_experiment"]["experiment_id"]
            made["execution_time_ms"] = str(round(1000 * float(info["execution_duration"].removesuffix("s"))))
            made |= {"tags": pairs_of(held.tags), "request_metadata": pairs_of(held.metadata)}
            found += [made] if made["experiment_id"] == fields["experiment_ids"] else []
        return {"traces": found}

    def _set_tag(self, fields: Fields) -> Fields:
        self._trace(fields).tags[fields["key"]] = fields["value"]
        return {}

    def _delete_tag(self, fields: Fields) -> Fields:
        if self._trace(fields).tags.pop(fields["key"], None) is None:
            raise missing("no such tag")
        return {}

    def _create_assessment(self, fields: Fields) -> Fields:
        trace, made = self._trace(fields), dict(fields["assessment"])
        if made["assessment_id"] in trace.assessments:
            raise Refused("UNIQUE constraint failed", "INTERNAL_ERROR", 500)
        if made.get("overrides") in trace.assessments:
            trace.assessments[made["overrides"]]["valid"] = False
        trace.assessments[made["assessment_id"]] = made
        return {"assessment": made}

    def _delete_assessment(self, fields: Fields) -> Fields:
        self._trace(fields).assessments.pop(fields["assessment_id"], None)
        return {}

    def _link_to_run(self, fields: Fields) -> Fields:
        for trace_id in fields["trace_ids"]:
            self._trace({"trace_id": trace_id}).runs.add(fields["run_id"])
        return {}

    def _link_prompts(self, fields: Fields) -> Fields:
        self._trace(fields).prompts += fields["prompt_versions"]
        return {}
