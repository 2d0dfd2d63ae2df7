"""Which experiment of the store a server's experiment is: found by its id or its name, or made with its tags.

One that was renamed, deleted or restored on the server is so here, unless that was changed here as well.
"""

from __future__ import annotations

import shlex
import threading
from typing import TYPE_CHECKING

from mltrack.entities import ACTIVE, DEFAULT_EXPERIMENT_ID, DEFAULT_EXPERIMENT_NAME, DELETED
from mltrack.environment import EXPERIMENT_TAG, ORIGIN_EXPERIMENT_TAG, ORIGIN_TAG
from mltrack.errors import AlreadyExistsError
from mltrack.text.printable import printable
from mltrack_sync.ledger.experiments import ExperimentEntry
from mltrack_sync.mlflow.pull.merging import UNKNOWN, merge

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mltrack.entities import Experiment
    from mltrack_sync.mlflow.api.client import RemoteExperiment
    from mltrack_sync.mlflow.pull.session import PullSession

__all__ = ["Experiments"]

NS_PER_MS = 1_000_000
TIME_MS_MAX = 1 << 43


class Experiments:
    """The server's experiments and what they are here; each is made at most once. Safe to use from many threads."""

    def __init__(self, session: PullSession, known: Iterable[RemoteExperiment] = ()) -> None:
        self._session = session
        self._remote = {one.experiment_id: one for one in known}
        self._local: dict[str, Experiment] = {}
        self._lock = threading.Lock()

    def local(self, remote_id: str) -> Experiment:
        """The experiment here, made if needed, with the tags that it has on the server and not here.

        Raises:
            RemoteRefusedError: the server does not have it.
            UsageError: it has no name that an experiment can have.
        """
        with self._lock:
            if remote_id not in self._local:
                self._local[remote_id] = self._settle(self._remote_one(remote_id))
            return self._local[remote_id]

    def bring(self) -> None:
        """Make those that are not here and not deleted there, also where they have no runs. A dry run counts them.

        Raises:
            UsageError: one has no name that an experiment can have.
        """
        for remote in list(self._remote.values()):
            if remote.deleted or remote.experiment_id == DEFAULT_EXPERIMENT_ID:
                continue
            if not self._session.options.dry_run:
                self.local(remote.experiment_id)
            elif self._find(remote) is None:
                self._session.count(experiments=1)

    def rename(self) -> None:
        """Rename those that were renamed on the server since they were pulled or pushed, and not here.

        Before anything is looked for by its name: another one may have the former name by now.
        """
        known = [(remote, self._known(remote)) for remote in self._remote.values()]
        left = [(remote, *found) for remote, found in known if found is not None and remote.name != found[0].name]
        while left:
            later = [each for each in left if not self._is_renamed(*each)]
            if len(later) == len(left):
                break
            left = later
        for remote, local, _ in left:
            words = f"experiment {printable(local.name)!r} is called {printable(remote.name)!r} on the server"
            self._session.note(f"{words}: another one has that name here, so it keeps its own")

    def _is_renamed(self, remote: RemoteExperiment, local: Experiment, entry: ExperimentEntry) -> bool:
        """Whether nothing is left to do: it was renamed, or keeps its name; not where the new name is not free."""
        session = self._session
        merged = merge(entry.name or UNKNOWN, local.name, remote.name, "")
        if merged.take:
            try:
                session.store.workspace.rename(local.experiment_id, remote.name)
            except AlreadyExistsError:
                return False
            words = f"experiment {printable(local.name)!r} was renamed on the server"
            session.note(f"{words}: it is called {printable(remote.name)!r} here, too")
        elif merged.conflict:
            words = f"experiment {printable(local.name)!r} is called {printable(remote.name)!r} on the server"
            session.note(f"{words}: what is here stands")
        self._note_seen(local.experiment_id, entry._replace(name=remote.name))
        return True

    def settle_stages(self) -> None:
        """Delete and restore those that were deleted or restored on the server, and not here.

        After the runs: one that has runs here which are not deleted stays.
        """
        for remote in self._remote.values():
            found = self._known(remote)
            if found is None or found[0].experiment_id == DEFAULT_EXPERIMENT_ID:
                continue
            local, entry = found
            stage = DELETED if remote.deleted else ACTIVE
            if merge(entry.stage or UNKNOWN, local.lifecycle_stage, stage, ACTIVE).take:
                self._set_stage(local, stage)
            if entry.stage != stage:
                self._note_seen(local.experiment_id, entry._replace(stage=stage))

    def _set_stage(self, local: Experiment, stage: str) -> None:
        session, shown = self._session, f"experiment {printable(local.name)!r}"
        if stage == DELETED and session.store.search_runs(experiment_names=(local.name,), max_results=1):
            session.note(f"{shown} was deleted on the server: it has runs here that are not deleted, so it stays")
            return
        session.store.workspace.set_stage(local.experiment_id, stage)
        if stage == DELETED:
            back = f"mltrack restore --experiment {shlex.quote(local.name)}"
            session.note(f"{shown} was deleted on the server: it is marked as deleted here, too (undo: {back})")
        else:
            session.note(f"{shown} was restored on the server: it is restored here, too")

    def _known(self, remote: RemoteExperiment) -> tuple[Experiment, ExperimentEntry] | None:
        """What it is here by the ledger."""
        experiments = self._session.store.workspace.experiments()
        for local_id, entry in list(self._session.ledger.state.experiments.items()):
            same_one = entry.remote == remote.experiment_id and entry.created in (0, remote.created)
            if same_one and local_id in experiments:
                return experiments[local_id], entry
        return None

    def _note_seen(self, local_id: str, entry: ExperimentEntry) -> None:
        if self._session.ledger.state.experiments.get(local_id) != entry:
            self._session.ledger.experiment(local_id, entry)

    def _remote_one(self, remote_id: str) -> RemoteExperiment:
        found = self._remote.get(remote_id)
        if found is None:
            found = self._remote[remote_id] = self._session.client.experiment_by_id(remote_id)
        return found

    def _settle(self, remote: RemoteExperiment) -> Experiment:
        ledger, workspace = self._session.ledger, self._session.store.workspace
        tags = {key: value for key, value in remote.tags.items() if key != EXPERIMENT_TAG}
        local = self._find(remote)
        if local is None:
            local = self._make(remote, tags)
            self._session.count(experiments=1)
        known = ledger.state.experiments.get(local.experiment_id)
        removed = workspace.removed_tags().get(local.experiment_id, frozenset())
        waiting = removed if known is None else removed & known.tags.keys()  # the next push removes them there
        taken = {key: tags[key] for key in tags.keys() - local.tags.keys() - waiting}
        for key, value in taken.items():
            local = workspace.set_tag(local.experiment_id, key, value)
        if known is None or known.remote != remote.experiment_id:
            name, stage = (remote.name if local.name == remote.name else ""), local.lifecycle_stage
            entry = ExperimentEntry(remote.experiment_id, dict(remote.tags), remote.created, name, stage)
            ledger.experiment(local.experiment_id, entry)
        elif taken:  # else the next push would send them back, over what they may be there by then
            ledger.experiment(local.experiment_id, known._replace(tags={**known.tags, **taken}))
        return local

    def _find(self, remote: RemoteExperiment) -> Experiment | None:
        workspace = self._session.store.workspace
        if remote.name == DEFAULT_EXPERIMENT_NAME and remote.experiment_id == DEFAULT_EXPERIMENT_ID:
            return workspace.get(DEFAULT_EXPERIMENT_ID)
        known = self._known(remote)
        if known is not None:
            return known[0]
        own = workspace.experiments().get(remote.tags.get(EXPERIMENT_TAG, ""))
        return own or workspace.by_name(remote.name)

    def _make(self, remote: RemoteExperiment, tags: dict[str, str]) -> Experiment:
        session = self._session
        created = remote.created * NS_PER_MS if 0 < remote.created < TIME_MS_MAX else 0
        experiment_id = session.origin.experiment_id(remote.name, remote.tags)
        workspace = session.store.workspace
        if EXPERIMENT_TAG not in remote.tags:
            tags = {ORIGIN_TAG: session.origin.url, ORIGIN_EXPERIMENT_TAG: remote.experiment_id, **tags}
        try:
            made = workspace.create(remote.name, tags, experiment_id=experiment_id, created=created)
        except AlreadyExistsError:
            if workspace.by_name(remote.name) is not None:  # another process was faster
                return workspace.get_or_create(remote.name)
            made = workspace.create(remote.name, tags, created=created)  # another one has that id
        return workspace.set_stage(made.experiment_id, DELETED) if remote.deleted else made
