"""Traces of a server brought into the store under their ids: spans, info, tags, assessments, files, links to runs.

What the ledger knows to be unchanged here becomes what the server has; to a trace that was changed here only what it
lacks is added, and a conflict is said.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mltrack.disk.line_types import FACTS
from mltrack.errors import UsageError
from mltrack_sync.http.shapes import shaped
from mltrack_sync.ledger.pulled import FAILED
from mltrack_sync.mlflow.api.capabilities import TRACES
from mltrack_sync.mlflow.plan.pending_traces import SERVERS_OWN, attachments, fingerprint
from mltrack_sync.mlflow.pull.files import FilesPull, Place
from mltrack_sync.mlflow.pull.merging import UNKNOWN, merge_texts
from mltrack_sync.mlflow.pull.spans import read_spans, spans_fact
from mltrack_sync.mlflow.pull.trace_infos import TheirTrace, is_same_assessment, trace_fingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mltrack.disk.artifact_files import Stored
    from mltrack.storage.traces.trace import Trace
    from mltrack_sync.http.shapes import Fields
    from mltrack_sync.mlflow.pull.experiments import Experiments
    from mltrack_sync.mlflow.pull.run_ids import RunIds
    from mltrack_sync.mlflow.pull.session import PullSession
    from mltrack_sync.mlflow.pull.spans import PulledSpan

__all__ = ["TracePull"]

SPANS_LOCATION = "mlflow.trace.spansLocation"
IN_STORE = "TRACKING_STORE"
SPANS_FILE = "traces.json"
"""Where older clients keep a trace's spans: among its files."""

ATTACHED = "mlflow-attachment://"

Fact = dict[str, Any]


class TracePull:
    """Brings one trace. Used once, by one thread."""

    def __init__(
        self, session: PullSession, ids: RunIds, experiments: Experiments, fields: Fields, *, changed_here: bool
    ) -> None:
        """Read what the server says of it.

        Args:
            session: The pull.
            ids: What runs are called here.
            experiments: What experiments are called here.
            fields: The trace's info, as the server lists it.
            changed_here: Whether it may have been changed here since the server had it as it was.

        Raises:
            NotMlflowError: it has another shape.
        """
        self._session = session
        self._changed_here = changed_here
        self._fields = fields
        with shaped(session.client.url, "traces/search", fields):
            self._theirs = TheirTrace.of(fields, ids)
        self.trace_id = self._theirs.trace_id
        self._remote_spans: set[str] | None = None
        self._local = session.store.traces.find(self.trace_id)
        if self._local is not None and self._local.born:
            self._experiment = self._local.experiment_id
        else:
            self._experiment = experiments.local(self._theirs.experiment_id).experiment_id
            self._local = None

    def pull(self) -> None:
        """Bring what is new.

        Raises:
            RemoteError: see mltrack_sync.errors.
            StoreError, UsageError: it can't be stored.
        """
        session = self._session
        with session.features.needing(TRACES):
            spans = self._new_spans()
        files = self._pull_files(spans)
        if spans:
            fact = spans_fact(self.trace_id, spans, self._tags_of_spans())
            self._check(fact | {"at": [0, 0]})
            session.store.traces.add_spans(self._experiment, [fact], [[span.content for span in spans]])
        facts = list(self._facts())
        if facts:
            self._check(*facts)
            session.store.traces.add(self._experiment, *facts)
        if facts or spans or files.brought:
            session.count(traces=1)
        self._settle(files)

    @staticmethod
    def _check(*facts: Fact) -> None:
        for fact in facts:
            fault = FACTS.fault({"seq": 0, "time": 0, **fact})
            if fault is not None:
                raise UsageError(f"a fact of a trace that {fault}", hint="it can't be stored")

    # --- spans and files ---

    @property
    def _is_in_store(self) -> bool:
        return self._theirs.tags.get(SPANS_LOCATION) == IN_STORE

    def _tags_of_spans(self) -> dict[str, str]:
        return {SPANS_LOCATION: IN_STORE}

    def _new_spans(self) -> list[PulledSpan]:
        """The spans that are not here as they are on the server."""
        entry, recheck = self._session.ledger.pulled(self.trace_id), self._session.options.recheck
        is_whole = entry.ended and self._local is not None and not (recheck or self._changed_here)
        if not self._is_in_store or is_whole:
            return []
        found = self._session.read.trace(self.trace_id)
        if found is None:
            return []  # deleted since it was listed
        with shaped(self._session.client.url, "traces/get", found):
            spans = read_spans(found.get("spans") or [])
        self._remote_spans = {span.head["id"] for span in spans}
        held = {} if self._local is None else {head.span_id: head.end for head in self._local.spans.values()}
        return [span for span in spans if span.state not in held.items()]

    def _pull_files(self, spans: list[PulledSpan]) -> FilesPull:
        """Files that spans name; those with the spans themselves, where an older client keeps these in files."""
        names: dict[str, int] = {} if self._is_in_store else {SPANS_FILE: 0}
        for span in spans:
            names |= dict.fromkeys(_attached(json.dumps(span.content)), 0)
        root = self._session.store.layout.trace_folder(self._experiment).files(self.trace_id)
        held = {path: None for path, _ in attachments(self._session.store, self._local)} if self._local else {}
        if not self._theirs.ended or self._session.options.recheck:
            held.pop(SPANS_FILE, None)

        def listed(folder: str) -> Mapping[str, int]:
            return {} if folder or not self._theirs.uri else names

        files = FilesPull(self._session, Place(f"trace {self.trace_id}", self._theirs.uri, listed, root, _noted))
        files.pull(held)
        return files

    # --- facts ---

    def _facts(self) -> list[Fact]:
        """What is to be added so that the trace here is as on the server, or, changed here, lacks nothing."""
        local, theirs = self._local, self._theirs
        if local is None:
            info = {**theirs.info_fact(), "tags": dict(theirs.tags)}
            return [info, *(self._fact(record) for record in theirs.assessments)]
        facts: list[Fact] = []
        if self._is_other_info(local) and not (self._changed_here and local.final):
            facts.append(theirs.info_fact())
        facts += self._tag_facts(local)
        facts += self._assessment_facts(local)
        return facts

    def _fact(self, record: Mapping[str, Any]) -> Fact:
        return {"type": "assessment", "trace_id": self.trace_id, "assessment": dict(record)}

    def _is_other_info(self, local: Trace) -> bool:
        theirs = self._theirs
        times = (local.request_time, local.duration, local.state)
        given = ((getattr(local, name) or "") != value for name, value in theirs.given.items())
        metadata = local.full_metadata
        others = (metadata.get(key) != value for key, value in theirs.metadata.items())
        ended = theirs.ended and not local.final
        return ended or times != (theirs.request_time, theirs.duration, theirs.state) or any(given) or any(others)

    def _tag_facts(self, local: Trace) -> list[Fact]:
        mine = {key: value for key, value in local.tags.items() if key not in SERVERS_OWN}
        remote = {key: value for key, value in self._theirs.tags.items() if key not in SERVERS_OWN}
        base = UNKNOWN if self._changed_here else mine
        named = {"type": "tag", "trace_id": self.trace_id}
        return [{**named, "key": key, "value": value} for key, value in merge_texts(base, mine, remote, self._conflict)]

    def _conflict(self, key: str) -> None:
        words = "is not the same here and on the server, and was changed here: what is here stands"
        self._session.note(f"tag {key!r} of trace {self.trace_id} {words}")

    def _assessment_facts(self, local: Trace) -> list[Fact]:
        facts: list[Fact] = []
        records = {record["assessment_id"]: record for record in self._theirs.assessments}
        for assessment_id, record in records.items():
            held = local.assessments.get(assessment_id)
            if held is not None and is_same_assessment(held, record):
                continue
            if held is None or not self._changed_here or held.update_time < record["update_time"]:
                facts.append(self._fact(record))
            elif held.update_time == record["update_time"]:
                words = "is not the same here and on the server: what is here stands"
                self._session.note(f"assessment {held.name!r} of trace {self.trace_id} {words}")
        if not self._changed_here:
            gone = local.assessments.keys() - records.keys()
            named = {"type": "assessment_delete", "trace_id": self.trace_id}
            facts += [{**named, "assessment_id": one} for one in sorted(gone)]
        return facts

    # --- the ledger ---

    def _settle(self, files: FilesPull) -> None:
        """Have the ledger say that it is here, and that nothing of it is to be sent back, where that is so."""
        session = self._session
        session.store.traces.sync(self._experiment)
        local = session.store.traces.find(self.trace_id)
        if local is not None and self._has_nothing_more(local):
            mark = fingerprint(local)
            if session.ledger.state.traces.done.get(self.trace_id) != mark:
                session.ledger.trace_sent(self.trace_id, mark)
        entry = session.ledger.pulled(self.trace_id)
        entry.run_id, entry.fingerprint = self.trace_id, trace_fingerprint(self._fields)
        entry.ended = self._theirs.ended
        entry.files = FAILED if files.failed else session.options.artifact_bytes_max if files.left_out else None
        session.ledger.run_pulled(self.trace_id, entry)

    def _has_nothing_more(self, local: Trace) -> bool:
        """Whether the server has all that is here."""
        theirs = self._theirs
        mine = {key: value for key, value in local.tags.items() if key not in SERVERS_OWN}
        records = {record["assessment_id"]: record for record in theirs.assessments}
        same = all(key in records and is_same_assessment(held, records[key]) for key, held in local.assessments.items())
        spans = not self._changed_here or local.spans.keys() <= (self._remote_spans or set())
        return mine.items() <= theirs.tags.items() and same and not self._is_other_info(local) and spans


def _attached(content: str) -> list[str]:
    """The names of the files that a span's content refers to."""
    pieces = content.split(ATTACHED)[1:]
    names = [piece.partition("?")[0].partition('"')[0].partition("\\")[0] for piece in pieces]
    return [name for name in names if 0 < len(name) <= 128 and "/" not in name]


def _noted(stored: Stored) -> None:
    """Files of traces have no facts: they are there, or not."""
