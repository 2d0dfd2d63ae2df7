"""Rewinds on a remote that can't remove points: where it has points that no longer count, the run is made again there.

One line of the ledger begins it: from then on the former run is to be deleted, and the run is new. What follows can be
repeated: the former run loses our tag, so that no search finds it, and is moved to the deleted ones; the new one is
created and filled as any new run is. After a kill at any moment the next sync cycle continues.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mltrack.environment import RUN_ID_TAG
from mltrack_sync.errors import RemoteRefusedError
from mltrack_sync.mlflow.plan.batches import NS_PER_MS
from mltrack_sync.mlflow.plan.reconcile import RemotePoints, missing, point_rows
from mltrack_sync.mlflow.plan.rewinds import find_rewind_change, hidden_points, rewinds_in_force

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from mltrack.disk.segment import PointColumns
    from mltrack.storage.runs.stored_run import StoredRun
    from mltrack_sync.mlflow.plan.rewinds import RewindChange
    from mltrack_sync.mlflow.push.session import Session

__all__ = ["RewindPush"]


class RewindPush:
    """Brings the remote in line with the rewinds of one run. Used once, by one worker."""

    def __init__(self, session: Session, run: StoredRun) -> None:
        self._session = session
        self._client = session.client
        self._ledger = session.ledger
        self._run = run
        self._entry = session.ledger.run(run.run_id)

    def delete_former(self) -> None:
        """Delete the runs on the remote that the run had before; a kill may have come in between.

        Raises:
            RemoteError, LedgerError, PushStopped: see mltrack_sync.errors.
        """
        for remote_id in list(self._entry.former):
            self._session.check()
            self._delete(remote_id)
            self._ledger.former_deleted(self._run.run_id, remote_id)

    def _delete(self, remote_id: str) -> None:
        try:
            found = self._client.get_run(remote_id)
        except RemoteRefusedError as error:
            if not error.is_missing:
                raise
            return
        if found.deleted:
            return
        if RUN_ID_TAG in found.tags:  # no search is to take it for the run; of a deleted run no tag can be changed
            self._client.delete_tag(remote_id, RUN_ID_TAG)
        self._client.delete_run(remote_id)

    def settle(self, *, is_new: bool) -> bool:
        """Have the ledger go by the rewinds that are in force now; True if the run is to be created again.

        ``is_new``: the remote's run was created just now and has no points.

        Raises:
            RemoteError, LedgerError, PushStopped: see mltrack_sync.errors.
        """
        run_id = self._run.run_id
        if is_new:
            if rewinds_in_force(self._run) != tuple(self._entry.rewinds):
                self._ledger.rewound(run_id, rewinds_in_force(self._run))
            return False
        change = find_rewind_change(self._run, self._entry)
        if change is None:
            return False
        if self._must_replace(change):
            self._ledger.replacing(run_id, self._entry.remote_id, self._session.children(run_id))
            self.delete_former()
            self._session.count(replaced=1)
            return True
        self._go_back(change)
        return False

    def _must_replace(self, change: RewindChange) -> bool:
        """Whether the remote has points that no longer count; of a sample, whether the choice is another one."""
        if self._entry.sampled.history:
            return change.hides or bool(change.back)
        return change.hides and self._has_any()

    def _has_any(self) -> bool:
        """Whether the remote has any of the points that no longer count, other than as one that does."""
        remote_id, rows = self._entry.remote_id, self._session.limits().history_page_rows
        latest = self._client.get_run(remote_id).latest
        remote = RemotePoints(latest, lambda key: self._client.history(remote_id, key, rows))
        for points in hidden_points(self._run, self._entry):
            self._session.check()
            found = points.take(~missing(points, remote))
            if len(found) and self._has_other(found):
                return True
        return False

    def _has_other(self, points: PointColumns) -> bool:
        """Whether one of these points is not equal to one that counts."""
        for code in np.unique(points.codes).tolist():
            mine = points.take(points.codes == code)
            counting = self._counting(points.keys[code])
            if not np.isin(point_rows(mine.steps, mine.times // NS_PER_MS, mine.values), counting).all():
                return True
        return False

    def _counting(self, key: str) -> npt.NDArray[np.void]:
        """The points of a metric that count, as the remote compares them."""
        found = [
            point_rows(mine.steps, mine.times // NS_PER_MS, mine.values)
            for _, points in self._run.read_points()
            for mine in [points.take(np.isin(points.codes, [c for c, name in enumerate(points.keys) if name == key]))]
        ]
        empty = np.empty(0, np.int64)
        return np.concatenate([point_rows(empty, empty, np.empty(0, np.float64)), *found])

    def _go_back(self, change: RewindChange) -> None:
        """Take positions back to points that count again; what may be on the remote after these is in doubt."""
        entry = self._entry
        following: Mapping[str, int] | str = "*" if entry.doubt_all else self._doubt(change)
        points = {**entry.points, **change.back}
        self._ledger.rewound(self._run.run_id, change.rewinds, points=points, following=following)

    def _doubt(self, change: RewindChange) -> dict[str, int]:
        entry = self._entry
        reach = {writer: entry.points.get(writer, 0) for writer in change.back}
        return {writer: max(reach.get(writer, 0), entry.doubt.get(writer, 0)) for writer in {**reach, **entry.doubt}}
