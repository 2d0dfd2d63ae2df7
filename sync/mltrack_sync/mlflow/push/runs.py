"""Pushing one run: it is created, what is in doubt is settled, then new data in order, its files, and its ending."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mltrack.entities import ACTIVE, DELETED
from mltrack.environment import CRASHED_TAG
from mltrack.errors import StoreError
from mltrack_sync.errors import RemoteRefusedError
from mltrack_sync.ledger.ledger import EVERYTHING
from mltrack_sync.mlflow.plan.batches import Refusal, Request
from mltrack_sync.mlflow.plan.kinds import METRIC, RUN, RUN_NAME
from mltrack_sync.mlflow.plan.origin import Origin
from mltrack_sync.mlflow.plan.pending_run import find_pending_run, local_tags
from mltrack_sync.mlflow.push.rewinds import RewindPush
from mltrack_sync.mlflow.push.run_data import POINT_KINDS, RunData
from mltrack_sync.mlflow.push.run_files import RunFiles
from mltrack_sync.mlflow.push.run_links import InputsPush
from mltrack_sync.mlflow.push.whole_run import WholeRunFiles
from mltrack_sync.report import RUN_NAMES_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mltrack.storage.runs.stored_run import StoredRun
    from mltrack_sync.mlflow.plan.batches import Facts
    from mltrack_sync.mlflow.plan.pending_run import PendingRun
    from mltrack_sync.mlflow.push.run_ids import Identities
    from mltrack_sync.mlflow.push.session import Session
    from mltrack_sync.report import Rejected

__all__ = ["RunPush"]


class RunPush:
    """Brings one run up to date on the remote. Used once, by one worker."""

    def __init__(self, session: Session, identities: Identities, run: StoredRun) -> None:
        self._session = session
        self._client = session.client
        self._ledger = session.ledger
        self._identities = identities
        self._run = run
        self._entry = session.ledger.run(run.run_id)
        again = session.retry_rejected
        mine = session.ledger.rejections(run.run_id)
        self._known_rejected = mine
        self._again: list[Rejected] = mine if again else []
        self._refused_now: set[tuple[str, str]] = set()
        self._sent: set[tuple[str, str]] = {(RUN, "")}  # what was sent, of kinds run, param and tag
        self._rewinds = RewindPush(session, run)
        self._whole = True

    def push(self) -> None:
        """Push all that is pending.

        Raises:
            RemoteRefusedError: the remote does not take this run.
            RemoteError, LedgerError, PushStopped: see mltrack_sync.errors.
        """
        self._finish_series()
        head = self._run.head()
        self._rewinds.delete_former()
        if self._run.info.lifecycle_stage != DELETED:
            self._push_active()
            self._session.count(runs=1)
            if len(self._session.run_names) < RUN_NAMES_MAX:
                self._session.run_names.append(self._run.info.run_name)
        elif self._find_pending() is not None:
            self._delete()
            self._session.count(runs=1)
        else:
            self._again = self._known_rejected  # the remote need not have any of it
        for item in self._known_rejected:
            through = item in self._again or (item.kind, item.key) in self._sent
            if through and (item.kind, item.key) not in self._refused_now and self._ledger.is_rejected(item):
                self._ledger.cleared(item)
        for damage in (*self._run.state.damage, *self._run.damage):
            self._trouble(f"{damage} ({damage.hint})")
        if self._whole:
            self._ledger.settled(head)

    def _push_active(self) -> None:
        """First find out from the remote which run it is, then send what the remote lacks of it."""
        if any(item.kind == RUN for item in self._again) or self._run.run_id in self._session.repaired:
            self._forget_if_gone()
        made_with = self._identities.run(self._run)
        if self._entry.stage == DELETED:
            self._restore()
        if not made_with and self._has_unknown_of_this_remote():
            self._ledger.ack(self._run.run_id, events={}, points={}, following=EVERYTHING)
        if self._rewinds.settle(is_new=bool(made_with)):
            made_with = self._identities.run(self._run)
            self._rewinds.settle(is_new=bool(made_with))
        pending = self._find_pending(made_with)
        if pending is None or pending.stage == DELETED:
            return  # deleted here a moment ago: the next cycle handles that
        InputsPush(self._session, self._identities, self._run, self._reject).push(pending.links)
        files = RunFiles(self._session, self._run, self._reject, self._trouble)
        files.begin(pending.files)
        copy = pending.copy and WholeRunFiles(self._session, self._run, pending.copy, self._reject, self._trouble)
        if copy:
            copy.begin()
        self._push_data(pending.facts)
        files.end()
        if copy:
            copy.end()
        if pending.ending is not None:
            self._send_ending(pending.ending)

    def _has_unknown_of_this_remote(self) -> bool:
        """Whether another store pulled something of the run from this remote, and it came here with a copy.

        The ledger does not know these writers, but the remote has what they wrote: so it is compared first.
        """
        known = self._entry.events.keys() | self._entry.points.keys()
        if all(writer.role != "edit" or name in known for name, writer in self._run.state.writers.items()):
            return False
        opened = (event for event in self._run.read_events(self._entry.events) if event.type == "writer")
        origins = {str(event.fields.get("origin", "")) for event in opened if event.writer not in known}
        return any(Origin(origin).space == self._session.origin.space for origin in origins if origin)

    def _push_data(self, facts: Facts) -> None:
        """Send params, tags and points; at last points that were rejected, if they are to be retried."""
        tried = {item.key for item in self._again if item.kind in POINT_KINDS}
        given_up = [item for item in self._known_rejected if item.kind == METRIC and not self._again]
        data = RunData(self._session, self._run, self._reject, {item.key: item.reason for item in given_up})
        data.send(facts)
        if tried:
            data.send_again(tried)
        self._sent |= data.sent
        self._refused_now |= data.refused

    def _find_pending(self, made_with: Mapping[str, str] | None = None) -> PendingRun | None:
        """What the remote lacks of the run, by the ledger; ``made_with`` are the tags it was just created with."""
        return find_pending_run(
            self._run,
            self._entry,
            self._known_rejected,
            self._session.limits(),
            retry=self._session.retry_rejected,
            made_with=made_with,
            map_tags=self._identities.tags if made_with is not None else local_tags,
            history=self._session.history,
            counting=False,
        )

    def _finish_series(self) -> None:
        """Store histograms, tables and texts that a crashed process left as artifacts: only files can be sent.

        Also record files that a program wrote to the artifact folder itself.
        """
        store, run_id = self._session.store, self._run.run_id
        try:
            if store.finish_series(run_id):
                self._run.refresh()
        except (StoreError, OSError) as error:
            self._trouble(f"its histograms, tables and texts can't be sent: {error}")
        try:
            if store.record_found_files(run_id):
                self._run.refresh()
        except (StoreError, OSError) as error:
            self._trouble(f"files that are not recorded can't be sent: {error}")

    def _trouble(self, words: str) -> None:
        self._whole = False
        self._session.problem(f"run {self._run.run_id}: {words}")

    def _delete(self) -> None:
        self._client.delete_run(self._entry.remote_id)
        self._ledger.staged(self._run.run_id, DELETED)
        self._again = self._known_rejected  # the remote need not have any of it

    def _restore(self) -> None:
        """Restore it from the deleted ones. Its rejections were forgotten: so all of it is checked again."""
        entry = self._entry
        events, points = dict.fromkeys(entry.events, 0), dict.fromkeys(entry.points, 0)
        self._ledger.ack(self._run.run_id, events=events, points=points, following=EVERYTHING)
        self._client.restore_run(entry.remote_id)
        self._ledger.staged(self._run.run_id, ACTIVE)

    def _forget_if_gone(self) -> None:
        """If the remote does not have the run, let it be created again; one that is deleted there is restored."""
        if not self._entry.remote_id:
            return
        try:
            found = self._client.get_run(self._entry.remote_id)
            if found.deleted and self._entry.stage != DELETED:
                self._ledger.staged(self._run.run_id, DELETED)
        except RemoteRefusedError as error:
            if not error.is_missing:
                raise
            self._ledger.forgotten(self._run.run_id)
            self._entry = self._ledger.run(self._run.run_id)

    def _reject(self, refusal: Refusal) -> None:
        self._refused_now.add(refusal[:2])
        self._ledger.rejected(self._session.rejection(self._run.run_id, refusal))

    # --- the ending ---

    def _send_ending(self, ending: list[Any]) -> None:
        status, end_time, name, crashed = ending
        entry = self._entry
        if crashed:
            self._client.log_batch(Request(tags=((CRASHED_TAG, "true"),)).body(entry.remote_id), repeatable=True)
        elif entry.ended and entry.ended[3]:
            self._client.delete_tag(entry.remote_id, CRASHED_TAG)
        self._update_run(status, end_time, name)
        self._ledger.ended(self._run.run_id, ending)

    def _update_run(self, status: str, end_time: int | None, name: str) -> None:
        """Send its ending; without the name if the remote refuses that."""
        remote_id = self._entry.remote_id
        try:
            self._client.update_run(remote_id, status=status, end_time=end_time, name=name)
        except RemoteRefusedError as error:
            if error.is_missing or not name:
                raise
            self._client.update_run(remote_id, status=status, end_time=end_time, name="")
            self._reject(Refusal(RUN_NAME, "", error.words))
        else:
            self._sent.add((RUN_NAME, ""))
