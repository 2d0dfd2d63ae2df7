"""One run of the source brought into the store: facts, points, values, files, then its end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mltrack.entities import ACTIVE, DELETED, RUN_STATUSES
from mltrack.environment import IMAGES_TAG, ORIGIN_RUN_TAG, ORIGIN_TAG, PARENT_TAG, RUN_ID_TAG
from mltrack.importers.batches import rebatched
from mltrack.importers.files import FileImport
from mltrack.importers.points import NewPoints, timed
from mltrack.importers.source import SourceError
from mltrack.importers.values import ValueImport
from mltrack.journal.rich_series import SERIES_FOLDER
from mltrack.storage.runs.imported import RunImport
from mltrack.storage.runs.local_facts import LocalFacts
from mltrack.values.datasets import dataset_event, model_input_event, model_output_event

if TYPE_CHECKING:
    from mltrack.disk.artifact_files import Stored
    from mltrack.importers.session import Session
    from mltrack.importers.source import SourceRun

__all__ = ["RunBringer", "source_links", "source_tags"]

FIRST_STANDS = (ORIGIN_TAG, ORIGIN_RUN_TAG, IMAGES_TAG)
"""Tags that are set here and stay: where a run came from first, and that it has images."""

Event = dict[str, Any]


def source_tags(session: Session, run: SourceRun, run_id: str) -> dict[str, str]:
    """The tags that the run is to have here, where another program recorded it."""
    tags = {key: value for key, value in run.tags.items() if key != RUN_ID_TAG}
    if tags.get(PARENT_TAG):
        tags[PARENT_TAG] = session.run_id_of(tags[PARENT_TAG], run.space)
    if run.tags.get(RUN_ID_TAG) == run_id:
        return tags
    return {ORIGIN_TAG: session.origin, ORIGIN_RUN_TAG: run.source_id, **tags}


def source_links(session: Session, run: SourceRun) -> Iterator[tuple[tuple[str, ...], Event]]:
    """What links the run to datasets and logged models: a name, and the event that says it."""
    for used in run.datasets:
        dataset = used.dataset
        yield ("dataset", dataset.name, dataset.digest), dataset_event(dataset, used.tags)
    for model in run.model_inputs:
        model_id = session.model_id(model)
        yield ("model_input", model_id), model_input_event(model_id)
    for output in run.model_outputs:
        model_id = session.model_id(output.model_id)
        yield ("model_output", model_id), model_output_event(model_id, output.step)


def local_links(local: LocalFacts) -> set[tuple[str, ...]]:
    """The names of those that the run has here."""
    if local.run is None:
        return set()
    found: set[tuple[str, ...]] = {("dataset", used.dataset.name, used.dataset.digest) for used in local.run.datasets}
    found |= {("model_input", model_id) for model_id in local.run.model_inputs}
    return found | {("model_output", output.model_id) for output in local.run.model_outputs}


class RunBringer:
    """Brings one run. Used once.

    Its status is RUNNING until all of it is here. Killed anywhere, what is stored is valid, and the next import goes on
    after it.
    """

    def __init__(self, session: Session, run: SourceRun) -> None:
        """See what the store has of it.

        Raises:
            StoreError, CorruptionError: that can't be read.
        """
        self._session = session
        run_id = session.run_id(run)
        self._local = LocalFacts(run_id, session.stored(run_id), session.kind)
        self._run = timed(run, self._local)
        self._writer = RunImport(session.store.layout, run_id, session.origin, not_before=self._local.last_time)
        self._is_changed = False

    def bring(self) -> None:
        """Bring what is new. What can't be read is named, and the rest is brought.

        Raises:
            StoreError, UsageError, CorruptionError: it can't be stored, or what is stored of it can't be read.
        """
        session, run, local = self._session, self._run, self._local
        if run.status not in RUN_STATUSES:
            raise SourceError(f"its status is {run.status[:100]!r}, which no run can have")
        whole = False
        try:
            self._bring_facts()
            self._bring_points()
            before = session.counts["values"]
            ValueImport(session, local, self._writer).bring(run)
            self._is_changed |= session.counts["values"] > before
            self._bring_files()
            stage = local.new_stage(DELETED if run.deleted else ACTIVE)
            ending = local.new_ending(run.status, self._end_time())
            self._add(*(event for event in (ending, stage) if event is not None))
            whole = True
        finally:
            self._writer.close(whole=whole)
        if (self._writer.folder.path / SERIES_FOLDER).is_dir() and not session.options.dry_run:
            session.store.finish_series(local.run_id)
        session.counts["created"] += not local.exists
        session.counts["runs" if self._is_changed else "unchanged"] += 1

    def _end_time(self) -> int | None:
        """When it ended: as the store says, where the source can only guess."""
        ending = self._local.ending
        is_kept = self._run.guessed_times and ending is not None and ending[1] is not None
        return ending[1] if is_kept and ending is not None else self._run.end_time

    def _add(self, *events: Event) -> None:
        self._is_changed |= bool(events)
        if not self._session.options.dry_run:
            self._writer.add(*events)

    def _bring_facts(self) -> None:
        session, run, local = self._session, self._run, self._local
        events: list[Event] = []
        experiment = session.experiment(run.experiment)
        if not local.exists:
            start = {
                "type": "start",
                "run_name": run.name,
                "experiment_id": experiment.experiment_id,
                "experiment_name": experiment.name,
                "start_time": run.start_time,
                "user_id": run.user,
            }
            events = [start, {"type": "status", "status": "RUNNING"}]
        known = local_links(local)
        links = (event for name, event in source_links(session, run) if name not in known)
        tags = source_tags(session, run, local.run_id)
        self._add(*events, *local.new_params(run.params), *local.new_tags(tags, FIRST_STANDS), *links)
        if not local.exists and not session.options.dry_run:
            self._writer.sync_start()

    def _bring_points(self) -> None:
        session, run = self._session, self._run
        new = NewPoints(run, self._local, session.findings)
        before = session.counts["points_read"]
        with session.naming(run.where):
            for points in rebatched(new.find()):
                self._is_changed = True
                session.counts["points"] += len(points)
                if not session.options.dry_run:
                    self._writer.log_rows(points.keys, points.codes, points.values, points.steps, points.times)
                session.counts["points_read"] = before + new.read
                session.options.progress(session.counts["runs_read"], before + new.read)
        session.counts["points_read"] = before + new.read

    def _bring_files(self) -> None:
        session, local, writer = self._session, self._local, self._writer

        def known(name: str) -> tuple[int, str] | None:
            file = local.files.get(name)
            return None if file is None else (file.size, "" if file.own or file.removed else file.sha256)

        def note(stored: Stored) -> None:
            writer.add({"type": "artifact", "path": stored.path, "size": stored.size, "sha256": stored.sha256})

        bringer = FileImport(session, self._run.where)
        with session.naming(self._run.where):
            for _ in bringer.bring(self._run.files(), writer.folder.artifacts, known, note):
                self._is_changed = True
                if not session.options.dry_run:
                    writer.begin()
                    writer.sync_start()
