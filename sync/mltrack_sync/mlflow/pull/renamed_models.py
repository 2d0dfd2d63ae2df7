"""Registered models and prompts that have another name on the server than when they were pulled or pushed, or are gone.

MLflow gives registered models no ids. What a rename leaves as it was is when the model and its versions were created
(in ms), and the marks that a push left at versions. So a model is taken for the renamed one if it is new on the server,
and each version that was seen is there with its number and its time or mark, and no longer under the former name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack.environment import PROMPT_TAG, VERSION_TAG
from mltrack.errors import NotFoundError
from mltrack.text.printable import printable
from mltrack_sync.mlflow.plan.kinds import MODEL, MODEL_VERSION
from mltrack_sync.mlflow.plan.pending_registry import has_mark, version_mark
from mltrack_sync.mlflow.pull.gone import note_gone

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mltrack_sync.ledger.registry import ModelEntry
    from mltrack_sync.mlflow.pull.registered_models import TheirModel, TheirVersion
    from mltrack_sync.mlflow.pull.session import PullSession

__all__ = ["RenamedModels"]


class RenamedModels:
    """Finds them, and renames what is here. Used where all models of the server are listed."""

    def __init__(self, session: PullSession, *, prompts: bool) -> None:
        """``prompts``: of these, and of no other registered models."""
        self._session = session
        self._prompts = prompts
        self._registry = session.store.registry

    def settle(self, models: Mapping[str, TheirModel], versions: Mapping[str, Sequence[TheirVersion]]) -> None:
        """Rename what was renamed; say what is gone.

        Args:
            models: All that the server has, by name.
            versions: Their versions, by the models' names.
        """
        known = {name: entry for name, entry in self._known().items() if self._is_here(name)}
        new = [one for name, one in models.items() if name not in self._session.ledger.state.models]
        lost: list[str] = []
        for name, entry in sorted(known.items()):
            if name in models and self._is_same(name, entry, models[name], versions.get(name, ())):
                continue
            same = [one for one in new if self._is_same(name, entry, one, versions.get(one.name, ()))]
            is_renamed = len(same) == 1 and self._rename(name, same[0].name)
            if not is_renamed and name not in models:
                lost.append(name)
        note_gone(self._session, "prompt" if self._prompts else MODEL, lost, models)
        self._note_gone_versions(models, versions)

    def _known(self) -> dict[str, ModelEntry]:
        """What the ledger has of this kind."""
        models = list(self._session.ledger.state.models.items())
        is_prompt = {name: entry.tags.get(PROMPT_TAG, "").lower() == "true" for name, entry in models}
        return {name: entry for name, entry in models if entry.made and is_prompt[name] is self._prompts}

    def _is_here(self, name: str) -> bool:
        try:
            self._registry.get_model(name)
        except NotFoundError:
            return False
        return True

    def _is_same(self, name: str, entry: ModelEntry, theirs: TheirModel, versions: Sequence[TheirVersion]) -> bool:
        """Whether the server's model is the one that is called ``name`` here."""
        by_number = {str(version.number): version for version in versions}
        seen = [(number, version) for number, version in entry.versions.items() if version.remote]
        if not seen:
            return 0 < theirs.created == self._registry.get_model(name).creation_time
        marks = {
            each.version: version_mark(self._session.store.store_id, each) for each in self._registry.versions(name)
        }
        for number, version in seen:
            found = by_number.get(version.remote)
            if found is None:
                return False
            is_marked = number in marks and has_mark(marks[number], found.number, found.created, found.tags)
            if not (is_marked or 0 < found.created == version.made):
                return False
        return True

    def _rename(self, name: str, new_name: str) -> bool:
        session, shown = self._session, f"model {printable(name)!r}"
        if self._is_here(new_name):
            session.note(f"{shown} is called {printable(new_name)!r} on the server: another one has that name here")
            return False
        for version in self._registry.versions(name):  # by its mark it is found again, also under the new name
            if VERSION_TAG not in version.tags:
                mark = version_mark(session.store.store_id, version)
                self._registry.set_version_tag(name, version.version, VERSION_TAG, mark)
        self._registry.rename_model(name, new_name)
        session.ledger.model_renamed(name, new_name)
        session.note(f"{shown} was renamed on the server: it is called {printable(new_name)!r} here, too")
        return True

    def _note_gone_versions(
        self, models: Mapping[str, TheirModel], versions: Mapping[str, Sequence[TheirVersion]]
    ) -> None:
        gone, listed = [], []
        for name, entry in self._known().items():
            if name not in models or not self._is_here(name):
                continue
            numbers = {str(version.number) for version in versions.get(name, ())}
            here = {(version.version, version.creation_time) for version in self._registry.versions(name)}
            for number, version in entry.versions.items():
                key = f"{name}/{version.remote}"
                if version.remote in numbers:
                    listed.append(key)
                elif version.remote and (number, version.made) in here:
                    gone.append(key)
        note_gone(self._session, MODEL_VERSION, gone, listed)
