"""Where the files of a server's model version are, in the store's words: in a run, a logged model, another version."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mltrack_sync.mlflow.plan.id_mapping import local_number
from mltrack_sync.mlflow.plan.version_sources import MODEL_SOURCE, RUN_SOURCE, model_of, run_of, version_of

if TYPE_CHECKING:
    from mltrack_sync.ledger.view import LedgerView
    from mltrack_sync.mlflow.pull.run_ids import RunIds

__all__ = ["VersionPlace", "VersionPlaces"]


class VersionPlace(NamedTuple):
    """As in ModelVersion. ``pulled``: the files come with what is pulled; else they stay where the server has them."""

    source: str
    model_id: str | None = None
    as_address: bool = False
    pulled: bool = True


class VersionPlaces:
    """Finds them by the addresses that the ledger knows. Made once all runs and logged models are pulled."""

    def __init__(self, ids: RunIds, state: LedgerView) -> None:
        self._ids = ids
        self._state = state
        self._places: dict[str, str] = {}
        for run_id, run in list(state.runs.items()):
            if run.artifact_uri:
                self._places[run.artifact_uri.rstrip("/")] = f"{RUN_SOURCE}{run_id}"
        for local_id, model in list(state.logged.items()):
            if model.uri:
                self._places[model.uri.rstrip("/")] = f"{MODEL_SOURCE}{local_id}"

    def find(self, source: str, remote_model: str, *, prompt: bool) -> VersionPlace:
        """The place of a version.

        Args:
            source: What the server says.
            remote_model: The logged model that it names; "" for none.
            prompt: Whether it is a prompt, whose source means nothing.

        Raises:
            RemoteError: see mltrack_sync.errors.
        """
        model_id = self._ids.model_of(remote_model) if remote_model else None
        if prompt:
            return VersionPlace(source, model_id)
        if source.startswith(f"{MODEL_SOURCE}m-"):
            remote_id, path = model_of(source)
            local_id = self._ids.model_of(remote_id)
            return VersionPlace(_join(f"{MODEL_SOURCE}{local_id}", path), model_id or local_id)
        if source.startswith(MODEL_SOURCE):
            name, number = version_of(source)
            return VersionPlace(f"{MODEL_SOURCE}{name}/{local_number(self._state, name, number)}", model_id)
        if source.startswith(RUN_SOURCE):
            remote_run, path = run_of(source)
            return VersionPlace(_join(f"{RUN_SOURCE}{self._ids.of(remote_run)}", path), model_id)
        return self._at(source, model_id)

    def _at(self, source: str, model_id: str | None) -> VersionPlace:
        """The place of an address: in the artifacts of a run or a logged model that the ledger knows."""
        folder, path = source.rstrip("/"), ""
        while folder and folder not in self._places:
            folder, slash, name = folder.rpartition("/")
            if not slash:
                return VersionPlace(source, model_id, pulled=False)
            path = f"{name}/{path}" if path else name
        place = self._places.get(folder)
        if place is None:
            return VersionPlace(source, model_id, pulled=False)
        is_model = place.startswith(MODEL_SOURCE)
        owner = place.removeprefix(MODEL_SOURCE) if is_model else None
        return VersionPlace(_join(place, path), model_id or owner, as_address=is_model)


def _join(place: str, path: str) -> str:
    return f"{place}/{path}" if path else place
