"""The traces of selected experiments: listed, those that are new or changed brought, then their links to runs."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING

from mltrack_sync.errors import NotMlflowError, RemoteRefusedError
from mltrack_sync.http.shapes import shaped
from mltrack_sync.mlflow.api.capabilities import TRACES, UnsupportedFeatureError
from mltrack_sync.mlflow.plan.kinds import TRACE
from mltrack_sync.mlflow.plan.pending_traces import SOURCE_RUN, fingerprint
from mltrack_sync.mlflow.pull.trace_infos import trace_fingerprint, trace_id_of
from mltrack_sync.mlflow.pull.traces import TracePull
from mltrack_sync.mlflow.workers import JobRunner, WorkerPool

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mltrack_sync.http.shapes import Fields
    from mltrack_sync.mlflow.pull.experiments import Experiments
    from mltrack_sync.mlflow.pull.run_ids import RunIds
    from mltrack_sync.mlflow.pull.session import PullSession

__all__ = ["TracesPull"]

LINKS = "traces of "
"""With a run's id, how the ledger names that its links to traces were read; and as of which state of the run."""


class TracesPull:
    """Brings the traces of experiments, which are named by their ids on the server."""

    def __init__(
        self, session: PullSession, ids: RunIds, experiments: Experiments, experiment_ids: Sequence[str]
    ) -> None:
        self._session = session
        self._ids = ids
        self._experiments = experiments
        self._experiment_ids = experiment_ids
        self._changed = self._changed_here()

    def pull(self) -> None:
        """Bring what is new.

        Raises:
            RemoteError: see mltrack_sync.errors.
        """
        for experiment_id in self._experiment_ids:
            count = 0
            try:
                for page in self._pages(experiment_id):
                    count += len(page)
                    self._pull_page(page)
            except UnsupportedFeatureError:
                return
            if count and not self._session.options.dry_run:
                self._pull_links(experiment_id)
        if not self._session.options.dry_run:
            self._session.store.traces.close()

    def _changed_here(self) -> frozenset[str]:
        """Traces that were changed here since the server had them as they were, as far as the ledger knows."""
        store, known = self._session.store, self._session.ledger.state.traces
        done = dict(known.done)
        later = store.traces.find_some(store.traces.changes(dict(known.positions)).trace_ids)
        return frozenset(trace.trace_id for trace in later if done.get(trace.trace_id) != fingerprint(trace))

    def _pages(self, experiment_id: str) -> Iterator[Sequence[Fields]]:
        """Pages of infos, in the third version; an older server gives those of the second."""
        session = self._session
        pages, is_old = session.read.search_traces(experiment_id), False
        while True:
            session.check()
            try:
                with session.features.needing(TRACES) if is_old else contextlib.nullcontext():
                    page = next(pages, None)
            except (RemoteRefusedError, NotMlflowError) as error:
                if is_old or not error.unknown_call:
                    raise
                pages, is_old = session.read.search_traces_2(experiment_id), True
                continue
            if page is None:
                return
            yield page

    def _pull_page(self, page: Sequence[Fields]) -> None:
        session = self._session
        new: dict[str, Fields] = {}
        for fields in page:
            with shaped(session.client.url, "traces/search", fields):
                trace_id = trace_id_of(fields)
            if self._is_new(trace_id, fields):
                new[trace_id] = fields
        if session.options.dry_run:
            session.count(traces=len(new))
            return
        jobs = ((trace_id, partial(self._pull_trace, trace_id, fields)) for trace_id, fields in new.items())
        WorkerPool(JobRunner(session, TRACE, reject_not_mlflow=True), session.options.jobs).run(jobs)
        session.check()

    def _is_new(self, trace_id: str, fields: Fields) -> bool:
        session = self._session
        entry = session.ledger.state.pulled.get(trace_id)
        if entry is None or not entry.fingerprint:
            return True
        if session.store.traces.find(trace_id) is None:
            return False  # deleted here since: it stays deleted
        most = session.options.artifact_bytes_max
        files_wanted = entry.files is not None and (most is None or most > entry.files)
        return session.options.recheck or files_wanted or entry.fingerprint != trace_fingerprint(fields)

    def _pull_trace(self, trace_id: str, fields: Fields) -> None:
        changed = trace_id in self._changed
        TracePull(self._session, self._ids, self._experiments, fields, changed_here=changed).pull()

    # --- links ---

    def _pull_links(self, experiment_id: str) -> None:
        """Links of runs that changed since their links were read: the server tells them only run by run."""
        session = self._session
        jobs = []
        for remote_id, mark in session.selected_runs.items():
            entry = session.ledger.pulled(LINKS + remote_id)
            if session.run_experiments[remote_id] == experiment_id and (
                entry.fingerprint != mark or session.options.recheck
            ):
                jobs.append((remote_id, partial(self._link_run, experiment_id, remote_id, mark)))
        WorkerPool(JobRunner(session, TRACE, reject_not_mlflow=True), session.options.jobs).run(jobs)
        session.check()

    def _link_run(self, experiment_id: str, remote_id: str, mark: str) -> None:
        session, run_id = self._session, self._ids.of(remote_id)
        for page in session.read.traces_of_run(experiment_id, remote_id):
            session.check()
            for fields in page:
                with shaped(session.client.url, "traces/search", fields):
                    self._link(trace_id_of(fields), run_id)
        entry = session.ledger.pulled(LINKS + remote_id)
        entry.run_id, entry.fingerprint = run_id, mark
        session.ledger.run_pulled(LINKS + remote_id, entry)

    def _link(self, trace_id: str, run_id: str) -> None:
        """Link a trace that is here, unless its metadata say so already."""
        session, trace = self._session, self._session.store.traces.find(trace_id)
        if trace is None or run_id in trace.run_ids or trace.metadata.get(SOURCE_RUN) == run_id:
            return
        known = session.ledger.state.traces.done.get(trace_id) == fingerprint(trace)
        fact = {"type": "run", "trace_id": trace_id, "run_id": run_id, "linked": True}
        session.store.traces.add(trace.experiment_id, fact)
        session.store.traces.sync(trace.experiment_id)
        linked = session.store.traces.find(trace_id)
        if known and linked is not None:
            session.ledger.trace_sent(trace_id, fingerprint(linked))
