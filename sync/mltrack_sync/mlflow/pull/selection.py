"""Which runs of a server are meant: by experiment, by a filter in the server's grammar, by id or name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack.disk.layout import is_run_id
from mltrack.errors import FilterError, NotFoundError
from mltrack_sync.errors import RemoteRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mltrack_sync.mlflow.api.client import MlflowClient, RemoteExperiment, RemoteRun
    from mltrack_sync.mlflow.pull.session import PullSession

__all__ = ["RemoteSelection"]

EXPERIMENTS_AT_ONCE = 50
PAGE_ROWS = 200
"""Runs of a page: those with many metrics are large."""


class RemoteSelection:
    """The selected part of a server."""

    def __init__(self, session: PullSession) -> None:
        """Ask for the experiments.

        Raises:
            NotFoundError: one that was named does not exist there.
            RemoteError: see mltrack_sync.errors.
        """
        self._session = session
        self._client: MlflowClient = session.client
        self._wanted = session.options.selection
        rows = min(session.limits.search_page_rows, 1000)
        self.experiments: dict[str, RemoteExperiment] = {}
        for one in self._client.experiments(rows):
            self.experiments[one.experiment_id] = one
        names = set(self._wanted.experiments)
        if names:
            self.experiments = {key: one for key, one in self.experiments.items() if one.name in names}
            for name in sorted(names - {one.name for one in self.experiments.values()}):
                raise NotFoundError(f"no experiment {name!r} on {self._client.url}", hint="see the server's page")

    def pages(self) -> Iterator[list[RemoteRun]]:
        """The selected runs, deleted ones too, page by page.

        Raises:
            NotFoundError: a run that was named does not exist there.
            FilterError: the server refuses the filter.
            RemoteError: see mltrack_sync.errors.
        """
        if self._wanted.runs:
            yield self._named()
            return
        ids = list(self.experiments)
        for start in range(0, len(ids), EXPERIMENTS_AT_ONCE):
            yield from self._search(ids[start : start + EXPERIMENTS_AT_ONCE], self._wanted.filter)

    def _search(self, experiment_ids: Sequence[str], filter_string: str) -> Iterator[list[RemoteRun]]:
        rows = min(self._session.limits.search_page_rows, PAGE_ROWS)
        try:
            yield from self._client.search_runs(experiment_ids, rows, filter_string, deleted=True)
        except RemoteRefusedError as error:
            if not filter_string or error.is_missing:
                raise
            hint = "it is in the grammar of MLflow's search_runs, as this server understands it"
            raise FilterError(f"{self._client.url} refuses the filter: {error.words}", hint=hint) from error

    def _named(self) -> list[RemoteRun]:
        found = {run.run_id: run for text in self._wanted.runs for run in self._runs(text)}
        found = {key: run for key, run in found.items() if run.experiment_id in self.experiments}
        if self._wanted.filter:
            experiments = sorted({run.experiment_id for run in found.values()})
            passing = {run.run_id for page in self._search(experiments, self._wanted.filter) for run in page}
            found = {key: run for key, run in found.items() if key in passing}
        return list(found.values())

    def _runs(self, text: str) -> list[RemoteRun]:
        """Runs by their id here or there, or by name."""
        remote_ids = [key for key, entry in list(self._session.ledger.state.pulled.items()) if entry.run_id == text]
        for remote_id in [*remote_ids, text]:
            run = self._by_id(remote_id)
            if run is not None:
                return [run]
        found: list[RemoteRun] = []
        if is_run_id(text):
            found = self._everywhere(self._client.run_filter.format(text))
        elif "'" not in text and '"' not in text:
            found = self._everywhere(f"attributes.run_name = '{text}'")
        if not found:
            raise NotFoundError(f"no run {text!r} on {self._client.url}", hint="give its id there or here, or its name")
        return found

    def _by_id(self, remote_id: str) -> RemoteRun | None:
        try:
            return self._client.get_run(remote_id)
        except RemoteRefusedError:  # in whatever words: servers differ in what they say of an id that can't be one
            return None

    def _everywhere(self, filter_string: str) -> list[RemoteRun]:
        ids = list(self.experiments)
        found: list[RemoteRun] = []
        for start in range(0, len(ids), EXPERIMENTS_AT_ONCE):
            some = ids[start : start + EXPERIMENTS_AT_ONCE]
            found += [run for page in self._search(some, filter_string) for run in page]
        return found
