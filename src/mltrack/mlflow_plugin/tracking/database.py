"""What MLflow keeps only in tables: kept by MLflow's own SQL store in one SQLite file of the store.

Evaluation datasets, scorers, issues, label schemas, review queues, the registry of MCP servers and the records of the
gateway have no form of their own here. Experiments, runs and traces stay the store's, and of them the tables get no
more than what is referred to, copied before each call that names it.
"""

from __future__ import annotations

import inspect
import os
from collections import Counter
from typing import TYPE_CHECKING, Any

from mlflow.entities import LifecycleStage
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.store.entities.paged_list import PagedList

from mltrack.mlflow_plugin.arguments import offset_of
from mltrack.mlflow_plugin.errors import raises_mlflow
from mltrack.mlflow_plugin.tables_file import FILE, TablesFile
from mltrack.mlflow_plugin.tracking.base import BaseStore
from mltrack.mlflow_plugin.tracking.delegated import DATABASE_METHODS, LISTED
from mltrack.mlflow_plugin.tracking.empty_lists import is_answered
from mltrack.mlflow_plugin.tracking.large_ids import with_large_ids
from mltrack.mlflow_plugin.tracking.unsupported import refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

__all__ = ["DatabaseMethods", "delegate"]

PASSPHRASE = "MLFLOW_CRYPTO_KEK_PASSPHRASE"
ISSUES_PAGE = 1000
IDS_AT_ONCE = 500


class DatabaseMethods(BaseStore):
    """The methods that MLflow's SQL store answers."""

    _tables: TablesFile[Any] | None = None

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
        if self._tables is None:
            self._tables = TablesFile(lambda uri: _sql_store(uri, self._tables_file.parent, self))
        return self._tables.open(self._tables_file)

    def _in_tables(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        if (
            name in LISTED
            and not os.path.exists(self._tables_file)
            and is_answered(name, args, kwargs, self._is_active)
        ):
            return PagedList([], None)
        database = self._database()
        method = getattr(database, name, None)
        if method is None:
            raise refusal(name, "this")
        given = inspect.signature(method).bind(*args, **kwargs).arguments
        ids = given.get("experiment_ids") or []
        if name.startswith(("list_", "search_")):
            ids = []  # of many experiments only what they have is asked for
        experiments = [*([ids] if isinstance(ids, str) else ids), given.get("experiment_id")]
        runs = [given.get("source_run_id")]
        database.refer_to(_existing(self.get_experiment, experiments), _existing(self.get_run, runs))
        try:
            return with_large_ids(method(*args, **kwargs))
        except NotImplementedError as error:
            raise refusal(name, "this") from error

    def _is_active(self, experiment_id: str) -> bool:
        return any(
            each.lifecycle_stage == LifecycleStage.ACTIVE for each in _existing(self.get_experiment, [experiment_id])
        )

    def _remove_from_tables(
        self, *, experiment_id: str | None = None, run_id: str | None = None, trace_ids: Sequence[str] = ()
    ) -> None:
        """Remove what the tables have of things that are removed for good."""
        if os.path.exists(self._tables_file):
            self._database().remove(experiment_id, run_id, list(trace_ids))

    # --- those that need more than to be passed on ---

    def _load_dataset_records(
        self, dataset_id: str, max_results: int | None = None, page_token: str | None = None
    ) -> tuple[list[Any], str | None]:
        """A page of the records of an evaluation dataset, and the token of the next one."""
        if not os.path.exists(self._tables_file):
            return [], None
        found: tuple[list[Any], str | None] = self._in_tables(
            "_load_dataset_records", dataset_id, max_results=max_results, page_token=page_token
        )
        return found

    def create_gateway_secret(
        self,
        secret_name: str,
        secret_value: dict[str, str],
        provider: str | None = None,
        auth_config: dict[str, Any] | None = None,
        created_by: str | None = None,
    ) -> Any:
        """Keep a secret of the gateway, encrypted by MLflow's code with the passphrase of the environment."""
        _check_passphrase()
        return self._in_tables("create_gateway_secret", secret_name, secret_value, provider, auth_config, created_by)

    def update_gateway_secret(
        self,
        secret_id: str,
        secret_value: dict[str, str] | None = None,
        auth_config: dict[str, Any] | None = None,
        updated_by: str | None = None,
    ) -> Any:
        """Change a secret of the gateway."""
        if secret_value is not None:
            _check_passphrase()
        return self._in_tables("update_gateway_secret", secret_id, secret_value, auth_config, updated_by)

    def search_issues(
        self,
        experiment_id: str | None = None,
        filter_string: str | None = None,
        max_results: int | None = None,
        page_token: str | None = None,
        include_trace_count: bool = False,
        **more: Any,
    ) -> Any:
        """Issues that match a filter; on request with the number of traces that have one, which the store knows.

        ``more`` is what later versions of MLflow than 3.17 take.
        """
        if not include_trace_count or more.get("order_by"):
            page = self._in_tables("search_issues", experiment_id, filter_string, max_results, page_token, **more)
            if include_trace_count and page:
                counts = self._issue_counts()
                for issue in page:
                    issue.trace_count = counts[issue.issue_id]
            return page
        from mlflow.store.tracking import SEARCH_ISSUES_DEFAULT_MAX_RESULTS
        from mlflow.utils.search_utils import SearchUtils

        offset = offset_of(page_token)
        limit = SEARCH_ISSUES_DEFAULT_MAX_RESULTS if max_results is None else max_results
        first = self._in_tables("search_issues", experiment_id, filter_string, limit, **more)  # refuses bad arguments
        more.pop("include_total_count", None)
        issues: list[Any] = []
        token = None
        while True:
            page = self._in_tables("search_issues", experiment_id, filter_string, ISSUES_PAGE, token, **more)
            issues += page
            token = page.token
            if token is None:
                break
        counts = self._issue_counts()
        for issue in issues:
            issue.trace_count = counts[issue.issue_id]
        # the pages are ordered by severity, then time; sorts are stable
        issues.sort(key=lambda issue: (issue.severity._rank if issue.severity else -1, issue.trace_count), reverse=True)
        has_more = len(issues) > offset + limit
        found: Any = PagedList(
            issues[offset : offset + limit], SearchUtils.create_page_token(offset + limit) if has_more else None
        )
        found.total_count = getattr(first, "total_count", None)
        return found

    def _issue_counts(self) -> Counter[str]:
        """How many traces have an issue, by its id."""
        return Counter(
            name
            for trace in self._store.traces.all()
            for name in {held.name for held in trace.assessments.values() if held.kind == "issue"}
        )


def _check_passphrase() -> None:
    if not os.environ.get(PASSPHRASE):
        raise MlflowException(  # MLflow's pages show messages of up to 200 characters
            f"A secret is not kept without a passphrase to encrypt it: start the server with {PASSPHRASE} set to a "
            "long random text, and keep that",
            INVALID_PARAMETER_VALUE,
        )


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


def _sql_store(uri: str, folder: Path, store: Any) -> Any:
    # imported at the first use: MLflow's SQL tables take a second to import
    from mlflow.store.tracking.dbmodels.models import SqlExperiment, SqlReviewQueueItem, SqlRun
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    class Tables(SqlAlchemyStore):
        """MLflow's SQL store with rows only for those experiments and runs that its other tables refer to."""

        def __init__(self) -> None:
            SqlAlchemyStore.__init__(self, uri, str(folder))

        def get_experiment(self, experiment_id: str) -> Any:
            """As the store has it."""
            return store.get_experiment(experiment_id)

        def get_experiment_by_name(self, experiment_name: str) -> Any:
            """As the store has it."""
            found = store.get_experiment_by_name(experiment_name)
            self.refer_to([] if found is None else [found], [])
            return found

        def create_experiment(
            self, name: str, artifact_location: str | None = None, tags: Sequence[Any] | None = None
        ) -> str:
            """In the store: the gateway makes one for the traces of an endpoint."""
            made: str = store.create_experiment(name, artifact_location, tags)
            self.refer_to([store.get_experiment(made)], [])
            return made

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

        def remove(self, experiment_id: str | None, run_id: str | None, trace_ids: list[str]) -> None:
            """Remove an experiment's row and what belongs to it, a run's row, and traces from review queues."""
            with self.ManagedSessionMaker(read_only=False) as session:
                for kind, key in ((SqlExperiment, experiment_id and int(experiment_id)), (SqlRun, run_id)):
                    row = None if key is None else session.get(kind, key)
                    if row is not None:
                        session.delete(row)
                for start in range(0, len(trace_ids), IDS_AT_ONCE):
                    some = trace_ids[start : start + IDS_AT_ONCE]
                    items = session.query(SqlReviewQueueItem).filter(SqlReviewQueueItem.item_type == "trace")
                    items.filter(SqlReviewQueueItem.item_id.in_(some)).delete(synchronize_session=False)

    return Tables()


def delegate(name: str) -> Callable[..., Any]:
    """A method that passes its call on to MLflow's SQL store."""

    def call(self: DatabaseMethods, *args: Any, **kwargs: Any) -> Any:
        return self._in_tables(name, *args, **kwargs)

    call.__name__ = name
    call.__doc__ = "As MLflow's SQL store does it."
    return call


for _names in DATABASE_METHODS.values():
    for _name in _names:
        if _name not in vars(DatabaseMethods):
            setattr(DatabaseMethods, _name, delegate(_name))

raises_mlflow(DatabaseMethods)
