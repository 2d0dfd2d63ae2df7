"""Pushing traces: each with its spans, info, assessments and links, under their local ids.

All calls may be repeated, as the remote keeps these ids; so what is in doubt is sent again. Spans of many traces are
sent in one request, and so are links to a run; the rest is a request for each. An info comes after the spans, which
would change it, or before (see early_infos). A trace that changed is sent again as a whole; tags and assessments that
were removed here are removed on the remote. A trace that is deleted here stays on the remote: MLflow removes traces for
good.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from mltrack.disk.filesystem import reading
from mltrack.entities import Artifact
from mltrack_sync.errors import RemoteRefusedError, RemoteUnavailableError
from mltrack_sync.mlflow.api.capabilities import TRACES, UnsupportedFeatureError
from mltrack_sync.mlflow.api.traces import TracesClient
from mltrack_sync.mlflow.files.content import FileChanged
from mltrack_sync.mlflow.files.upload import Outgoing, send_artifact
from mltrack_sync.mlflow.plan.batches import Refusal
from mltrack_sync.mlflow.plan.id_mapping import map_prompt_version, map_tags
from mltrack_sync.mlflow.plan.kinds import TRACE, TRACE_TAG
from mltrack_sync.mlflow.plan.otlp import UnsendableSpanError, span_bodies
from mltrack_sync.mlflow.plan.pending_traces import (
    ARTIFACT_LOCATION,
    ASSESSMENT_RUN,
    MODEL_ID,
    SERVERS_OWN,
    SOURCE_RUN,
    PendingTraces,
    as_on_remote,
    attachments,
    fingerprint,
    split_tags,
)
from mltrack_sync.mlflow.push.batching import ITS_OWN_FAULT, Batch, batches_of
from mltrack_sync.mlflow.push.early_infos import TRACES_MIN, EarlyInfos, ServerVersion
from mltrack_sync.mlflow.workers import JobRunner, WorkerPool

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from mltrack.storage.traces.traces import Assessment, Trace
    from mltrack_sync.mlflow.api.traces import RemoteTrace
    from mltrack_sync.mlflow.push.run_ids import Identities
    from mltrack_sync.mlflow.push.session import Session

__all__ = ["TracesPush"]


class TracesPush:
    """Brings traces up to date on the remote, after the runs, models and prompts that they refer to."""

    def __init__(self, session: Session, identities: Identities) -> None:
        self._session = session
        self._identities = identities
        self._client = TracesClient(session.client.transport)
        self._version = ServerVersion(self._client)
        self._ledger = session.ledger
        self._lock = threading.Lock()
        self._done: set[str] = set()

    def push(self, pending: PendingTraces, jobs: int) -> None:
        """Push all of them; the ledger notes when none is left."""
        WorkerPool(JobRunner(self._session, TRACE), jobs).run(self._jobs(pending.traces))
        if self._session.stop.is_set() or not pending.whole:
            return
        if all(t.trace_id in self._done or self._ledger.rejection("", TRACE, t.trace_id) for t in pending.traces):
            self._ledger.traces_sent(pending.positions, pending.sizes)

    def _jobs(self, traces: Iterable[Trace]) -> Iterator[tuple[str, Callable[[], None]]]:
        for batch in batches_of(traces, self._session.limits().request_bytes_max):
            bodies = _Bodies(batch, self._bodies)
            infos = EarlyInfos(batch, self._client, self._version, bodies.ids, self._put_early)
            spans = Batch(batch, partial(self._send_spans_of, bodies, infos))
            links = Batch(batch, partial(self._link_all, spans))
            if len(batch) >= TRACES_MIN:
                for trace in batch:
                    yield trace.trace_id, partial(self._send_early, trace, infos)
            for trace in batch:
                yield trace.trace_id, partial(self._push, trace, infos, spans, links)

    def _send_early(self, trace: Trace, infos: EarlyInfos) -> None:
        if infos.includes(trace):
            with self._session.features.needing(TRACES):
                infos.send(trace)

    def _put_early(self, trace: Trace) -> RemoteTrace:
        return self._put_info(trace, self._identities.experiment_by_id(trace.experiment_id))

    def _push(self, trace: Trace, infos: EarlyInfos, spans: Batch, links: Batch) -> None:
        with self._session.features.needing(TRACES):
            experiment_id = self._identities.experiment_by_id(trace.experiment_id)
            if spans.done(trace.trace_id):
                remote = infos.settled(trace)
            else:
                remote = None
                self._send_alone(trace, experiment_id, infos)
            remote = remote or self._put_info(trace, experiment_id)
        self._put_tags(trace, remote)
        self._put_overriding(trace, remote)
        self._put_files(trace, remote)
        if not links.done(trace.trace_id):
            self._link(trace)
        self._link_prompts(trace)
        self._ledger.trace_sent(trace.trace_id, fingerprint(trace))
        refused = self._ledger.rejection("", TRACE, trace.trace_id)
        if refused is not None:
            self._ledger.cleared(refused)
        with self._lock:
            self._done.add(trace.trace_id)
        self._session.count(traces=1)

    # --- spans and info ---

    def _send_spans_of(self, bodies: _Bodies, infos: EarlyInfos, traces: Sequence[Trace]) -> frozenset[str]:
        """The spans of traces of one experiment, in one request, without those that can't be sent."""
        held = bodies.held()
        infos.send_all()
        if held:
            self._send_body(self._identities.experiment_by_id(traces[0].experiment_id), b"".join(held.values()))
        bodies.drop()
        return frozenset(held)

    def _send_alone(self, trace: Trace, experiment_id: str, infos: EarlyInfos) -> None:
        try:
            self._send_spans(trace, experiment_id)
        except RemoteRefusedError:
            infos.withdraw(trace)
            raise
        except RemoteUnavailableError as error:
            if error.status in ITS_OWN_FAULT:
                infos.withdraw(trace)
            raise

    def _send_spans(self, trace: Trace, experiment_id: str) -> None:
        for body in self._bodies(trace):
            self._send_body(experiment_id, body)

    def _bodies(self, trace: Trace) -> Iterator[bytes]:
        if not trace.spans:
            return
        with self._session.store.traces.spans() as reader:
            texts = reader.read(trace.ordered_spans())
            for damage in reader.damage:
                self._session.problem(f"{TRACE} {trace.trace_id}: {damage} ({damage.hint})")
        try:
            yield from span_bodies(trace.trace_id, texts, self._session.limits().request_bytes_max)
        except UnsendableSpanError as error:
            raise RemoteRefusedError(str(error), status=400, code="INVALID_PARAMETER_VALUE", words=str(error)) from None

    def _send_body(self, experiment_id: str, body: bytes) -> None:
        self._session.check()
        self._client.send_spans(experiment_id, body)
        self._session.count(body=len(body))

    def _put_info(self, trace: Trace, experiment_id: str) -> RemoteTrace:
        """Send what is not in spans. It ends a trace on the remote, so an unfinished one gets its spans only."""
        self._session.check()
        if not (trace.final or trace.assessments or not trace.spans):
            return self._client.get(trace.trace_id)
        info = self._info(trace, experiment_id)
        try:
            return self._client.put(info)
        except RemoteRefusedError as error:
            if not info["tags"]:
                raise
            try:  # the remote may refuse a tag: then each is sent by itself
                return self._client.put({**info, "tags": {}})
            except RemoteRefusedError:
                raise error from None

    def _info(self, trace: Trace, experiment_id: str) -> dict[str, Any]:
        trace = as_on_remote(trace, self._ledger.state)
        info: dict[str, Any] = {
            "trace_id": trace.trace_id,
            "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment_id}},
            "request_time": _timestamp(trace.request_time),
            "state": trace.state,
            "trace_metadata": self._named(trace.full_metadata),
            "tags": self._tags(trace),
            "assessments": [
                self._assessment(trace, each) for each in trace.assessments.values() if not _overrides(trace, each)
            ],
        }
        if trace.duration is not None:
            info["execution_duration"] = f"{trace.duration // 1000}.{trace.duration % 1000:03}s"
        given = {
            "client_request_id": trace.client_request_id,
            "request_preview": trace.request_preview,
            "response_preview": trace.response_preview,
        }
        return info | {key: value for key, value in given.items() if value is not None}

    def _tags(self, trace: Trace) -> dict[str, str]:
        taken, refused = split_tags(trace.trace_id, self._named(trace.tags), self._session.limits())
        for refusal in refused:
            self._session.reject(refusal)
        return taken

    def _named(self, texts: Mapping[str, str]) -> dict[str, str]:
        """Metadata or tags, with ids of runs, models and prompts mapped to those of the remote."""
        found = map_tags(self._ledger.state, texts)
        for key in (SOURCE_RUN, ASSESSMENT_RUN):
            if found.get(key):
                found[key] = self._identities.remote_run(found[key])
        if found.get(MODEL_ID):
            try:
                model = self._identities.logged.model(found[MODEL_ID])
            except UnsupportedFeatureError:
                model = None
            found[MODEL_ID] = model.remote_id if model is not None else found[MODEL_ID]
        return found

    def _assessment(self, trace: Trace, held: Assessment) -> dict[str, Any]:
        value = json.loads(held.value)
        fields: dict[str, Any] = {
            "assessment_id": held.assessment_id,
            "assessment_name": held.name,
            "trace_id": trace.trace_id,
            "source": {"source_type": held.source_type, "source_id": held.source_id or ""},
            "create_time": _timestamp(held.create_time),
            "last_update_time": _timestamp(held.update_time),
            "valid": held.valid,
        }
        if held.kind == "feedback":
            fields["feedback"] = {"value": value} | ({"error": json.loads(held.error)} if held.error else {})
        elif held.kind == "issue":
            fields["issue"] = {"issue_name": value.get("issue_name")}
        elif value is None or isinstance(value, (list, dict)):
            fields["expectation"] = {
                "serialized_value": {"serialization_format": "JSON_FORMAT", "value": json.dumps(value)}
            }
        else:
            fields["expectation"] = {"value": value}
        metadata = json.loads(held.metadata) if held.metadata else {}
        if held.run_id and ASSESSMENT_RUN not in metadata:
            metadata[ASSESSMENT_RUN] = held.run_id  # where MLflow looks for the run
        metadata = self._named({str(key): str(value) for key, value in metadata.items()})
        given: dict[str, Any] = {"span_id": held.span_id, "rationale": held.rationale, "overrides": held.overrides}
        given["metadata"] = metadata
        return fields | {key: value for key, value in given.items() if value}

    def _put_overriding(self, trace: Trace, remote: RemoteTrace) -> None:
        """Assessments that override others. MLflow applies an override only on creation, so each is created again.

        Those that were removed here are removed.
        """
        trace = as_on_remote(trace, self._ledger.state)
        overriding = [each for each in trace.assessments.values() if _overrides(trace, each)]
        again = {each.assessment_id for each in overriding}
        for assessment_id in reversed(remote.assessments):
            if assessment_id not in trace.assessments or assessment_id in again:
                self._client.delete_assessment(trace.trace_id, assessment_id)
        for each in overriding:
            self._session.policy.settle(partial(self._make_assessment, trace, each))

    def _make_assessment(self, trace: Trace, held: Assessment, again: bool) -> None:
        if not again or held.assessment_id not in self._client.get(trace.trace_id).assessments:
            self._client.create_assessment(trace.trace_id, self._assessment(trace, held))

    def _put_tags(self, trace: Trace, remote: RemoteTrace) -> None:
        wanted = self._tags(trace)
        for key, value in wanted.items():
            if remote.tags.get(key) != value and key not in SERVERS_OWN:
                item = Refusal(TRACE_TAG, f"{trace.trace_id}/{key}", "")
                try:
                    self._client.set_tag(trace.trace_id, key, value)
                except RemoteRefusedError as error:
                    self._session.reject(item._replace(reason=error.words))
                else:
                    self._session.got_through(item)
        for key in remote.tags:
            if key not in wanted and key not in SERVERS_OWN:
                self._client.delete_tag(trace.trace_id, key)

    # --- files and links ---

    def _put_files(self, trace: Trace, remote: RemoteTrace) -> None:
        """Send attachments of its spans."""
        uri = remote.tags.get(ARTIFACT_LOCATION, "")
        for name, path in attachments(self._session.store, trace) if uri else ():
            artifact = _as_artifact(name, path)
            meter = self._session.meter(artifact.size)
            sent = False
            try:
                file = Outgoing(trace.trace_id, trace.trace_id, uri, artifact, path, meter, of_model=True)
                send_artifact(self._session.client, self._session.uploads, file)
                sent = True
            except FileChanged as error:
                raise OSError(0, str(error), str(path)) from error
            finally:
                meter.close(sent=sent)
            self._session.count(artifacts=1, artifact_bytes=artifact.size)

    def _link_all(self, spans: Batch, traces: Sequence[Trace]) -> frozenset[str]:
        """Link traces to runs, with one request for each run."""
        remote = [trace for trace in traces if spans.done(trace.trace_id)]
        for run_id in dict.fromkeys(run_id for trace in remote for run_id in trace.run_ids):
            linked = [trace.trace_id for trace in remote if run_id in trace.run_ids]
            self._client.link_to_run(self._identities.remote_run(run_id), linked)
        return frozenset(trace.trace_id for trace in remote)

    def _link(self, trace: Trace) -> None:
        for run_id in trace.run_ids:
            self._client.link_to_run(self._identities.remote_run(run_id), [trace.trace_id])

    def _link_prompts(self, trace: Trace) -> None:
        prompts = []
        for prompt in trace.prompts:
            name, _, number = prompt.rpartition("/")
            prompts.append((name, map_prompt_version(self._ledger.state, name, number)))
        if prompts:
            self._client.link_prompts(trace.trace_id, prompts)


class _Bodies:
    """The spans of a batch's traces, each trace's as a request's body, made once and kept until they are sent."""

    def __init__(self, traces: Sequence[Trace], make: Callable[[Trace], Iterator[bytes]]) -> None:
        self._traces = traces
        self._make = make
        self._lock = threading.Lock()
        self._held: dict[str, bytes] | None = None

    def held(self) -> dict[str, bytes]:
        """The bodies by trace, without those that can't be sent; requests that are joined are one request."""
        with self._lock:
            if self._held is None:
                self._held = {}
                for trace in self._traces:
                    with contextlib.suppress(RemoteRefusedError):  # rejected when it is sent on its own
                        self._held[trace.trace_id] = b"".join(self._make(trace))
            return self._held

    def ids(self) -> Collection[str]:
        """The traces whose spans can be sent."""
        return self.held().keys()

    def drop(self) -> None:
        """Free the memory."""
        with self._lock:
            self._held = {}


def _overrides(trace: Trace, held: Assessment) -> bool:
    """Whether it overrides another one of the trace."""
    return held.overrides is not None and held.overrides in trace.assessments


def _as_artifact(name: str, path: Path) -> Artifact:
    """A file with its size and checksum."""
    with reading(path) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Artifact(name, path.stat().st_size, digest, 0)


def _timestamp(ms: int) -> str:
    """A time in protobuf's JSON format."""
    from datetime import UTC, datetime, timedelta

    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"
