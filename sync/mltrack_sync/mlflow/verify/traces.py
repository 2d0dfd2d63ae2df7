"""Traces compared with those on the remote: times, state, tags, metadata, spans with their contents, assessments."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mltrack_sync.mlflow.plan.id_mapping import LINKED_PROMPTS
from mltrack_sync.mlflow.plan.kinds import TRACE
from mltrack_sync.mlflow.plan.otlp import UnsendableSpanError
from mltrack_sync.mlflow.plan.pending_traces import ASSESSMENT_RUN, MODEL_ID, SERVERS_OWN, SOURCE_RUN, as_on_remote
from mltrack_sync.mlflow.plan.proto_json import duration_ms, millis
from mltrack_sync.mlflow.verify.findings import NOTHING, Findings
from mltrack_sync.mlflow.verify.spans import local_spans, remote_spans, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from mltrack.storage.traces.traces import Assessment, Trace
    from mltrack.store import Store
    from mltrack_sync.mlflow.api.readback import ComparedClient, Fields
    from mltrack_sync.mlflow.verify.remote_ids import RemoteIds

__all__ = ["INFOS_AT_ONCE", "TracesVerify"]

INFOS_AT_ONCE = 50
"""How many traces are asked for in one request where their spans are not needed."""

DIFFERENCES_MAX = 20
"""How many differences of one trace's spans are listed; the others are counted."""


@dataclass(frozen=True, slots=True)
class TracesVerify:
    """Compares traces; ``waiting`` holds the ids of those that are not all in the ledger.

    ``on_no_spans`` is called with the id of a trace that the server returned without spans.
    """

    store: Store
    reading: ComparedClient
    ids: RemoteIds
    waiting: Collection[str]
    quick: bool
    on_no_spans: Callable[[str], None]

    def compare(self, traces: Sequence[Trace]) -> Iterator[Findings]:
        """Compare a few traces; ``quick`` skips their spans.

        Raises:
            RemoteError, StoreError: see mltrack_sync.errors.
        """
        infos = self.reading.trace_infos([trace.trace_id for trace in traces]) if self.quick else {}
        for trace in traces:
            waits = trace.trace_id in self.waiting
            findings = Findings(subject=f"trace {trace.trace_id}", kind=TRACE, key=trace.trace_id, waits=waits)
            findings.counts["traces"] += 1
            found = None if self.quick else self.reading.trace(trace.trace_id)
            info = infos.get(trace.trace_id) if found is None else found["trace_info"]
            if info is None:
                findings.differs("trace", "present", NOTHING)
            else:
                self._info(trace, info, findings)
                counted = as_on_remote(trace, self.ids.state)
                self._assessments(counted, info.get("assessments") or [], findings)
            if found is not None:
                self._spans(trace, found, findings)
            yield findings

    # --- info ---

    def _info(self, trace: Trace, info: Fields, findings: Findings) -> None:
        experiment = self.store.workspace.experiments().get(trace.experiment_id)
        place = info.get("trace_location", {}).get("mlflow_experiment", {}).get("experiment_id", "")
        name = experiment.name if experiment is not None else ""
        findings.equal("experiment", name, self.ids.experiment_name(str(place)))
        if trace.final or trace.assessments or not trace.spans:  # else the server has it from spans alone
            findings.equal("time", trace.request_time, millis(info["request_time"]))
            findings.equal("duration in ms", trace.duration, duration_ms(info.get("execution_duration")))
            findings.equal("state", trace.state, info.get("state"))
            for thing in ("client_request_id", "request_preview", "response_preview"):
                local, remote = getattr(trace, thing), info.get(thing)
                if (local or "") != (remote or ""):
                    findings.text_differs(thing.replace("_", " "), local, remote)
            mine = self._named(trace.full_metadata)
            theirs = {key: self.ids.current(text) for key, text in (info.get("trace_metadata") or {}).items()}
            findings.texts("metadata", mine, theirs, mine.keys())
        tags, remote_tags = self._named(trace.tags), dict(info.get("tags") or {})
        if LINKED_PROMPTS in tags and _listed(tags[LINKED_PROMPTS]) == _listed(remote_tags.get(LINKED_PROMPTS)):
            remote_tags[LINKED_PROMPTS] = tags[LINKED_PROMPTS]
        keys = tags.keys() | (remote_tags.keys() if findings.waits else set())  # those removed here, too
        findings.counts["tags"] += findings.texts("tag", tags, remote_tags, keys - set(SERVERS_OWN))

    def _named(self, texts: Mapping[str, str]) -> dict[str, str]:
        """Metadata or tags, with ids of runs, models and prompts mapped to those of the remote."""
        found = self.ids.map_tags(texts)
        for key in (SOURCE_RUN, ASSESSMENT_RUN):
            if found.get(key):
                found[key] = self.ids.run(found[key])
        if found.get(MODEL_ID):
            found[MODEL_ID] = self.ids.logged_model(found[MODEL_ID])
        return found

    # --- assessments ---

    def _assessments(self, trace: Trace, rows: Sequence[Fields], findings: Findings) -> None:
        remote = {str(row["assessment_id"]): row for row in rows}
        for assessment_id, held in trace.assessments.items():
            thing = f"assessment {held.name!r} ({assessment_id})"
            row = remote.get(assessment_id)
            if row is None:
                findings.differs(thing, "present", NOTHING)
                continue
            mine, theirs = self._assessment(held), _remote_assessment(row)
            differing = [name for name in mine if mine[name] != theirs[name]]
            for name in differing:
                findings.differs(f"{thing}: {name}", _cut(mine[name]), _cut(theirs[name]))
            findings.counts["assessments"] += not differing
        if findings.waits:  # one that was removed here will be removed on the remote, too
            for assessment_id in remote.keys() - trace.assessments.keys():
                findings.differs(f"assessment {assessment_id}", NOTHING, "present")

    def _assessment(self, held: Assessment) -> dict[str, Any]:
        metadata = json.loads(held.metadata) if held.metadata else {}
        if held.run_id and ASSESSMENT_RUN not in metadata:
            metadata[ASSESSMENT_RUN] = held.run_id
        value = json.loads(held.value)
        return {
            "name": held.name,
            "source": (held.source_type, held.source_id or ""),
            "times": (held.create_time, held.update_time),
            "validity": held.valid,
            "value": value.get("issue_name") if held.kind == "issue" else value,
            "error": _filled(json.loads(held.error)) if held.error else {},
            "rationale": held.rationale or "",
            "span": held.span_id or "",
            "overrides": held.overrides or "",
            "metadata": self._named({str(key): str(text) for key, text in metadata.items()}),
        }

    # --- spans ---

    def _spans(self, trace: Trace, found: Fields, findings: Findings) -> None:
        if "spans" not in found and trace.spans:
            self.on_no_spans(trace.trace_id)
            return
        with self.store.traces.spans() as reader:
            texts = reader.read(trace.ordered_spans())
            for damage in reader.damage:
                findings.differs("damage", damage, "not compared")
        try:
            local = local_spans(trace.trace_id, texts)
        except UnsendableSpanError as error:
            findings.differs("spans", f"can't be sent: {error}", "not compared")
            return
        remote = remote_spans(found.get("spans") or [])
        if len(local) != len(remote):
            findings.differs("number of spans", f"{len(local):,}", f"{len(remote):,}")
        before = len(findings.differences)
        for span_id in sorted(local.keys() | remote.keys()):
            self._span(span_id, local.get(span_id), remote.get(span_id), findings)
        more = len(findings.differences) - before - DIFFERENCES_MAX
        if more > 0:
            del findings.differences[before + DIFFERENCES_MAX :]
            findings.differs("spans", f"{more:,} more that differ", "the same")

    @staticmethod
    def _span(
        span_id: str, local: Mapping[str, Any] | None, remote: Mapping[str, Any] | None, findings: Findings
    ) -> None:
        name = (local or remote or {})["name"]
        thing = f"span {name!r} ({span_id})"
        if local is None or remote is None:
            findings.differs(thing, *(("present", NOTHING) if remote is None else (NOTHING, "present")))
            return
        differing = [field for field in local.keys() | remote.keys() if local.get(field) != remote.get(field)]
        for field in sorted(differing):
            findings.differs(f"{thing}: {field}", _cut(local.get(field)), _cut(remote.get(field)))
        findings.counts["spans"] += not differing


def _remote_assessment(row: Fields) -> dict[str, Any]:
    feedback, expectation = row.get("feedback") or {}, row.get("expectation") or {}
    value: Any = feedback.get("value", expectation.get("value"))
    if "serialized_value" in expectation:
        value = json.loads(expectation["serialized_value"].get("value") or "null")
    if "issue" in row:
        value = row["issue"].get("issue_name")
    source = row.get("source") or {}
    return {
        "name": row.get("assessment_name"),
        "source": (source.get("source_type"), source.get("source_id") or ""),
        "times": (millis(row["create_time"]), millis(row["last_update_time"])),
        "validity": row.get("valid", True),
        "value": value,
        "error": _filled(feedback.get("error") or {}),
        "rationale": row.get("rationale") or "",
        "span": row.get("span_id") or "",
        "overrides": row.get("overrides") or "",
        "metadata": dict(row.get("metadata") or {}),
    }


def _filled(error: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in error.items() if value}


def _listed(text: str | None) -> Any:
    """The value of a JSON text, in a canonical order."""
    try:
        return sorted(json.loads(text or "[]"), key=json.dumps)
    except (ValueError, TypeError):
        return text


def _cut(value: Any) -> str:
    text = shown(value)
    return text if len(text) <= 60 else text[:57] + "..."
