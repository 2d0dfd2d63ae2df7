"""The base of the tracking store's classes: its store, and the runs it has open."""

from __future__ import annotations

import time
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from mltrack.entities import DELETED
from mltrack.errors import MltrackError, RunStateError
from mltrack.mlflow_plugin import run_pool
from mltrack.mlflow_plugin.artifacts.local_folder import register_local_repository
from mltrack.mlflow_plugin.errors import as_mlflow
from mltrack.mlflow_plugin.tracking.run_cache import RunCache
from mltrack.mlflow_plugin.tracking.shown_assessments import ShownAssessments
from mltrack.mlflow_plugin.uris import open_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mltrack.mlflow_plugin.run_pool import RunPool
    from mltrack.store import Store

__all__ = ["BaseStore"]

CLOSE_WAIT_S = 20.0
"""How long to wait for processes that have a deleted run open: they check twice a second, and every 15 seconds."""


class BaseStore:
    """The base of the classes for each kind of entity, which are mixed into one."""

    _store: Store
    _pool: RunPool
    _runs: RunCache

    def _open(self, store_uri: str) -> None:
        try:
            self._store = open_store(store_uri)
        except MltrackError as error:
            raise as_mlflow(error) from error
        register_local_repository()
        self._pool = run_pool.of(self._store)
        self._runs = RunCache(self._store.layout)

    def _shown(self) -> ShownAssessments:
        """Which assessments count, for one request."""
        return ShownAssessments(self._store, self._runs)

    def _purge(self, run_id: str) -> None:
        """Remove a run's folder permanently; wait some seconds for other processes to close a deleted run.

        A live run that is not deleted is refused at once.

        Raises:
            NotFoundError: there is no such run.
            RunStateError: a process still records into it, or another run was forked from it.
            StoreError: it can't be removed.
        """
        until = time.monotonic() + CLOSE_WAIT_S
        while True:
            try:
                self._store.purge_run(run_id)
            except RunStateError:
                if time.monotonic() >= until or not self._is_deleted(run_id) or self._store.forks(run_id):
                    raise
                time.sleep(CLOSE_WAIT_S / 100)
            else:
                return

    def _is_deleted(self, run_id: str) -> bool:
        with self._runs.reading(run_id) as run:
            return run.state.stage == DELETED

    @abstractmethod
    def _log_model_metrics(self, run_id: str, experiment_id: str, metrics: list[Any]) -> None:
        """Log those metrics that name a logged model to that model, too; LoggedModels implements it."""

    @abstractmethod
    def _remove_from_tables(
        self, *, experiment_id: str | None = None, run_id: str | None = None, trace_ids: Sequence[str] = ()
    ) -> None:
        """Remove what MLflow's tables have of things that are removed for good; DatabaseMethods implements it."""
