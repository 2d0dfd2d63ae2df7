"""The ids of runs and experiments on the remote: found, or created once."""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import TYPE_CHECKING

from mltrack.disk.layout import is_run_id
from mltrack.entities import DELETED
from mltrack.environment import ORIGIN_RUN_TAG, PARENT_TAG, RUN_ID_TAG
from mltrack.errors import NotFoundError
from mltrack_sync.errors import RemoteRefusedError, RemoteUnavailableError
from mltrack_sync.mlflow.plan.id_mapping import map_tags
from mltrack_sync.mlflow.push.experiment_ids import ExperimentIdentities
from mltrack_sync.mlflow.push.model_ids import LoggedIdentities

if TYPE_CHECKING:
    from mltrack.storage.runs.stored_run import StoredRun
    from mltrack_sync.mlflow.api.client import RemoteRun
    from mltrack_sync.mlflow.push.session import Session

__all__ = ["Identities"]


class Identities:
    """Gives runs and experiments their remote ids, each determined once however many workers need it.

    ``logged`` does so for logged models.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._experiments = ExperimentIdentities(session)
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self.logged = LoggedIdentities(session, self)
        self._made: dict[str, dict[str, str]] = {}  # runs created in this sync cycle, with these tags

    def _lock_of(self, what: str) -> threading.Lock:
        with self._lock:
            return self._locks[what]

    # --- experiments ---

    def experiment(self, run: StoredRun) -> str:
        """The id of the run's experiment on the remote, which is created if missing.

        Raises:
            RemoteRefusedError: it is deleted on the remote, or can't be created.
        """
        return self.experiment_by_id(run.info.experiment_id, run.info.experiment_name)

    def experiment_by_id(self, experiment_id: str, name: str = "") -> str:
        """The same for an experiment; ``name`` is for one that the store does not know.

        Raises:
            RemoteRefusedError: as ``experiment``; or its name is unknown.
        """
        return self._experiments.remote_id(experiment_id, name)

    def datasets_of(self, remote_experiment: str) -> threading.Lock:
        """The lock for sending datasets of a remote experiment: a server fails when it gets a new one twice at once."""
        return self._lock_of(f"datasets {remote_experiment}")

    # --- runs ---

    def run(self, run: StoredRun, waiting: tuple[str, ...] = ()) -> dict[str, str]:
        """Ensure that the remote and the ledger have the run; returns the tags of its creation, if in this cycle.

        Raises:
            RemoteRefusedError: the remote does not take this run.
            RemoteUnavailableError: its runs are in this very store.
        """
        entry = self._session.ledger.run(run.run_id)
        if entry.remote_id:
            return self._made.get(run.run_id, {})
        wanted = self.tags(run, waiting)  # creates its parent: never while holding the lock of this run
        with self._lock_of(run.run_id):
            if entry.remote_id:
                return self._made.get(run.run_id, {})
            self._session.check()
            experiment_id = self.experiment(run)
            tags = self._first_tags(run, wanted)
            found = self._found(run, experiment_id)
            made = not found
            if made:
                self._session.ledger.creating(run.run_id)
                remote, tags = self._session.policy.settle(lambda again: self._make(run, experiment_id, tags, again))
                self._check_elsewhere(remote)
            else:
                remote = _best(found)
            self._session.ledger.created(
                run.run_id, remote.run_id, remote.experiment_id, remote.artifact_uri, adopted=not made
            )
            if remote.deleted:
                self._session.ledger.staged(run.run_id, DELETED)
            self._session.count(created=int(made), tags=len(tags) - 1 if made else 0)
            if made:
                self._made[run.run_id] = tags
            return self._made.get(run.run_id, {})

    def _check_elsewhere(self, made: RemoteRun) -> None:
        """Check that the run that a server has just made is not in this very store: each run would be, once more.

        Raises:
            RemoteUnavailableError: it is, and was deleted again; nothing else is to be sent there.
        """
        store = self._session.store
        if is_run_id(made.run_id) and store.layout.run(made.run_id).path.is_dir():
            self._session.client.delete_run(made.run_id)
            raise RemoteUnavailableError(
                f"the server keeps its runs in {store.path}, which is this very store",
                hint="what is recorded here is there already. Give the URL of another server, and forget this one:"
                " mltrack remote rm NAME",
                in_doubt=False,
                not_sent=True,
            )

    def _found(self, run: StoredRun, experiment_id: str) -> list[RemoteRun]:
        """The run on the remote: that which was made of it, or that which it was pulled from."""
        client, origin = self._session.client, self._session.origin
        entry = self._session.ledger.run(run.run_id)
        gone = {*entry.former, *entry.replaced}  # what it was before: see push/rewinds.py
        found = [one for one in client.find_runs(experiment_id, run.run_id) if one.run_id not in gone]
        own = origin.own_id(run.tags, ORIGIN_RUN_TAG)
        return found or ([] if own in gone else client.run_of_origin(own, run.run_id))

    def _make(
        self, run: StoredRun, experiment_id: str, tags: dict[str, str], again: bool
    ) -> tuple[RemoteRun, dict[str, str]]:
        """The run that was created, and the tags that it was created with."""
        client, info = self._session.client, run.info
        found = self._found(run, experiment_id) if again else []
        if found:  # created by the request whose answer was lost
            best = _best(found)
            return best, {key: value for key, value in tags.items() if best.tags.get(key) == value}
        start = info.start_time
        try:
            made = client.create_run(experiment_id, name=info.run_name, user=info.user_id, start_time=start, tags=tags)
        except RemoteRefusedError as error:
            bare = {RUN_ID_TAG: run.run_id}
            try:  # the remote may refuse its name, its user or a tag: then these are sent by themselves
                made = client.create_run(experiment_id, name="", user="", start_time=start, tags=bare)
            except RemoteRefusedError:
                raise error from None
            return made, bare
        return made, tags

    def _first_tags(self, run: StoredRun, tags: dict[str, str]) -> dict[str, str]:
        """As many tags as a create request certainly takes; ours first."""
        limits = self._session.limits()
        size, first = 1000, {RUN_ID_TAG: run.run_id}
        beyond = limits.beyond({}, tags, (RUN_ID_TAG, PARENT_TAG))
        for key, value in tags.items():
            size += 6 * (len(key) + len(value)) + 24
            fits = len(first) < limits.batch_tags_max and size < limits.request_bytes_max
            if fits and limits.refuse_tag(key, value) is None and ("tag", key) not in beyond:
                first[key] = value
        return first

    def tags(self, run: StoredRun, waiting: tuple[str, ...] = ()) -> dict[str, str]:
        """The run's tags for the remote: with the remote id of its parent, and our own."""
        tags = {**map_tags(self._session.ledger.state, run.tags), RUN_ID_TAG: run.run_id}
        parent = tags.get(PARENT_TAG)
        if parent is not None:
            tags[PARENT_TAG] = self.remote_run(parent, (*waiting, run.run_id))
        return tags

    def remote_run(self, run_id: str, waiting: tuple[str, ...] = ()) -> str:
        """The remote id of a run that something refers to, created if need be; unchanged if the store has no such run.

        Raises:
            RemoteRefusedError: the remote does not take this run.
        """
        entry = self._session.ledger.state.runs.get(run_id)
        if entry is not None and entry.remote_id:
            return entry.remote_id
        if run_id in waiting:
            return run_id  # a circle of parents: invalid, kept as it is
        try:
            parent = self._session.store.run(run_id)
        except NotFoundError:
            return run_id
        if parent.info.lifecycle_stage == DELETED:
            return run_id
        self.run(parent, waiting)
        return self._session.ledger.run(run_id).remote_id


def _best(found: list[RemoteRun]) -> RemoteRun:
    return min(found, key=lambda run: (run.deleted, run.run_id))
