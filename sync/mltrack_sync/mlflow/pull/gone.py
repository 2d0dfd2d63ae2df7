"""What was pulled before and the server does not list any more: logged models that were deleted, things gone for good.

That something is not there is no proof that somebody wanted it gone: the server may have lost its database. So what was
removed for good stays here, which is said once. A logged model that the server still has, as a deleted one, is marked
as deleted here too, unless it was changed here.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from mltrack.entities import ACTIVE, DELETED
from mltrack.text.printable import printable
from mltrack_sync.errors import RemoteRefusedError
from mltrack_sync.mlflow.api.capabilities import LOGGED_MODELS
from mltrack_sync.mlflow.plan.kinds import LOGGED_MODEL, RUN

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from mltrack_sync.ledger.models import LoggedEntry
    from mltrack_sync.mlflow.pull.session import PullSession

__all__ = ["GoneThings", "note_gone"]

ASKED_MAX = 200
"""After so many things in one pull the server is not asked for more: the next pull goes on."""


def note_gone(
    session: PullSession,
    kind: str,
    keys: Collection[str],
    listed: Collection[str],
    names: Mapping[str, str] | None = None,
) -> None:
    """Say once what is gone, and have the ledger know it; and forget so of what is listed again.

    Args:
        session: The pull.
        kind: What kind of things these are.
        keys: Those that are gone: their ids on the server, or names.
        listed: Those that are there.
        names: What to call those that are not called by their keys.
    """
    gone = session.ledger.state.gone
    new = sorted(key for key in keys if (kind, key) not in gone)
    for key in new:
        words = f"{kind} {printable((names or {}).get(key, key))} is gone from the server for good: it stays here"
        session.note_some(f"{kind}s that are gone from the server for good stay here", words)
    session.ledger.gone(kind, new)
    session.ledger.gone(kind, [key for its_kind, key in gone if its_kind == kind and key in listed], gone=False)


class GoneThings:
    """Runs and logged models of a pull of whole experiments that the server did not list."""

    def __init__(self, session: PullSession, experiment_ids: Collection[str]) -> None:
        """``experiment_ids`` are those of the selected experiments on the server."""
        self._session = session
        self._experiment_ids = experiment_ids
        self._asked = 0

    def note(self) -> None:
        """Ask for what is not listed, and say what became of it.

        Raises:
            RemoteError: see mltrack_sync.errors.
        """
        session = self._session
        gone = [remote_id for remote_id in self._unlisted_runs() if self._may_ask() and self._is_run_gone(remote_id)]
        note_gone(session, RUN, gone, session.selected_runs)
        if LOGGED_MODELS in session.features.unsupported:
            return
        lost = []
        for model_id, entry in self._unlisted_models():
            if not self._may_ask():
                break
            if session.read.logged_model(entry.remote_id) is None:
                lost.append(entry.remote_id)
            else:
                self._delete_model(model_id, entry)
        note_gone(session, LOGGED_MODEL, lost, session.listed_models)

    def _may_ask(self) -> bool:
        self._session.check()
        self._asked += 1
        return self._asked <= ASKED_MAX

    def _is_selected(self, experiment_id: str) -> bool:
        return self._session.options.selection.everything or experiment_id in self._experiment_ids

    def _unlisted_runs(self) -> Iterator[str]:
        session, state = self._session, self._session.ledger.state
        for remote_id, pulled in list(state.pulled.items()):
            sent = state.runs.get(pulled.run_id)
            if sent is None or sent.remote_id != remote_id or not self._is_selected(sent.experiment_id):
                continue
            is_known = remote_id in session.selected_runs or (RUN, remote_id) in state.gone
            if not is_known and session.store.layout.run(pulled.run_id).events.is_dir():
                yield remote_id

    def _is_run_gone(self, remote_id: str) -> bool:
        try:
            self._session.client.get_run(remote_id)
        except RemoteRefusedError as error:
            return error.is_missing
        return False

    def _unlisted_models(self) -> Iterator[tuple[str, LoggedEntry]]:
        session, state = self._session, self._session.ledger.state
        models = session.store.logged_models
        for model_id, entry in list(state.logged.items()):
            was_pulled = entry.remote_id in state.pulled and self._is_selected(entry.experiment_id)
            if not was_pulled or entry.remote_id in session.listed_models:
                continue
            is_known = entry.stage == DELETED or (LOGGED_MODEL, entry.remote_id) in state.gone
            if not is_known and models.has(model_id) and models.get(model_id).lifecycle_stage == ACTIVE:
                yield model_id, entry

    def _delete_model(self, model_id: str, entry: LoggedEntry) -> None:
        """It is deleted on the server: here too, unless it has something that the server does not have."""
        session, models = self._session, self._session.store.logged_models
        log, deleted = models.folder(model_id).log, copy.deepcopy(entry)
        deleted.stage = DELETED
        if log.stat().st_size != entry.settled:
            what = "logged models that were deleted on the server stay, as they were changed here"
            session.note_some(what, f"logged model {model_id} was deleted on the server, and changed here: it stays")
            session.ledger.logged_model_changed(model_id, deleted)
            return
        models.set_stage(model_id, DELETED)
        deleted.settled = log.stat().st_size
        session.ledger.logged_model_changed(model_id, deleted)
        what = "logged models that were deleted on the server are marked as deleted here"
        session.note_some(what, f"logged model {model_id} was deleted on the server: it is marked as deleted here, too")
