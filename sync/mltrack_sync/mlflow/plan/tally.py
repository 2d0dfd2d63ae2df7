"""How much is pending, counted as a push would report it, with no request made."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING

from mltrack.entities import DELETED
from mltrack.environment import PARENT_TAG
from mltrack.errors import NotFoundError
from mltrack_sync.ledger.ledger import RunEntry
from mltrack_sync.ledger.models import LoggedEntry
from mltrack_sync.mlflow.api.capabilities import DATASETS, LOGGED_MODELS
from mltrack_sync.mlflow.plan.batches import Refusal
from mltrack_sync.mlflow.plan.fallback import has_files_for_run
from mltrack_sync.mlflow.plan.kinds import MODEL, TRACE
from mltrack_sync.mlflow.plan.pending_models import files_for_run, find_pending_logged_model
from mltrack_sync.mlflow.plan.pending_run import find_pending_links
from mltrack_sync.mlflow.plan.pending_traces import attachments, split_tags
from mltrack_sync.mlflow.plan.version_sources import Sources
from mltrack_sync.report import Rejected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mltrack.entities import Artifact, ModelVersion
    from mltrack.errors import CorruptionError
    from mltrack.storage.runs.stored_run import StoredRun
    from mltrack_sync.ledger.view import LedgerView
    from mltrack_sync.limits import Limits
    from mltrack_sync.mlflow.plan.pending import Pending, Scope
    from mltrack_sync.mlflow.plan.pending_run import PendingRun

__all__ = ["Tally"]


class Tally:
    """Goes through the stages of a push of what is pending, and counts.

    ``counts`` has the names of a report's numbers; ``points`` are all that the ledger lacks: only a push finds out
    which of them the remote has already or which equal others. ``rejected`` is what would be rejected then, by run,
    kind and key, ``problems`` what would have to wait, ``unreadable`` says what is wrong with runs that can't be read.
    """

    def __init__(self, scope: Scope, pending: Pending, state: LedgerView, limits: Limits) -> None:
        """``pending`` is all that is pending of the scope."""
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []
        self.unreadable: list[str] = []
        self.rejected = dict(state.rejected)
        self._scope = scope
        self._store = scope.store
        self._state = state
        self._limits = limits
        self._unsupported = limits.unsupported
        self._everything = pending
        self._pending = pending.without(limits.unsupported)
        self._runs: dict[str, tuple[Artifact, ...]] = {}  # runs that the push creates or has, with their files
        self._models: dict[str, tuple[Artifact, ...]] = {}
        self._models_in_runs: list[str] = []

    def count(self, on_run: Callable[[StoredRun, PendingRun], None]) -> None:
        """Count all of it; ``on_run`` is called for each run. Called once.

        Raises:
            StoreError: the store can't be read.
        """
        self.counts["experiments"] += sum(key not in self._state.experiments for key in self._pending.experiments)
        self._count_runs(on_run)
        self._count_links()
        self._count_logged_models()
        if LOGGED_MODELS in self._unsupported:
            self._count_models_in_runs()
        self._count_registry()
        self._count_traces()
        self.counts["evaluation_items"] += len(self._pending.tables)

    def reject_all(self, refusals: Iterable[Refusal], run_id: str = "") -> None:
        """Note what would be rejected, if it is not already."""
        for refusal in refusals:
            self.rejected.setdefault((run_id, refusal.kind, refusal.key), Rejected(run_id, *refusal))

    # --- runs ---

    def _count_runs(self, on_run: Callable[[StoredRun, PendingRun], None]) -> None:
        parents: dict[str, None] = {}
        for run, one in self._scope.each_run(self._state, self._limits, self._pending.runs, self._note_unreadable):
            if one is not None:
                on_run(run, one)
                self._count_run(one)
            if one is None or one.stage == DELETED:  # its rejections no longer count
                self.rejected = {key: item for key, item in self.rejected.items() if item.run_id != run.run_id}
            elif PARENT_TAG in run.tags:
                parents[run.tags[PARENT_TAG]] = None
        for run_id in parents:
            self._count_named(run_id)

    def _count_run(self, one: PendingRun) -> None:
        self.counts["runs"] += 1
        if one.stage == DELETED:
            return
        self._runs[one.run_id] = one.files
        self.reject_all(one.facts.refused, one.run_id)
        for kind, pairs in (("param", one.facts.params), ("tag", one.facts.tags)):
            for key, _ in pairs:
                self.rejected.pop((one.run_id, kind, key), None)
        self.counts.update(
            created=int(one.is_new),
            params=len(one.facts.params),
            tags=len(one.facts.tags),
            points=one.points,
            in_doubt=one.points_in_doubt,
            datasets=len(one.links.datasets) if DATASETS not in self._unsupported else 0,
        )
        self._count_files(one.files)
        if one.copy is not None:
            self.counts.update(artifacts=len(one.copy.parts) + 1, artifact_bytes=one.copy.size)

    def _count_named(self, run_id: str) -> None:
        """Count a run that is not selected but created because something else refers to it."""
        entry = self._state.runs.get(run_id) or RunEntry()
        if run_id in self._runs or entry.remote_id:
            return
        try:
            run = self._store.run(run_id)
        except NotFoundError:
            return
        if run.info.lifecycle_stage == DELETED:
            return
        self._runs[run_id] = ()
        self.counts.update(created=1, tags=len(run.tags))
        if PARENT_TAG in run.tags:
            self._count_named(run.tags[PARENT_TAG])

    def _note_unreadable(self, run_id: str, error: CorruptionError) -> None:
        self.unreadable.append(str(error))
        self.problems.append(f"run {run_id}: {error}")

    def _count_links(self) -> None:
        """Datasets of runs that waited for the remote to take some, and of which nothing else is pending."""
        for run_id in self._pending.links.keys() - self._runs.keys():
            try:
                run = self._store.run(run_id)
            except NotFoundError:
                continue
            rejected = [item for item in self._state.rejected.values() if item.run_id == run_id]
            links = find_pending_links(run, self._state.runs[run_id], () if self._scope.retry else rejected)
            self.counts["datasets"] += len(links.datasets) if DATASETS not in self._unsupported else 0

    # --- models ---

    def _count_logged_models(self) -> None:
        for model_id in self._pending.logged_models.ids:
            try:
                model = self._store.logged_models.get(model_id)
            except NotFoundError:
                continue
            self.counts["logged_models"] += 1
            if model.lifecycle_stage == DELETED:
                continue
            entry = self._state.logged.get(model_id) or LoggedEntry()
            if not entry.remote_id and model.source_run_id:
                self._count_named(model.source_run_id)
            files = find_pending_logged_model(model, entry, self._state, retry=self._scope.retry).files
            self._models[model_id] = files
            self._count_files(files)

    def _count_models_in_runs(self) -> None:
        """Files of logged models that go to their runs, on a remote without logged models."""
        for model_id in self._everything.logged_models.ids:
            try:
                model = self._store.logged_models.get(model_id)
            except NotFoundError:
                continue
            run = self._state.runs.get(str(model.source_run_id))
            is_on_remote = run is not None and run.remote_id and run.stage != DELETED
            if has_files_for_run(model) and (is_on_remote or model.source_run_id in self._runs):
                files = files_for_run(model, self._state, retry=self._scope.retry)
                self._count_files(files)
                if len(files) == len(files_for_run(model, self._state, retry=True)):
                    self._models_in_runs.append(model_id)

    def _count_registry(self) -> None:
        new: list[ModelVersion] = []
        for model in self._pending.registry:
            refusal = self._limits.refuse_model(model.model.name)
            if refusal is not None:
                self.reject_all([Refusal(MODEL, model.model.name, refusal)])
                continue
            self.counts["models"] += model.is_new
            new += model.new
        waiting = self._waiting(new)
        self.problems += [f"model {name!r} version {number} waits: {why}" for (name, number), why in waiting.items()]
        self.counts["model_versions"] += len(new) - len(waiting)

    def _waiting(self, new: list[ModelVersion]) -> dict[tuple[str, int], str]:
        """The versions, by model and number, that wait for something that is not sent either, and for what."""
        waiting: dict[tuple[str, int], str] = {}
        while True:  # versions made of one that waits must wait, too
            versions = {(version.name, version.version) for version in new} - waiting.keys()
            sources = Sources(
                self._store,
                self._state,
                self._unsupported,
                runs=self._runs,
                models=self._models,
                models_in_runs=self._models_in_runs,
                versions=versions,
            )
            found = {(version.name, version.version): sources.why_it_waits(version) for version in new}
            found = {key: why for key, why in found.items() if why}
            if found.keys() == waiting.keys():
                return found
            waiting = found

    # --- traces ---

    def _count_traces(self) -> None:
        for trace in self._pending.traces.traces:
            self.counts["traces"] += 1
            for run_id in trace.run_ids:
                self._count_named(run_id)
            self.reject_all(split_tags(trace.trace_id, trace.tags, self._limits)[1])
            self.rejected.pop(("", TRACE, trace.trace_id), None)
            for _, path in attachments(self._store, trace):
                self.counts.update(artifacts=1, artifact_bytes=os.stat(path).st_size)

    def _count_files(self, files: tuple[Artifact, ...]) -> None:
        self.counts.update(artifacts=len(files), artifact_bytes=sum(file.size for file in files))
