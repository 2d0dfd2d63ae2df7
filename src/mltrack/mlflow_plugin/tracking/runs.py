"""The tracking store's methods for runs: create, read, change, search and delete."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from mlflow.entities import LifecycleStage, Run, RunStatus
from mlflow.exceptions import MlflowException
from mlflow.store.tracking import SEARCH_MAX_RESULTS_THRESHOLD
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME
from mlflow.utils.name_utils import _generate_random_name

from mltrack.entities import ACTIVE, DELETED
from mltrack.errors import NotFoundError, StoreError, UsageError
from mltrack.mlflow_plugin.errors import beginning, raises_mlflow
from mltrack.mlflow_plugin.joining import run_to_join, sets_status
from mltrack.mlflow_plugin.launch_handoff import launched_run, tags_to_set
from mltrack.mlflow_plugin.run_pool import status_event
from mltrack.mlflow_plugin.tracking.base import BaseStore
from mltrack.mlflow_plugin.tracking.conversion import (
    RunPlaces,
    as_inputs,
    as_outputs,
    as_run,
    as_run_data,
    as_run_info,
)
from mltrack.mlflow_plugin.tracking.experiments import active, decimal_id, decimal_ids
from mltrack.mlflow_plugin.tracking.filter_words import with_filter_words
from mltrack.mlflow_plugin.tracking.paging import check_max_results
from mltrack.mlflow_plugin.uris import artifact_uri
from mltrack.storage.runs.edit import set_stage
from mltrack.storage.runs.unrecorded_files import found_files
from mltrack.text.shown import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mltrack.mlflow_plugin.pooled_run import OpenRun

__all__ = ["Runs"]

_MS = 1_000_000
_TIME_MS_MAX = (1 << 63) // _MS - 1


def _in_ns(name: str, time_ms: float) -> int:
    """A time in ns.

    Raises:
        UsageError: it is out of the store's range, as one in ns already is.
    """
    if not isinstance(time_ms, int | float) or not -_TIME_MS_MAX <= time_ms <= _TIME_MS_MAX:
        raise UsageError(f"Invalid value {shown(time_ms)} for '{name}': it is in milliseconds since 1970")
    return int(time_ms * _MS)


@raises_mlflow
class Runs(BaseStore):
    """Runs as a whole; RunData has what is logged to them."""

    # --- creating and reading ---

    def create_run(
        self,
        experiment_id: str | None,
        user_id: str,
        start_time: int | None,
        tags: list[Any] | None,
        run_name: str | None,
    ) -> Any:
        """Create a RUNNING run, named by ``run_name``, else by its tag, else at random."""
        if experiment_id == "":
            raise UsageError("Invalid experiment ID ''. Experiment ID must be a valid integer.")
        with beginning(NotFoundError, f"No Experiment with id={decimal_id(experiment_id)} exists"):
            experiment = active(self._store.workspace.get(decimal_id(experiment_id)))
        texts = {tag.key: str(tag.value) for tag in tags or [] if tag.value is not None}
        named = texts.get(MLFLOW_RUN_NAME)
        if run_name and named and run_name != named:
            raise UsageError(
                "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with "
                f"different values (run_name='{run_name}', mlflow.runName='{named}')."
            )
        joined = run_to_join(self._store, texts)
        if joined is not None:
            return self._join(joined, {key: value for key, value in texts.items() if key != MLFLOW_RUN_NAME})
        launched = launched_run(self._store, texts)
        if launched is not None:
            return self._join(launched, texts | ({MLFLOW_RUN_NAME: run_name} if run_name else {}))
        name = texts[MLFLOW_RUN_NAME] = str(run_name or named or _generate_random_name())
        start = {
            "run_name": name,
            "experiment_id": experiment.experiment_id,
            "experiment_name": experiment.name,
            "start_time": time.time_ns() if start_time is None else _in_ns("start_time", start_time),
        }
        if user_id:
            start["user_id"] = user_id
        events = ({"type": "tag", "key": key, "value": value} for key, value in texts.items())
        return self.get_run(self._pool.create(start, *events))

    def _join(self, run_id: str, tags: dict[str, Any]) -> Any:
        """The run that the program records or was launched for, with the tags of a new one."""
        with self._runs.reading(run_id) as run:
            held = run.tags
        added = tags_to_set(tags, held, named=MLFLOW_RUN_NAME in tags)
        self._pool.emit(run_id, *({"type": "tag", "key": key, "value": value} for key, value in added.items()))
        return self.get_run(run_id)

    def get_run(self, run_id: str) -> Any:
        """The run as it is now, with its inputs and outputs."""
        with self._runs.reading(run_id) as run:
            return as_run(run, self._places())

    def _places(self) -> RunPlaces:
        return RunPlaces(self._artifact_root, self._store.workspace.experiments())

    @property
    def _artifact_root(self) -> str:
        """The start of the runs' artifact URIs: where the store is now."""
        return artifact_uri(self._store.layout.runs.absolute())

    # --- changing ---

    def update_run_info(self, run_id: str, run_status: int | None, end_time: int | None, run_name: str | None) -> Any:
        """Change status, end time (ms) and name, each if given; a status that ends the run seals its points."""
        if end_time is not None:
            _in_ns("end_time", end_time)  # before anything is changed
        ends = run_status is not None and RunStatus.is_terminated(run_status)
        if (run_status is not None or end_time is not None) and not sets_status(run_id, ends=ends):
            run_status = end_time = None
        if run_status == RunStatus.RUNNING and end_time is None:
            self._pool.resume(run_id)
        held = self._pool.active(run_id)
        if run_status is not None and run_status not in RunStatus.all_status():
            raise MlflowException(
                f"Could not get string corresponding to run status {run_status}."
                f" Valid run statuses: {RunStatus.all_status()}"
            )
        if run_name:
            self._pool.emit(run_id, {"type": "tag", "key": MLFLOW_RUN_NAME, "value": str(run_name)})
        if run_status is not None or end_time is not None:
            with held.lock:
                held.refresh()
                now, ended, crashed = held.state.outcome()
            status = now if run_status is None else RunStatus.to_string(run_status)
            end = (None if crashed else ended) if end_time is None else _in_ns("end_time", end_time)
            if ends:
                self._record_found_files(run_id, held)
                self._pool.end(run_id, status, end)
            elif status != "RUNNING" or end_time is not None:
                self._pool.emit(run_id, status_event(status, end))
        try:
            with self._runs.reading(run_id) as run:
                return as_run_info(run.info, self._places())
        except OSError:  # the change is made; return the run as it was last read
            return as_run_info(held.state.info(), self._places())

    def _record_found_files(self, run_id: str, held: OpenRun) -> None:
        """Record files that the program itself wrote into the artifact folder."""
        with held.lock:
            folder, known = held.state.folder, held.state.artifacts
        try:
            events = found_files(folder, known)
        except OSError as error:
            raise StoreError(
                f"{error.filename} can't be read: {error.strerror}", hint="check its permissions"
            ) from error
        if events:
            self._pool.emit(run_id, *events)

    def delete_run(self, run_id: str) -> None:
        """Mark a run as deleted; its metrics, params and tags stay, so it can be restored."""
        self._set_stage(run_id, DELETED)

    def restore_run(self, run_id: str) -> None:
        """Restore a deleted run."""
        self._set_stage(run_id, ACTIVE)

    def _set_stage(self, run_id: str, stage: str) -> None:
        with self._runs.reading(run_id) as run:
            if run.state.stage == stage:
                return
        if stage == DELETED:
            self._pool.close(run_id)
        set_stage(self._store.layout, run_id, stage)

    def _hard_delete_run(self, run_id: str) -> None:
        """Remove a run permanently, with its files."""
        with self._runs.reading(run_id):
            self._pool.close(run_id)
        self._purge(run_id)
        self._remove_from_tables(run_id=run_id)

    def _get_deleted_runs(self, older_than: int = 0) -> list[str]:
        """The ids of the runs that were deleted at least ``older_than`` ms ago."""
        until = time.time_ns() - older_than * _MS
        found = []
        page: Any = self._store.search_runs(run_view_type="DELETED_ONLY", max_results=SEARCH_MAX_RESULTS_THRESHOLD)
        while True:
            for record in page:
                try:
                    with self._runs.reading(record.run_id) as run:
                        if run.state.stage == DELETED and run.state.staged_at <= until:
                            found.append(record.run_id)
                except NotFoundError:
                    continue
            if page.token is None:
                return found
            page = self._store.search_runs(
                run_view_type="DELETED_ONLY", max_results=SEARCH_MAX_RESULTS_THRESHOLD, page_token=page.token
            )

    # --- searching ---

    def _search_runs(
        self,
        experiment_ids: Sequence[str],
        filter_string: str | None,
        run_view_type: int,
        max_results: int | None,
        order_by: Sequence[str] | None,
        page_token: str | None,
    ) -> tuple[list[Any], str | None]:
        """A page of runs that match a filter, and the token of the next page."""
        check_max_results(max_results, null=True)
        LifecycleStage.view_type_to_stages(run_view_type)
        with with_filter_words(filter_string, order_by, page_token):
            found = self._store.search_runs(
                decimal_ids(experiment_ids),
                filter_string or "",
                run_view_type,
                max_results or SEARCH_MAX_RESULTS_THRESHOLD,
                order_by,
                page_token,
                artifact_root=self._artifact_root,
            )
        places = self._places()
        runs = [
            Run(
                as_run_info(record.info, places),
                as_run_data(record.latest, record.data.params, record.data.tags),
                as_inputs(record.datasets, record.model_inputs),
                as_outputs(record.model_outputs),
            )
            for record in found
        ]
        return runs, found.token
