"""What MLflow keeps only in tables: kept by MLflow's own SQL store in one SQLite file of the store.

Evaluation datasets, scorers, issues, label schemas and review queues have no form of their own here. ``mlflow.db`` in
the store's workspace folder is made when the first of them is; experiments and runs stay the store's, and of them the
tables get no more than what is referred to, copied before each call that names it.
"""

from __future__ import annotations

import inspect
import os
import threading
from typing import TYPE_CHECKING, Any

from mlflow.entities import LifecycleStage
from mlflow.exceptions import MlflowException
from mlflow.store.entities.paged_list import PagedList

from mltrack.disk.filesystem import file_lock, open_or_make
from mltrack.errors import StoreError
from mltrack.mlflow_plugin.errors import raises_mlflow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from mltrack.store import Store

__all__ = ["DATABASE_METHODS", "LISTED", "DatabaseMethods"]

FILE = "mlflow.db"
WAIT_S = 120.0
"""How long to wait for another process that creates the file, or writes to it."""

DATABASE_METHODS: dict[str, tuple[str, ...]] = {
    "evaluation datasets": (
        "_load_dataset_records",
        "add_dataset_to_experiments",
        "create_dataset",
        "delete_dataset",
        "delete_dataset_records",
        "delete_dataset_tag",
        "get_dataset",
        "get_dataset_experiment_ids",
        "remove_dataset_from_experiments",
        "search_datasets",
        "set_dataset_tags",
        "upsert_dataset_records",
    ),
    "registered scorers": (
        "delete_scorer",
        "get_scorer",
        "list_scorer_versions",
        "list_scorers",
        "register_scorer",
    ),
    "issues": ("create_issue", "get_issue", "search_issues", "update_issue"),
    "label schemas": (
        "create_label_schema",
        "delete_label_schema",
        "get_label_schema",
        "get_label_schema_by_name",
        "list_label_schemas",
        "update_label_schema",
    ),
    "review queues": (
        "add_items_to_review_queue",
        "create_review_queue",
        "delete_review_queue",
        "get_or_create_user_queue",
        "get_review_queue",
        "get_review_queue_by_name",
        "list_review_queue_items",
        "list_review_queues",
        "remove_items_from_review_queue",
        "set_review_queue_item_status",
        "update_review_queue",
    ),
}
LISTED: tuple[str, ...] = (
    "get_dataset_experiment_ids",
    "list_review_queue_items",
    "list_review_queues",
    "list_scorers",
    "search_datasets",
    "search_issues",
)
"""Methods that pages of MLflow's UI call in any case; without a file they return an empty list."""


class DatabaseMethods:
    """The methods that MLflow's SQL store answers."""

    _store: Store
    _tables: Any = None
    _tables_lock = threading.Lock()

    if TYPE_CHECKING:  # what the other classes have

        def get_experiment(self, experiment_id: str) -> Any:
            """An experiment."""

        def get_run(self, run_id: str) -> Any:
            """A run."""

    @property
    def _tables_file(self) -> Path:
        return self._store.layout.workspace / FILE

    def _database(self) -> Any:
        """MLflow's SQL store on the file, which is created if it does not exist.

        Raises:
            StoreError: it can't be made.
        """
        with self._tables_lock:
            if self._tables is None or self._tables.path != self._tables_file:
                path = self._tables_file
                if "?" in str(path):
                    raise StoreError(f"{path} can't be a database: its path contains a '?'", hint="move the store")
                try:
                    with file_lock(path.with_name(f"{FILE}.lock"), timeout_s=WAIT_S):
                        os.close(open_or_make(path, os.O_RDWR))  # SQLite would create it for its owner only
                        self._tables = _sql_store(path, self.get_experiment)
                except OSError as error:
                    raise StoreError(
                        f"{path} can't be written: {error.strerror}", hint="check the store's permissions"
                    ) from error
            return self._tables

    def _in_tables(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        if not os.path.exists(self._tables_file):
            if name in LISTED:
                return PagedList([], None)
            if name == "_load_dataset_records":
                return [], None
        database = self._database()
        method = getattr(database, name)
        given = inspect.signature(method).bind(*args, **kwargs).arguments
        ids = given.get("experiment_ids") or []
        experiments = [*([ids] if isinstance(ids, str) else ids), given.get("experiment_id")]
        runs = [given.get("source_run_id")]
        database.refer_to(_existing(self.get_experiment, experiments), _existing(self.get_run, runs))
        return method(*args, **kwargs)


def _existing(get: Callable[[str], Any], ids: Iterable[Any]) -> list[Any]:
    """Those that exist: the SQL store refuses the others itself."""
    found = []
    for one in ids:
        if one:
            try:
                found.append(get(str(one)))
            except MlflowException:
                continue
    return found


def _sql_store(path: Path, experiment: Callable[[str], Any]) -> Any:
    # imported at the first use: MLflow's SQL tables take a second to import
    from mlflow.store.tracking.dbmodels.models import SqlExperiment, SqlRun
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    class Tables(SqlAlchemyStore):
        """MLflow's SQL store with rows only for those experiments and runs that its other tables refer to."""

        def __init__(self) -> None:
            self.path = path
            SqlAlchemyStore.__init__(self, f"sqlite:///{path}?timeout={WAIT_S:.0f}", str(path.parent))

        def get_experiment(self, experiment_id: str) -> Any:
            """As the store has it."""
            return experiment(experiment_id)

        def refer_to(self, experiments: Iterable[Any], runs: Iterable[Any]) -> None:
            """Add rows for these, so that others can refer to them."""
            rows: list[Any] = [
                SqlExperiment(
                    experiment_id=int(each.experiment_id),
                    name=f"experiment {each.experiment_id}",  # not its real name, which may be given to another one
                    lifecycle_stage=each.lifecycle_stage,
                    creation_time=each.creation_time,
                    last_update_time=each.last_update_time,
                )
                for each in experiments
            ]
            rows += [
                SqlRun(
                    run_uuid=each.info.run_id,
                    experiment_id=int(each.info.experiment_id),
                    name=each.info.run_name,
                    status=each.info.status,
                    start_time=each.info.start_time,
                    lifecycle_stage=LifecycleStage.ACTIVE,
                )
                for each in runs
            ]
            if rows:
                with self.ManagedSessionMaker(read_only=False) as session:
                    for row in rows:
                        session.merge(row)

    return Tables()


def _delegated(name: str) -> Callable[..., Any]:
    def call(self: DatabaseMethods, *args: Any, **kwargs: Any) -> Any:
        return self._in_tables(name, *args, **kwargs)

    call.__name__ = name
    call.__doc__ = "As MLflow's SQL store does it."
    return call


for _names in DATABASE_METHODS.values():
    for _name in _names:
        setattr(DatabaseMethods, _name, _delegated(_name))

raises_mlflow(DatabaseMethods)
