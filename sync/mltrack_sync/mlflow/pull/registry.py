"""The registry of a server: which registered models and prompts are selected, and each of them brought."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, Any

from mltrack_sync.errors import NotMlflowError, RemoteRefusedError
from mltrack_sync.mlflow.plan.kinds import MODEL
from mltrack_sync.mlflow.pull.registered_models import ModelPull, TheirModel, TheirVersion
from mltrack_sync.mlflow.pull.renamed_models import RenamedModels
from mltrack_sync.mlflow.pull.version_places import VersionPlaces
from mltrack_sync.mlflow.workers import JobRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mltrack_sync.http.shapes import Fields
    from mltrack_sync.mlflow.pull.run_ids import RunIds
    from mltrack_sync.mlflow.pull.session import PullSession

__all__ = ["RegistryPull"]

LISTED_MAX = 1_000_000
"""More models, or versions, no registry has."""


class RegistryPull:
    """Brings registered models, or prompts. Where only some experiments are selected: versions of their runs."""

    def __init__(self, session: PullSession, ids: RunIds, *, prompts: bool) -> None:
        """``prompts``: bring these, and no other registered models."""
        self._session = session
        self._ids = ids
        self._prompts = prompts
        self._listed = True

    def pull(self) -> None:
        """Bring what is new, one model after the other: versions may be made of others'.

        Raises:
            RemoteError: see mltrack_sync.errors.
        """
        session = self._session
        models: dict[str, TheirModel] = {}
        for one in self._models():
            models[one.name] = one
            self._check_count(len(models))
        if not (models or session.ledger.state.models):
            return
        versions = self._selected(self._versions(models))
        if self._listed and session.options.selection.everything and not session.options.dry_run:
            RenamedModels(session, prompts=self._prompts).settle(models, versions)
        places = VersionPlaces(self._ids, session.ledger.state)
        runner = JobRunner(session, MODEL, reject_not_mlflow=True)
        for name in sorted(models, key=partial(_first_made, versions)):
            mine = versions.get(name, [])
            if not mine and not session.options.selection.everything:
                continue
            session.check()
            if session.options.dry_run:
                self._count_new(name, mine)
            else:
                runner.run(name, ModelPull(session, self._ids, places, models[name], mine).pull)

    def _count_new(self, name: str, versions: list[TheirVersion]) -> None:
        entry = self._session.ledger.state.models.get(name)
        known = {one.remote for one in entry.versions.values()} if entry is not None else set()
        new = sum(str(version.number) not in known for version in versions)
        self._session.count(models=int(entry is None or new > 0), model_versions=new)

    def _check_count(self, count: int) -> None:
        if count > LISTED_MAX:
            what = f"{self._session.client.url} lists more than {LISTED_MAX:,} registered models, or versions of them"
            raise NotMlflowError(what, hint="is there something between here and the server that changes answers?")

    # --- what the server has ---

    def _models(self) -> Iterator[TheirModel]:
        session = self._session
        for page in self._pages(session.read.registered_models):
            yield from (TheirModel.of(session.client.url, fields) for fields in page)

    def _pages(self, ask: Callable[..., Iterator[list[dict[str, Any]]]]) -> Iterator[Sequence[Fields]]:
        """Pages; none of prompts where the server can't search for them, nor of a registry that it does not have."""
        pages = ask(prompts=self._prompts)
        while True:
            self._session.check()
            try:
                page = next(pages, None)
            except RemoteRefusedError as error:
                if not (self._prompts or error.unknown_call):
                    raise
                self._listed = False
                return
            if page is None:
                return
            yield page

    def _versions(self, models: dict[str, TheirModel]) -> Iterator[TheirVersion]:
        """All of them; model by model where the server does not list those of all."""
        session = self._session
        if session.client.searches_all_versions:
            try:
                for page in session.read.all_versions(prompts=self._prompts):
                    session.check()
                    yield from (TheirVersion.of(session.client.url, fields) for fields in page)
                return
            except RemoteRefusedError:
                pass
        for name in models:
            session.check()
            found = session.read.versions(name, prompts=self._prompts)
            yield from (TheirVersion.of(session.client.url, fields) for fields in found)

    def _selected(self, versions: Iterator[TheirVersion]) -> dict[str, list[TheirVersion]]:
        """By model, the versions that are to come, the oldest first."""
        session, found = self._session, defaultdict[str, dict[int, TheirVersion]](dict)
        for count, version in enumerate(versions):
            self._check_count(count)
            if session.options.selection.everything or version.run_id in session.selected_runs:
                found[version.name][version.number] = version
            else:
                session.left("prompt versions" if self._prompts else "model versions of runs that are not selected")
        return {name: sorted(some.values(), key=lambda each: each.number) for name, some in found.items()}


def _first_made(versions: dict[str, list[TheirVersion]], name: str) -> tuple[int, str]:
    """Models that were begun earlier come first: a version that is a copy comes after what it is a copy of."""
    return min((version.created for version in versions.get(name, [])), default=0), name
