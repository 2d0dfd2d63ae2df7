"""Which runs of a store are meant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mltrack.errors import NotFoundError

if TYPE_CHECKING:
    from mltrack.entities import RunHead
    from mltrack.reading import Store

__all__ = ["Selection", "heads_of"]


@dataclass(frozen=True, slots=True)
class Selection:
    """Runs by id or name, experiments by name, a search filter: a run has to meet each that is given."""

    runs: tuple[str, ...] = ()
    experiments: tuple[str, ...] = ()
    filter: str = ""

    @property
    def everything(self) -> bool:
        """Whether nothing is asked for in particular."""
        return not (self.runs or self.experiments or self.filter)

    def heads(self, store: Store) -> dict[str, RunHead]:
        """The selected runs and how far each goes.

        Raises:
            NotFoundError: a run or experiment that was named does not exist.
            FilterError: the filter does not parse.
        """
        heads = heads_of(store)
        if self.runs:
            named = {store.resolve(text) for text in self.runs}
            for run_id in named - heads.keys():
                raise NotFoundError(f"no run {run_id!r} in {store.path}", hint="see: mltrack ls")
            heads = {run_id: head for run_id, head in heads.items() if run_id in named}
        if self.experiments:
            ids = {_experiment_id(store, name) for name in self.experiments}
            heads = {i: head for i, head in heads.items() if store.run(i).info.experiment_id in ids}
        if self.filter:
            found = {run.run_id for run in store.search_runs(filter_string=self.filter)}
            heads = {run_id: head for run_id, head in heads.items() if run_id in found}
        return heads


def _experiment_id(store: Store, name: str) -> str:
    experiment = store.workspace.by_name(name)
    if experiment is None:
        raise NotFoundError(f"no experiment {name!r} in {store.path}", hint="see: mltrack ls")
    return experiment.experiment_id


def heads_of(store: Store) -> dict[str, RunHead]:
    """How far each run of the store goes."""
    return {run.run_id: run.head() for run in store.runs()}
