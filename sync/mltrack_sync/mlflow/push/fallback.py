"""Where a remote has no logged models: a model's files go to the run that made it, in MLflow 2's layout.

They are in a folder with the model's name. Where the run has files of that name, or another model of the run has the
folder, the name also includes the model's id. The ledger has the folder before the first file is sent; if the ledger
was lost, the folder is recognised by its ``MLmodel`` on the remote.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from mltrack.errors import NotFoundError
from mltrack_sync.errors import RemoteRefusedError
from mltrack_sync.ledger.fallback import FallbackEntry
from mltrack_sync.mlflow.files.content import FileChanged
from mltrack_sync.mlflow.files.upload import artifact_digest, artifact_sizes
from mltrack_sync.mlflow.plan.fallback import fallback_run, has_files_for_run
from mltrack_sync.mlflow.plan.kinds import LOGGED_MODEL, LOGGED_MODEL_FILE_IN_RUN
from mltrack_sync.mlflow.plan.mlmodel import MLMODEL, mlmodel_in_run
from mltrack_sync.mlflow.plan.pending_models import files_for_run
from mltrack_sync.mlflow.push.model_files import LoggedFiles, Target, as_it_goes

if TYPE_CHECKING:
    from mltrack.entities import LoggedModel
    from mltrack_sync.ledger.runs import RunEntry
    from mltrack_sync.mlflow.push.session import Session

__all__ = ["ModelInRun", "Places"]

_CLEAN = re.compile("[^/\\\\:%?#\"'\x00-\x1f\x7f\ud800-\udfff]{1,200}")


class Places:
    """Finds the folder of each model in its run. Used in one sync cycle, by many threads."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._first: dict[tuple[str, str], str] = {}
        for model in session.store.logged_models.models():
            if has_files_for_run(model):
                self._first.setdefault((str(model.source_run_id), model.name), model.model_id)

    def of(self, model: LoggedModel, run: RunEntry) -> FallbackEntry:
        """The ledger's entry of the model in ``run``, which made it; without one, a folder is chosen and noted.

        Raises:
            FileChanged: a file's content is no longer what was recorded.
            RemoteError, LedgerError, OSError: see mltrack_sync.errors.
        """
        fallbacks, run_id = self._session.ledger.state.fallbacks, str(model.source_run_id)
        known = fallbacks.get(model.model_id)
        if known is None or (known.of, known.remote_run) != (run_id, run.remote_id):
            place = model.model_id
            if _CLEAN.fullmatch(model.name) and model.name.strip(". "):
                place = model.name if self._may_have(model, run) else f"{model.name}-{model.model_id}"
            self._session.ledger.fallback_placed(model.model_id, run_id, run.remote_id, place)
        return fallbacks[model.model_id]

    def _may_have(self, model: LoggedModel, run: RunEntry) -> bool:
        """Whether the model may have the folder of its name: it has its files already, or nobody else uses it."""
        fallbacks = dict(self._session.ledger.state.fallbacks)
        others = [entry for model_id, entry in fallbacks.items() if model_id != model.model_id]
        if any((other.remote_run, other.place) == (run.remote_id, model.name) for other in others):
            return False
        is_own = self._holds_model(model, run)
        if is_own is not None:
            return is_own
        is_first = self._first.get((str(model.source_run_id), model.name)) == model.model_id
        return is_first and not self._is_taken(str(model.source_run_id), run, model.name)

    def _is_taken(self, run_id: str, run: RunEntry, place: str) -> bool:
        """Whether files of the run are in that folder, or will be."""
        paths = set(run.artifacts)
        try:
            paths |= {artifact.path for artifact in self._session.store.run(run_id).artifacts}
        except NotFoundError:
            pass  # the run's space was freed: the ledger knows what was sent
        return any(path == place or path.startswith(f"{place}/") for path in paths)

    def _holds_model(self, model: LoggedModel, run: RunEntry) -> bool | None:
        """Whether the folder of its name on the remote holds this model; None where it holds no model."""
        files = sorted(model.artifacts, key=lambda artifact: (artifact.path != MLMODEL, artifact.path))
        if not files:
            return None
        state, client = self._session.ledger.state, self._session.client
        path = self._session.store.logged_models.folder(model.model_id).artifacts / files[0].path
        mlmodel = partial(mlmodel_in_run, model=model, place=model.name, uri=run.artifact_uri, state=state)
        with as_it_goes(files[0], path, mlmodel) as (content, _):
            asked = replace(content, path=posixpath.join(model.name, files[0].path))
        try:
            own = client.own_place(run.artifact_uri)
            if own is None and asked.path not in artifact_sizes(client, run.remote_id, [asked]):
                return None  # older servers answer 500 for a missing file
            return artifact_digest(client, run.artifact_uri, asked) == (asked.size, asked.sha256)
        except RemoteRefusedError as error:
            return None if error.status == 404 or error.code == "NOT_FOUND" else False


class ModelInRun:
    """Brings the files of one model up to date in its run on the remote. Used once, by one worker."""

    def __init__(self, session: Session, places: Places, model_id: str) -> None:
        self._session = session
        self._places = places
        self._model_id = model_id

    def push(self) -> None:
        """Send all files that the remote lacks. An unfinished model waits; so does one without a remote run.

        Raises:
            RemoteError, LedgerError, PushStopped, NotFoundError, OSError: see mltrack_sync.errors.
        """
        session = self._session
        size = session.store.logged_models.folder(self._model_id).log.stat().st_size
        model = session.store.logged_models.get(self._model_id)
        run = fallback_run(model, session.ledger.state)
        if run is None:
            return
        session.check()
        try:
            entry = self._places.of(model, run)
        except FileChanged as error:
            session.problem(f"{LOGGED_MODEL} {self._model_id}: {MLMODEL} {error}")
            return
        files = files_for_run(model, session.ledger.state, retry=session.retry_rejected)
        troubles = LoggedFiles(session, model, self._target(model, run, entry), files).end()
        for words in troubles:
            session.problem(f"{LOGGED_MODEL} {self._model_id}: {words}")
        if not troubles:
            session.ledger.fallback_settled(self._model_id, size)

    def _target(self, model: LoggedModel, run: RunEntry, entry: FallbackEntry) -> Target:
        state = self._session.ledger.state
        return Target(
            local_id=entry.of,
            remote_id=run.remote_id,
            uri=run.artifact_uri,
            kind=LOGGED_MODEL_FILE_IN_RUN,
            note_sent=partial(self._session.ledger.fallback_file_sent, model.model_id),
            mlmodel=partial(mlmodel_in_run, model=model, place=entry.place, uri=run.artifact_uri, state=state),
            place=entry.place,
        )
