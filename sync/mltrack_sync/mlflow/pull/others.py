"""What a server has besides runs: logged models, registered models, prompts and traces."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from mltrack_sync.http.shapes import identifier, mapping, shaped
from mltrack_sync.mlflow.api.capabilities import LOGGED_MODELS, TRACES, UnsupportedFeatureError
from mltrack_sync.mlflow.plan.kinds import LOGGED_MODEL
from mltrack_sync.mlflow.pull.logged_models import LoggedModelPull, model_fingerprint
from mltrack_sync.mlflow.pull.registry import RegistryPull
from mltrack_sync.mlflow.pull.tables import TablesPull
from mltrack_sync.mlflow.pull.trace_listing import TracesPull
from mltrack_sync.mlflow.workers import JobRunner, WorkerPool

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from mltrack_sync.http.shapes import Fields
    from mltrack_sync.mlflow.pull.experiments import Experiments
    from mltrack_sync.mlflow.pull.run_ids import RunIds
    from mltrack_sync.mlflow.pull.session import PullSession

__all__ = ["OthersPull"]

EXPERIMENTS_AT_ONCE = 50


class OthersPull:
    """Brings them, each kind after those that it names."""

    def __init__(
        self, session: PullSession, ids: RunIds, experiments: Experiments, experiment_ids: Sequence[str]
    ) -> None:
        """``experiment_ids`` are those of the selected experiments on the server."""
        self._session = session
        self._ids = ids
        self._experiments = experiments
        self._experiment_ids = experiment_ids

    def pull_prompts(self) -> None:
        """Bring prompts: runs and traces name their versions.

        Raises:
            RemoteError: see mltrack_sync.errors.
        """
        if self._session.options.selection.everything:
            RegistryPull(self._session, self._ids, prompts=True).pull()

    def pull(self) -> None:
        """Bring what is new of each other kind that the server has.

        Raises:
            RemoteError: see mltrack_sync.errors.
        """
        try:
            for page in self._model_pages():
                self._session.listed_models.update(self._model_id(fields) for fields in page)
                self._pull_models(page)
        except UnsupportedFeatureError:
            pass
        RegistryPull(self._session, self._ids, prompts=False).pull()
        if TRACES not in self._session.features.unsupported:
            TracesPull(self._session, self._ids, self._experiments, self._experiment_ids).pull()
            TablesPull(self._session, self._experiments, self._experiment_ids).pull()

    # --- logged models ---

    def pull_named_models(self, remote_ids: Iterable[str]) -> None:
        """Bring the logged models that selected runs made or used.

        Raises:
            RemoteError: see mltrack_sync.errors.
        """
        found = []
        try:
            for remote_id in remote_ids:
                self._session.check()
                with self._session.features.needing(LOGGED_MODELS):
                    fields = self._session.read.logged_model(remote_id)
                if fields is not None:
                    found.append(fields)
        except UnsupportedFeatureError:
            return
        self._pull_models(found)

    def _model_pages(self) -> Iterator[list[Fields]]:
        ids, session = self._experiment_ids, self._session
        for start in range(0, len(ids), EXPERIMENTS_AT_ONCE):
            pages = session.read.search_logged_models(ids[start : start + EXPERIMENTS_AT_ONCE])
            while True:
                session.check()
                with session.features.needing(LOGGED_MODELS):
                    page = next(pages, None)
                if page is None:
                    break
                yield list(page)

    def _pull_models(self, page: Sequence[Fields]) -> None:
        session = self._session
        new = [fields for fields in page if self._is_new(fields)]
        if session.options.dry_run:
            session.count(logged_models=len(new))
            return
        runner = JobRunner(session, LOGGED_MODEL)
        jobs = ((self._model_id(fields), partial(self._pull_model, fields)) for fields in new)
        WorkerPool(runner, session.options.jobs).run(jobs)
        session.check()

    def _pull_model(self, fields: Fields) -> None:
        LoggedModelPull(self._session, self._ids, self._experiments, fields).pull()

    def _model_id(self, fields: Fields) -> str:
        with shaped(self._session.client.url, "logged-models/search", fields):
            return identifier(mapping(fields["info"])["model_id"])

    def _is_new(self, fields: Fields) -> bool:
        remote_id = self._model_id(fields)
        entry = self._session.ledger.state.pulled.get(remote_id)
        most = self._session.options.artifact_bytes_max
        if entry is None or entry.fingerprint != model_fingerprint(fields) or self._session.options.recheck:
            return True
        if entry.files is not None and (most is None or most > entry.files):
            return True
        return not self._session.store.logged_models.has(entry.run_id)
