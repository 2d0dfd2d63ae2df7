"""One run of the server brought into the store: facts, histories, files, then its end."""

from __future__ import annotations

import copy
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mltrack.disk.absent import read_absent, write_absent
from mltrack.disk.filesystem import LOCAL
from mltrack.entities import ACTIVE, DELETED
from mltrack.environment import RUN_ID_TAG
from mltrack.errors import StoreError
from mltrack.storage.runs.imported import RunImport
from mltrack.storage.runs.stand_ins import replace_stand_ins
from mltrack.text.printable import printable
from mltrack_sync.ledger.pulled import FAILED
from mltrack_sync.mlflow.plan.batches import NS_PER_MS
from mltrack_sync.mlflow.plan.reconcile import point_rows
from mltrack_sync.mlflow.pull.facts import (
    ENDED,
    fingerprint,
    new_ending,
    new_facts,
    new_stage,
    start_event,
    wanted_tags,
)
from mltrack_sync.mlflow.pull.files import FilesPull, Place
from mltrack_sync.mlflow.pull.histories import Histories, Wanted
from mltrack_sync.mlflow.pull.local_run import Latest, LocalRun
from mltrack_sync.mlflow.pull.run_links import links_of, new_links
from mltrack_sync.mlflow.pull.whole_run import bring_whole_run, find_whole_run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mltrack.disk.artifact_files import Stored
    from mltrack_sync.ledger.runs import RunEntry
    from mltrack_sync.mlflow.api.client import RemoteRun
    from mltrack_sync.mlflow.pull.experiments import Experiments
    from mltrack_sync.mlflow.pull.local_run import LocalMetric
    from mltrack_sync.mlflow.pull.run_ids import RunIds
    from mltrack_sync.mlflow.pull.session import PullSession
    from mltrack_sync.mlflow.pull.spools import RowSpool

__all__ = ["RunPull", "is_unchanged"]

LATELY_MS = 24 * 3600 * 1000


def is_unchanged(session: PullSession, remote: RemoteRun, run_id: str) -> bool:
    """Whether all of the run was brought, it looks the same since, and the store still has it.

    A run that goes on, or ended lately, may have new files though it looks the same: it counts as changed, but for a
    dry run.
    """
    entry, options = session.ledger.state.pulled.get(remote.run_id), session.options
    if entry is None or entry.run_id != run_id or entry.fingerprint != fingerprint(remote) or options.recheck:
        return False
    if not (entry.ended or options.dry_run):
        return False
    if not options.dry_run and _ended_lately(remote, options.clock()) and session.may_list_again():
        return False
    most = session.options.artifact_bytes_max
    if entry.files is not None and (most is None or most > entry.files):
        return False
    return session.store.layout.run(run_id).events.is_dir()


def _ended_lately(remote: RemoteRun, now: int) -> bool:
    """Whether it ended so little ago that programs may still add files to it, which does not show in a listing."""
    return remote.end_time is not None and abs(now // NS_PER_MS - remote.end_time) < LATELY_MS


class RunPull:
    """Brings one run. Used once, by one thread.

    The ledger says which run of the server it is before the store has anything of it, so that a sync with that server
    never makes it a second time; and that nothing of it is to be sent back once all is here.
    """

    def __init__(self, session: PullSession, ids: RunIds, experiments: Experiments, remote: RemoteRun) -> None:
        self._session = session
        self._ids = ids
        self._experiments = experiments
        self._remote = remote
        self._whole = find_whole_run(session, remote, ids.local(remote))
        self._rebuilt = self._whole is not None and bring_whole_run(session, remote, self._whole)
        self._local = LocalRun(session.store, ids.local(remote))
        if self._local.has_stand_ins and self._local.is_own:
            replace_stand_ins(session.store.layout, self._local.run_id)
            self._local = LocalRun(session.store, ids.local(remote))
        self._head = self._local.run.head() if self._local.run is not None else None
        self._entry = session.ledger.pulled(remote.run_id)
        known = session.ledger.run(self._local.run_id)
        self._known_before = self._head is not None and known.is_settled_at(self._head)
        self._links = links_of(session.client.url, remote, ids)

    def pull(self) -> None:
        """Bring what is new.

        Raises:
            RemoteError: see mltrack_sync.errors.
            StoreError, UsageError, CorruptionError: it can't be stored, or what is stored of it can't be read.
        """
        session, remote, local = self._session, self._remote, self._local
        self._know_remote()
        origin, store = session.origin, session.store
        after, stand_in = local.last_time, self._stands_in
        writer = RunImport(store.layout, local.run_id, origin.url, not_before=after, stand_in=stand_in)
        histories = Histories(session, remote.run_id, writer)
        files = FilesPull(session, self._place(writer), self._compared())
        whole = False
        try:
            self._add_facts(writer)
            if self._whole is None and not self._looks_the_same:
                histories.pull(self._wanted(local.metrics()))
            absent = {} if local.run is None else read_absent(local.run.folder.path)
            stored = {path: None if file.own else file.size for path, file in local.files.items() if path not in absent}
            files.pull(stored)
            if absent and local.run is not None:
                left = [file for path, file in absent.items() if path not in files.brought]
                write_absent(local.run.folder.path, left, absent, fs=LOCAL)
            last = [event for event in (new_ending(remote, local), self._new_stage()) if event is not None]
            writer.add(*last)
            whole = True
        finally:
            writer.close(whole=whole)
        if writer.began and not self._rebuilt:
            session.count(runs=1, created=int(not local.exists))
        self._settle(histories, files)

    @property
    def _stands_in(self) -> bool:
        """Whether the run's own writers are elsewhere: mltrack pushed it, and nothing of them is here."""
        pushed = self._remote.tags.get(RUN_ID_TAG) == self._local.run_id
        return pushed and self._whole is None and not self._local.is_own

    @property
    def _looks_the_same(self) -> bool:
        """Whether the server lists it as it was when all of it was brought: then its histories are not read."""
        return self._entry.fingerprint == fingerprint(self._remote) and not self._session.options.recheck

    def _place(self, writer: RunImport) -> Place:
        remote, client = self._remote, self._session.client
        hidden = self._whole.folder if self._whole is not None else ""

        def note(stored: Stored) -> None:
            known = self._local.files.get(stored.path)
            if known is None or known.sha256 != stored.sha256:
                writer.add({"type": "artifact", "path": stored.path, "size": stored.size, "sha256": stored.sha256})

        def listed(folder: str) -> dict[str, int]:
            found = client.list_artifacts(remote.run_id, folder)
            return {path: size for path, size in found.items() if not hidden or path != hidden}

        return Place(f"run {remote.run_id}", remote.artifact_uri, listed, writer.folder.artifacts, note)

    def _compared(self) -> dict[str, str]:
        """The files whose content is compared, with their SHA-256: those that came, where all is looked at again."""
        if not self._session.options.recheck:
            return {}
        return {path: file.sha256 for path, file in self._local.files.items() if not file.own}

    def _know_remote(self) -> None:
        """Have the ledger say which run of the server it is; whatever else it may hold is in doubt."""
        ledger, remote = self._session.ledger, self._remote
        if ledger.run(self._local.run_id).remote_id != remote.run_id:
            ledger.created(self._local.run_id, remote.run_id, remote.experiment_id, remote.artifact_uri, adopted=True)

    def _add_facts(self, writer: RunImport) -> None:
        remote, local = self._remote, self._local
        events: list[dict[str, Any]] = []
        if not local.exists:
            events = [start_event(remote, self._experiments.local(remote.experiment_id))]
            events.append({"type": "status", "status": "RUNNING"})  # until all of it is here
        tags = wanted_tags(remote, local, self._session.origin.url, self._ids.mapped_tags(remote))
        writer.add(*events, *new_facts(remote, local, tags), *new_links(self._links, local))
        if not local.exists:
            writer.sync_start()

    def _new_stage(self) -> dict[str, Any] | None:
        """That it was deleted or restored there; what is newer here is not deleted, and the next sync restores it."""
        remote, local, session = self._remote, self._local, self._session
        event = new_stage(remote, local)
        if event is None or not local.exists:
            return event
        shown = f"run {local.run_id} ({printable(remote.name)})"
        if event["stage"] == ACTIVE:
            what, words = (
                "runs that were restored on the server",
                "was restored on the server: it is restored here, too",
            )
        elif self._has_newer:
            what = "runs that were deleted on the server and changed here since"
            words = "was deleted on the server, and changed here since: it stays, and the next sync restores it there"
            event = None
        else:
            what, undo = "runs that were deleted on the server", f"mltrack restore {local.run_id}"
            words = f"was deleted on the server: it is marked as deleted here, too (undo: {undo})"
        session.note_some(what, f"{shown} {words}")
        return event

    @property
    def _has_newer(self) -> bool:
        """Whether there is something here that the server did not have before this pull."""
        local, head = self._local, self._head
        if local.run is None or head is None:
            return False
        came = {name for name, origin in local.origins.items() if origin == self._session.origin.url}
        return not (self._known_before or {writer.writer for writer in local.run.writers()} <= came)

    def _wanted(self, stored: dict[str, LocalMetric]) -> Iterator[Wanted]:
        """The metrics that have something new on the server."""
        local, remote, entry = self._local, self._remote, self._entry
        damage = local.run.damage if local.run is not None else []
        if damage:
            raise StoreError(f"run {local.run_id} is damaged here: {damage[0]}", hint="see: mltrack check")
        all_of_them = self._session.options.recheck or (remote.status in ENDED and not entry.ended)
        for key in sorted(remote.latest):
            mine, latest = stored.get(key), self._latest(key)
            rows = partial(self._rows, key, mine.count if mine is not None else 0)
            if mine is None:
                yield Wanted(key, rows)
            elif mine.own:
                if latest[:2] > mine.latest[:2] or self._session.options.recheck:
                    yield Wanted(key, rows, compare=True)
            elif latest != mine.latest or all_of_them:
                yield Wanted(key, rows, entry.pages.get(key, (0, "")))

    def _latest(self, key: str) -> Latest:
        step, time = self._remote.latest[key]
        value = np.array([self._remote.values[key]], np.float64)
        row = point_rows(np.array([step], np.int64), np.array([time], np.int64), value)[0]
        return Latest(step, time, int(row["value"]))

    def _rows(self, key: str, count: int) -> RowSpool:
        return LocalRun(self._session.store, self._local.run_id).rows(key, count)

    # --- the ledger ---

    def _settle(self, histories: Histories, files: FilesPull) -> None:
        """Have the ledger say that all of it is here, and that nothing that came is to be sent back."""
        remote, entry = self._remote, self._entry
        entry.run_id = self._local.run_id
        entry.pages |= histories.pages
        entry.fingerprint, entry.ended = fingerprint(remote), remote.status in ENDED
        entry.files = FAILED if files.failed else files.bound
        self._session.ledger.run_pulled(remote.run_id, entry, self._sent())

    def _sent(self) -> RunEntry:
        """What the server has of the run: what came from remote, and what the ledger knew before."""
        local = LocalRun(self._session.store, self._local.run_id)
        assert local.run is not None
        remote, info, head = self._remote, local.run.info, local.run.head()
        known = self._session.ledger.run(local.run_id)
        sent = copy.deepcopy(known)
        sent.remote_id, sent.experiment_id, sent.artifact_uri = remote.run_id, remote.experiment_id, remote.artifact_uri
        sent.stage = DELETED if remote.deleted else ACTIVE
        if not local.own_ending:
            sent.ended = [info.status, info.end_time, info.run_name, info.crashed]
        sent.linked = list(dict.fromkeys([*sent.linked, *(link.name for link in self._links)]))
        mine = {name for name, origin in local.origins.items() if origin == self._session.origin.url}
        if self._whole is not None:  # the server has all that its manifest names, though not as points
            mine |= self._whole.writers
        positions = {each.writer: each.position for each in local.run.writers()}
        for name in mine & positions.keys():
            sent.events[name], sent.points[name] = positions[name]
        if not local.is_own:
            sent.doubt, sent.doubt_all = {}, self._stands_in  # its own writers may come: the server has their points
        sent.artifacts |= {path: file.sha256 for path, file in local.files.items() if file.writer in mine}
        if positions.keys() == mine or self._known_before:
            sent.settled = [head.events, head.points, head.live]
        return sent
