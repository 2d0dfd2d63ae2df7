"""One run pushed: made there, its doubts settled, what is new sent in order, its files, and its ending."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from mltrack.entities import ACTIVE, DELETED
from mltrack.errors import StoreError
from mltrack_sync.errors import RemoteRefusedError, TooLargeError
from mltrack_sync.ledger.ledger import EVERYTHING
from mltrack_sync.mlflow.plan.batches import Facts, Piece, Refusal, Request, requests_of, sift
from mltrack_sync.mlflow.plan.kinds import METRIC, PARAM, POINT, RUN, RUN_NAME, TAG
from mltrack_sync.mlflow.plan.pending_run import find_pending_run, local_tags
from mltrack_sync.mlflow.plan.reconcile import RemotePoints, missing
from mltrack_sync.mlflow.plan.rejections import Untold
from mltrack_sync.mlflow.push.run_files import RunFiles
from mltrack_sync.mlflow.push.run_links import InputsPush
from mltrack_sync.report import Rejected

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping

    from mltrack.disk.segment import PointColumns
    from mltrack.storage.runs.stored_run import StoredRun
    from mltrack_sync.mlflow.plan.pending_run import PendingRun
    from mltrack_sync.mlflow.push.run_ids import Identities
    from mltrack_sync.mlflow.push.session import Session

__all__ = ["RunPush"]

CRASHED_TAG = "mltrack.crashed"
POINT_KINDS = (METRIC, POINT)
POINTS_REFUSED_MAX = 10
"""So many points of a metric are refused one by one; then it is taken to be the metric that is not wanted."""
READ_POINTS_MAX = 1 << 16
"""So many points of a run are in memory at a time: as many runs as there are jobs are read at once."""
PIECE_POINTS_MAX = 1 << 15
"""So many points at a time are looked through for what the remote does not take: it costs copies of them."""


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
        mine = [item for item in list(session.ledger.state.rejected.values()) if item.run_id == run.run_id]
        self._known_rejected = mine
        self._again: list[Rejected] = mine if again else []
        self._aside = {} if again else {item.key: item.reason for item in mine if item.kind == METRIC}
        self._untold = Untold()
        self._refused_now: set[tuple[str, str]] = set()
        self._points_refused: Counter[str] = Counter()
        self._sent: set[tuple[str, str]] = {(RUN, "")}  # what got through, of kinds run, param and tag
        self._whole = True

    def push(self) -> None:
        """All of it.

        Raises:
            RemoteRefusedError: the remote does not take this run.
            RemoteError, LedgerError, PushStopped: see mltrack_sync.errors.
        """
        self._finish_series()
        head = self._run.head()
        if self._run.info.lifecycle_stage != DELETED:
            self._push_active()
            self._session.count(runs=1)
        elif self._find_pending() is not None:
            self._delete()
            self._session.count(runs=1)
        else:
            self._again = self._known_rejected  # nothing of it is to be there any more
        for item in self._known_rejected:
            through = item in self._again or (item.kind, item.key) in self._sent
            if through and (item.kind, item.key) not in self._refused_now and self._ledger.is_aside(item):
                self._ledger.cleared(item)
        for damage in (*self._run.state.damage, *self._run.damage):
            self._trouble(f"{damage} ({damage.hint})")
        if self._whole:
            self._ledger.settled(head)

    def _push_active(self) -> None:
        """First what only the remote can say is settled: which run it is there. Then what it lacks of that run goes."""
        if any(item.kind == RUN for item in self._again):
            self._forget_if_gone()
        made_with = self._identities.run(self._run)
        if self._entry.stage == DELETED:
            self._restore()
        pending = self._find_pending(made_with)
        if pending is None or pending.stage == DELETED:
            return  # deleted here a moment ago: the next pass sees to that
        InputsPush(self._session, self._identities, self._run, self._reject).push(pending.links)
        files = RunFiles(self._session, self._run, self._reject, self._trouble)
        files.begin(pending.files)
        self._send_data(pending.facts)
        self._send_again()
        files.end()
        if pending.ending is not None:
            self._send_ending(pending.ending)

    def _find_pending(self, made_with: Mapping[str, str] | None = None) -> PendingRun | None:
        """What the remote lacks of the run, as the ledger stands; ``made_with`` are the tags it was just made with."""
        return find_pending_run(
            self._run,
            self._entry,
            self._known_rejected,
            self._session.limits(),
            retry=self._session.retry_rejected,
            made_with=made_with,
            map_tags=self._identities.tags if made_with is not None else local_tags,
        )

    def _finish_series(self) -> None:
        """Have what a crashed process left of histograms, tables and texts among the artifacts: only files go there.

        And have those recorded that a program wrote there by itself.
        """
        store, run_id = self._session.store, self._run.run_id
        try:
            if store.finish_series(run_id):
                self._run.refresh()
        except (StoreError, OSError) as error:
            self._trouble(f"its histograms, tables and texts stay here: {error}")
        try:
            if store.record_found_files(run_id):
                self._run.refresh()
        except (StoreError, OSError) as error:
            self._trouble(f"files that are not recorded stay here: {error}")

    def _trouble(self, words: str) -> None:
        self._whole = False
        self._session.problem(f"run {self._run.run_id}: {words}")

    def _delete(self) -> None:
        self._client.delete_run(self._entry.remote_id)
        self._ledger.staged(self._run.run_id, DELETED)
        self._again = self._known_rejected  # nothing of it is to be there any more

    def _restore(self) -> None:
        """Back from the deleted ones. What was set aside of it is forgotten since: so all of it is looked at again."""
        entry = self._entry
        events, points = dict.fromkeys(entry.events, 0), dict.fromkeys(entry.points, 0)
        self._ledger.ack(self._run.run_id, events=events, points=points, following=EVERYTHING)
        self._client.restore_run(entry.remote_id)
        self._ledger.staged(self._run.run_id, ACTIVE)

    def _forget_if_gone(self) -> None:
        """A run that was refused, and is not even among the deleted ones there, is made anew."""
        if not self._entry.remote_id:
            return
        try:
            self._client.get_run(self._entry.remote_id)
        except RemoteRefusedError as error:
            if not error.is_missing:
                raise
            self._ledger.forgotten(self._run.run_id)
            self._entry = self._ledger.run(self._run.run_id)

    # --- params, tags, points ---

    def _send_data(self, facts: Facts) -> None:
        for refusal in facts.refused:
            self._reject(refusal)
        for key in facts.removed:
            self._remove_tag(key)
        self._sent |= {(PARAM, key) for key, _ in facts.params} | {(TAG, key) for key, _ in facts.tags}
        self._send_all(requests_of(facts, self._pieces(), self._session.limits))

    def _remove_tag(self, key: str) -> None:
        try:
            self._client.delete_tag(self._entry.remote_id, key)
        except RemoteRefusedError as error:
            if error.is_missing:
                raise  # the run itself
            self._reject(Refusal(TAG, key, error.words))
        else:
            self._sent.add((TAG, key))

    def _send_all(self, requests: Iterator[Request]) -> None:
        """Send in order; the ledger learns of each answer, and of what goes next, before that goes."""
        suspect, doubt = self._entry.doubt_all, dict(self._entry.doubt)
        ahead = next(requests, None)
        if ahead is not None and ahead.ends and not suspect:
            self._ack({}, {}, {**doubt, **_later(ahead.ends, doubt)})
        while ahead is not None:
            request = ahead
            self._session.check()
            self._send(request)
            ahead = next(requests, None)
            following: dict[str, int] | str = {}
            if ahead is not None:
                left = {w: end for w, end in doubt.items() if end > request.ends.get(w, self._entry.points.get(w, 0))}
                following = EVERYTHING if suspect else {**left, **_later(ahead.ends, left)}
            self._ack(dict(request.events), dict(request.ends), following)
        if suspect or doubt:
            self._ack({}, {}, {})

    def _ack(self, events: dict[str, int], points: dict[str, int], following: dict[str, int] | str) -> None:
        refused = self._untold.take(points)
        self._refused_now |= {refusal[:2] for refusal in refused}
        items = [self._session.rejection(self._run.run_id, refusal) for refusal in refused]
        self._ledger.ack(self._run.run_id, events=events, points=points, following=following, refused=items)

    def _pieces(self) -> Iterator[Piece]:
        """The run's new points, without those the remote refuses, nor those in doubt that are there."""
        entry = self._entry
        remote: RemotePoints | None = None
        suspect, doubt = entry.doubt_all, dict(entry.doubt)
        for writer, points in self._read(dict(entry.points)):
            end = int(points.seqs[-1]) + 1
            points = self._sifted(writer, points)
            doubtful = np.ones(len(points), np.bool_) if suspect else points.seqs < doubt.get(writer, 0)
            if doubtful.any():
                remote = remote or self._remote_points()
                absent = ~doubtful
                absent[doubtful] = missing(points.take(doubtful), remote)
                self._session.count(found=len(points) - int(np.count_nonzero(absent)))
                points = points.take(absent)
            yield Piece(writer, points, end)

    def _read(self, after: dict[str, int]) -> Iterator[tuple[str, PointColumns]]:
        """The run's points, few at a time."""
        pieces = self._run.read_points(after, rows_max=READ_POINTS_MAX)
        while True:
            writer, points = self._session.reader.submit(next, pieces, ("", None)).result()
            if points is None:
                return
            for at in range(0, len(points), PIECE_POINTS_MAX):
                yield writer, points.take(slice(at, at + PIECE_POINTS_MAX))

    def _sifted(self, writer: str, points: PointColumns) -> PointColumns:
        limits = self._session.limits()
        sifted = sift(points, lambda key: self._aside.get(key) or limits.refuse_key(key))
        self._untold.ahead(writer, sifted.refused)
        self._session.count(collapsed=sifted.collapsed)
        return sifted.points

    def _remote_points(self) -> RemotePoints:
        remote_id, rows = self._entry.remote_id, self._session.limits().history_page_rows
        latest = self._client.get_run(remote_id).latest
        return RemotePoints(latest, lambda key: self._client.history(remote_id, key, rows))

    # --- one request ---

    def _send(self, request: Request, *, in_doubt: bool = False) -> None:
        """Have it on the remote, whatever it takes: in halves where too large, without what is refused."""
        request = self._without_rejected(request)
        if not request.items:
            return
        tried = self._session.limits()
        if request.exceeds(tried):  # planned before the remote was found to take less
            self._send_parts(request, in_doubt=in_doubt)
            return
        try:
            self._deliver(request, in_doubt=in_doubt)
        except TooLargeError as error:
            self._session.halve(tried)
            if request.items == 1:
                self._refuse_single(request, error)
            else:
                self._send_parts(request, in_doubt=in_doubt)
        except RemoteRefusedError as error:
            there = self._client.get_run(self._entry.remote_id)
            if there.deleted:
                words = f"the run {self._entry.remote_id} is deleted there"
                raise RemoteRefusedError(words, status=400, code=error.code, words=words) from error
            if request.items == 1:
                self._refuse_single(request, error, there.latest)
            else:
                self._send_parts(request, in_doubt=True)

    def _send_parts(self, request: Request, *, in_doubt: bool) -> None:
        for part in request.split():
            self._send(part, in_doubt=in_doubt)

    def _deliver(self, request: Request, *, in_doubt: bool) -> None:
        todo, size = request, 0

        def attempt(again: bool) -> None:
            nonlocal todo, size
            self._session.check()
            if (again or in_doubt) and todo.points is not None and todo.points_count:
                absent = missing(todo.points, self._remote_points())
                self._session.count(found=len(absent) - int(np.count_nonzero(absent)))
                todo = Request(todo.params, todo.tags, todo.points.take(absent))
            if todo.items:
                body = todo.body(self._entry.remote_id)
                size += len(body)
                self._client.log_batch(body, repeatable=not todo.points_count)

        self._session.policy.settle(attempt)
        self._session.count(params=len(todo.params), tags=len(todo.tags), points=todo.points_count, body=size)

    def _refuse_single(self, request: Request, error: RemoteRefusedError, taken: Container[str] = ()) -> None:
        """Reject it: of a metric that the remote has ``taken`` points of, this point; else the metric."""
        if request.points is not None and request.points_count:
            key = request.points.keys[int(request.points.codes[0])]
            self._points_refused[key] += 1
            if key in taken and self._points_refused[key] <= POINTS_REFUSED_MAX:
                self._untold.here(Refusal(POINT, key, error.words, 1))
                return
            self._aside[key] = error.words
            self._untold.here(Refusal(METRIC, key, error.words, 1))
        elif request.params:
            self._reject(Refusal(PARAM, request.params[0][0], error.words))
        else:
            self._reject(Refusal(TAG, request.tags[0][0], error.words))

    def _without_rejected(self, request: Request) -> Request:
        """The request without points of metrics that were found refused since it was planned."""
        points = request.points
        if not self._aside or points is None:
            return request
        counts = {code: points.keys[code] for code in set(points.codes.tolist()) if points.keys[code] in self._aside}
        keep = np.ones(len(points), np.bool_)
        for code, key in counts.items():
            mine = points.codes == code
            self._untold.here(Refusal(METRIC, key, self._aside[key], int(np.count_nonzero(mine))))
            keep &= ~mine
        return Request(request.params, request.tags, points.take(keep), request.events, request.ends)

    def _reject(self, refusal: Refusal) -> None:
        self._refused_now.add(refusal[:2])
        self._ledger.rejected(self._session.rejection(self._run.run_id, refusal))

    def _send_again(self) -> None:
        """Points set aside by earlier passes: what of them is not there by now is sent.

        Meanwhile they stay set aside, and the ledger's positions where they are: after a kill the next try compares
        them with the remote again, so that none is lost nor sent twice.
        """
        keys = {item.key for item in self._again if item.kind in POINT_KINDS}
        if not keys:
            return
        self._points_refused.clear()
        for request in requests_of(Facts(), self._old_pieces(keys), self._session.limits):
            self._session.check()
            self._send(request)
        refused = [Rejected(self._run.run_id, *refusal) for refusal in self._untold.take()]
        self._refused_now |= {(item.kind, item.key) for item in refused}
        self._ledger.tried_again(self._run.run_id, POINT_KINDS, keys, refused)

    def _old_pieces(self, keys: set[str]) -> Iterator[Piece]:
        remote = self._remote_points()
        sent = dict(self._entry.points)
        for writer, points in self._read({}):
            wanted = [code for code in np.unique(points.codes).tolist() if points.keys[code] in keys]
            points = points.take(np.isin(points.codes, wanted) & (points.seqs < sent.get(writer, 0)))
            points = self._sifted(writer, points)
            yield Piece(writer, points.take(missing(points, remote)), 0)

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
        """Its ending; where the name is what the remote does not take, without it."""
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


def _later(ends: Any, floor: dict[str, int]) -> dict[str, int]:
    return {writer: max(end, floor.get(writer, 0)) for writer, end in ends.items()}
