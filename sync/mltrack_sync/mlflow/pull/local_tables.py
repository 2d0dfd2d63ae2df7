"""MLflow's tables of the store, as a pull reads and writes them, by MLflow's own code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mltrack.mlflow_plugin.tables_reader import read_tables
from mltrack_sync.ledger.tables import TableEntry
from mltrack_sync.mlflow.plan.pending_tables import deleted_here, tables_time

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from mltrack.mlflow_plugin.tables_reader import Tables
    from mltrack_sync.mlflow.pull.session import PullSession

__all__ = ["LocalTables"]


class LocalTables:
    """What a pull does on this side."""

    def __init__(self, session: PullSession) -> None:
        self._session = session
        self._store: Any = None

    @property
    def tracking(self) -> Any:
        """MLflow's interface to the store; made when the first thing comes, as it takes a second."""
        if self._store is None:
            from mltrack.mlflow_plugin.tracking import TrackingStore
            from mltrack.mlflow_plugin.uris import store_uri

            self._store = TrackingStore(store_uri(self._session.store.path.absolute()))
        return self._store

    def read(self) -> Tables:
        """What is here now."""
        return read_tables(self._session.store)

    def write(self, what: str, write: Callable[[], Any]) -> Any:
        """What MLflow's code returns; what it refuses is a problem of this one thing, and None is returned."""
        from mlflow.exceptions import MlflowException

        try:
            return write()
        except MlflowException as error:
            self._session.problem(f"{what}: {error}")
            return None

    def is_dry(self) -> bool:
        """Whether things are only counted; one more is."""
        self._session.count(evaluation_items=1)
        return bool(self._session.options.dry_run)

    def deleted(self) -> set[tuple[str, str]]:
        """What the next push deletes there: by kind the ids of datasets there, and the keys of the others."""
        deleted = deleted_here(self.read(), self._session.ledger.state.tables, tables_time(self._session.store))
        return {(each.kind, each.entry.remote or each.key) for each in deleted}

    def entry(self, kind: str, key: str) -> TableEntry:
        """What the ledger knows of one."""
        return self._session.ledger.state.tables.get((kind, key)) or TableEntry()

    def known_homes(self, remote_ids: Collection[str]) -> set[str]:
        """The experiments here that are known to be these of the server."""
        known = self._session.ledger.state.experiments.items()
        return {local for local, entry in list(known) if entry.remote in remote_ids}
