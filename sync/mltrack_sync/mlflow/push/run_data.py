"""Sending the params, tags and points of one run: in order, in requests within the remote's limits.

Before a request is sent, one line of the ledger says what was acknowledged and how far the next request reaches; so at
most one request is in doubt. Points in doubt are compared with the remote before they are sent.
"""

from __future__ import annotations

import functools
from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from mltrack_sync.errors import RemoteRefusedError, TooLargeError
from mltrack_sync.mlflow.plan.batches import Facts, Piece, Refusal, Request, requests_of, sift
from mltrack_sync.mlflow.plan.history import Positions, find_positions
from mltrack_sync.mlflow.plan.in_doubt import InDoubt
from mltrack_sync.mlflow.plan.kinds import METRIC, PARAM, POINT, TAG
from mltrack_sync.mlflow.plan.reconcile import RemotePoints, missing
from mltrack_sync.mlflow.plan.rejections import RejectionBuffer
from mltrack_sync.mlflow.plan.sampled_points import Due, due_points
from mltrack_sync.report import Rejected

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container, Iterator, Mapping

    import numpy.typing as npt

    from mltrack.disk.segment import PointColumns
    from mltrack.storage.runs.stored_run import StoredRun
    from mltrack_sync.mlflow.push.session import Session

__all__ = ["POINT_KINDS", "RunData"]

POINT_KINDS = (METRIC, POINT)
POINTS_REFUSED_MAX = 10
"""How many points of a metric may be refused one by one before the metric itself is taken to be refused."""
READ_POINTS_MAX = 1 << 16
"""How many points of a run are in memory at a time: as many runs are read at once as there are jobs."""
PIECE_POINTS_MAX = 1 << 15
"""How many points are checked at a time for those that the remote does not take: checking copies them."""


class RunData:
    """Sends params, tags and points of a run that is on the remote. Used once, by one worker.

    ``sent`` are the params and tags (kind, key) that were sent, ``refused`` the metrics and points that were refused.
    """

    def __init__(
        self,
        session: Session,
        run: StoredRun,
        reject: Callable[[Refusal], None],
        rejected_metrics: Mapping[str, str],
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            session: The push.
            run: The run.
            reject: Called with each param and tag that the remote does not take.
            rejected_metrics: Metrics that are not sent, and why.
        """
        self.sent: set[tuple[str, str]] = set()
        self.refused: set[tuple[str, str]] = set()
        self._session = session
        self._client = session.client
        self._ledger = session.ledger
        self._run = run
        self._entry = session.ledger.run(run.run_id)
        self._reject = reject
        self._rejected_metrics = dict(rejected_metrics)
        self._buffer = RejectionBuffer()
        self._points_refused: Counter[str] = Counter()

    def send(self, facts: Facts) -> None:
        """Send these facts, and all points that the ledger lacks.

        Raises:
            RemoteRefusedError: the remote no longer has the run.
            RemoteError, LedgerError, PushStopped: see mltrack_sync.errors.
        """
        for refusal in facts.refused:
            self._reject(refusal)
        for key in facts.removed:
            self._remove_tag(key)
        self.sent |= {(PARAM, key) for key, _ in facts.params} | {(TAG, key) for key, _ in facts.tags}
        self._settle_history()
        self._send_in_order(requests_of(facts, self._new_pieces(), self._session.limits))

    def send_again(self, keys: Collection[str]) -> None:
        """Send those points of the metrics ``keys`` that earlier pushes rejected and the remote lacks.

        Until then they stay rejected, and the ledger's positions unchanged: after a kill the next try compares them
        with the remote again, so that none is lost or sent twice.

        Raises:
            RemoteError, LedgerError, PushStopped: as ``send``.
        """
        self._points_refused.clear()
        for request in requests_of(Facts(), self._old_pieces(keys), self._session.limits):
            self._session.check()
            self._send(request)
        refused = [Rejected(self._run.run_id, *refusal) for refusal in self._buffer.take()]
        self.refused |= {(item.kind, item.key) for item in refused}
        self._ledger.tried_again(self._run.run_id, POINT_KINDS, keys, refused)

    def _settle_history(self) -> None:
        """Have in the ledger how much of the run's history goes, before the first point goes by that."""
        found = find_positions(self._run, self._entry, self._session.history)
        if found != Positions.of(self._entry):
            self._ledger.sampled(self._run.run_id, found.sampled, points=found.points, following=found.following)

    def _remove_tag(self, key: str) -> None:
        try:
            self._client.delete_tag(self._entry.remote_id, key)
        except RemoteRefusedError as error:
            if error.is_missing:
                raise  # the run itself is missing
            self._reject(Refusal(TAG, key, error.words))
        else:
            self.sent.add((TAG, key))

    def _send_in_order(self, requests: Iterator[Request]) -> None:
        """Send each. The next one is built after an answer, with the limits known by then."""
        doubt = InDoubt.of(self._entry)
        ahead = next(requests, None)
        if ahead is not None and ahead.ends and not doubt.everything:
            self._acknowledge({}, {}, doubt.and_next(ahead))
        while ahead is not None:
            request = ahead
            self._session.check()
            self._send(request)
            ahead = next(requests, None)
            left = doubt.after({**self._entry.points, **request.ends})
            self._acknowledge(request.events, request.ends, left.and_next(ahead))
        if doubt:
            self._acknowledge({}, {}, {})

    def _acknowledge(
        self, events: Mapping[str, int], points: Mapping[str, int], following: Mapping[str, int] | str
    ) -> None:
        """Note in the ledger that the remote has, or refused, all before these positions, and what follows."""
        refused = self._buffer.take(points)
        self.refused |= {refusal[:2] for refusal in refused}
        items = [self._session.rejection(self._run.run_id, refusal) for refusal in refused]
        self._ledger.ack(self._run.run_id, events=events, points=points, following=following, refused=items)

    # --- points ---

    def _new_pieces(self) -> Iterator[Piece]:
        """The run's new points, without those that the remote refuses, or that were in doubt and have arrived."""
        doubt, remote = InDoubt.of(self._entry), functools.cache(self._remote_points)
        for writer, points, end in self._read(dict(self._entry.points)):
            taken = self._sifted(writer, points)
            missing = self._without_found(taken, doubt.mask(writer, taken), remote)
            yield Piece(writer, missing, end)

    def _old_pieces(self, keys: Collection[str]) -> Iterator[Piece]:
        """Points of these metrics before the ledger's positions, without those that the remote has."""
        remote = self._remote_points()
        positions = dict(self._entry.points)
        for writer, points, _ in chain(self._read({}), self._before_the_sample()):
            wanted = [code for code in np.unique(points.codes).tolist() if points.keys[code] in keys]
            points = points.take(np.isin(points.codes, wanted) & (points.seqs < positions.get(writer, 0)))
            points = self._sifted(writer, points)
            yield Piece(writer, points.take(missing(points, remote)), 0)

    def _before_the_sample(self) -> Iterator[Due]:
        """The points that had gone when a sample was asked for."""
        whole = self._entry.sampled.whole
        for due in self._whole({}) if whole else ():
            before = due.points.seqs < whole.get(due.writer, 0)
            yield due._replace(points=due.points.take(before))

    def _read(self, after: Mapping[str, int]) -> Iterator[Due]:
        """The run's points that go, by writer, few at a time."""
        sampled = self._entry.sampled
        if sampled.history:
            blocks = due_points(self._run, sampled, after, self._session.check, self._entry.rewinds)
        else:
            blocks = self._whole(after)
        while True:
            due = self._session.reader.submit(next, blocks, None).result()
            if due is None:
                return
            yield due

    def _whole(self, after: Mapping[str, int]) -> Iterator[Due]:
        for writer, points in self._run.read_points(after, rows_max=READ_POINTS_MAX, rewinds=self._entry.rewinds):
            for at in range(0, len(points), PIECE_POINTS_MAX):
                piece = points.take(slice(at, at + PIECE_POINTS_MAX))
                yield Due(writer, piece, int(piece.seqs[-1]) + 1)

    def _sifted(self, writer: str, points: PointColumns) -> PointColumns:
        """Those that the remote takes, each once."""
        limits = self._session.limits()
        sifted = sift(points, lambda key: self._rejected_metrics.get(key) or limits.refuse_key(key))
        self._buffer.ahead(writer, sifted.refused)
        self._session.count(collapsed=sifted.collapsed)
        return sifted.points

    def _without_found(
        self, points: PointColumns, in_doubt: npt.NDArray[np.bool_], remote: Callable[[], RemotePoints]
    ) -> PointColumns:
        """The points without those in doubt that the remote turns out to have."""
        if not in_doubt.any():
            return points
        absent = ~in_doubt
        absent[in_doubt] = missing(points.take(in_doubt), remote())
        self._session.count(found=len(points) - int(np.count_nonzero(absent)))
        return points.take(absent)

    def _remote_points(self) -> RemotePoints:
        remote_id, rows = self._entry.remote_id, self._session.limits().history_page_rows
        latest = self._client.get_run(remote_id).latest
        return RemotePoints(latest, lambda key: self._client.history(remote_id, key, rows))

    # --- one request ---

    def _send(self, request: Request, *, in_doubt: bool = False) -> None:
        """Send it: in smaller requests where it is too large, and without what is refused."""
        request = self._without_rejected(request)
        if not request.items:
            return
        tried = self._session.limits()
        if request.exceeds(tried):  # planned before the remote was found to have lower limits
            self._send_parts(request, in_doubt=in_doubt)
            return
        try:
            self._deliver(request, in_doubt=in_doubt)
        except TooLargeError as error:
            self._session.shrink_limits(tried)
            if request.items == 1:
                self._refuse_single(request, error)
            else:
                self._send_parts(request, in_doubt=in_doubt)
        except RemoteRefusedError as error:
            remote = self._client.get_run(self._entry.remote_id)
            if remote.deleted:
                words = f"the run {self._entry.remote_id} is deleted on the remote"
                raise RemoteRefusedError(words, status=400, code=error.code, words=words) from error
            if request.items == 1:
                self._refuse_single(request, error, remote.latest)
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
        """Reject the point, if the remote has ``taken`` others of its metric; else the metric."""
        if request.points is not None and request.points_count:
            key = request.points.keys[int(request.points.codes[0])]
            self._points_refused[key] += 1
            if key in taken and self._points_refused[key] <= POINTS_REFUSED_MAX:
                self._buffer.current(Refusal(POINT, key, error.words, 1))
                return
            self._rejected_metrics[key] = error.words
            self._buffer.current(Refusal(METRIC, key, error.words, 1))
        elif request.params:
            self._reject(Refusal(PARAM, request.params[0][0], error.words))
        else:
            self._reject(Refusal(TAG, request.tags[0][0], error.words))

    def _without_rejected(self, request: Request) -> Request:
        """The request without points of metrics that were refused since it was planned."""
        points = request.points
        if not self._rejected_metrics or points is None:
            return request
        keep = np.ones(len(points), np.bool_)
        for code in set(points.codes.tolist()):
            key = points.keys[code]
            if key not in self._rejected_metrics:
                continue
            mine = points.codes == code
            self._buffer.current(Refusal(METRIC, key, self._rejected_metrics[key], int(np.count_nonzero(mine))))
            keep &= ~mine
        return Request(request.params, request.tags, points.take(keep), request.events, request.ends)
