"""The assessments of traces without those that a deleted run made, such as a deleted evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlflow.store.tracking import SEARCH_MAX_RESULTS_THRESHOLD

from mltrack.entities import DELETED
from mltrack.errors import MltrackError

if TYPE_CHECKING:
    from mltrack.mlflow_plugin.tracking.run_cache import RunCache
    from mltrack.storage.traces.traces import Assessment, Trace
    from mltrack.store import Store

__all__ = ["ShownAssessments"]

LOOKED_UP_MAX = 64
"""After so many runs that were read one by one, all deleted runs are asked for at once."""


class ShownAssessments:
    """Tells for one request which assessments count. Those of a deleted run are left out until it is restored."""

    def __init__(self, store: Store, runs: RunCache) -> None:
        self._store = store
        self._runs = runs
        self._known: dict[str, bool] = {}  # run id -> whether it is deleted
        self._deleted: frozenset[str] | None = None  # all deleted runs, once they were asked for

    def of(self, trace: Trace) -> list[Assessment]:
        """The assessments of a trace that count, valid or not.

        Raises:
            StoreError: the store can't be read.
        """
        return [held for held in trace.assessments.values() if self.shows(held)]

    def shows(self, held: Assessment) -> bool:
        """Whether an assessment counts.

        Raises:
            StoreError: the store can't be read.
        """
        run_id = held.source_run
        if run_id is None:
            return True
        if self._deleted is not None:
            return run_id not in self._deleted
        if run_id not in self._known:
            if len(self._known) >= LOOKED_UP_MAX:
                self._deleted = self._all_deleted()
                return run_id not in self._deleted
            self._known[run_id] = self._is_deleted(run_id)
        return not self._known[run_id]

    def _is_deleted(self, run_id: str) -> bool:
        try:
            with self._runs.reading(run_id) as run:
                return run.state.stage == DELETED
        except (MltrackError, OSError):  # it is not here, or can't be read: nothing says that it is deleted
            return False

    def _all_deleted(self) -> frozenset[str]:
        found: set[str] = set()
        token = None
        while True:
            page = self._store.search_runs(
                run_view_type="DELETED_ONLY", max_results=SEARCH_MAX_RESULTS_THRESHOLD, page_token=token
            )
            found.update(record.run_id for record in page)
            token = page.token
            if token is None:
                return frozenset(found)
