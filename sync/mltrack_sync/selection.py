"""Which runs of a store are meant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mltrack.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mltrack.entities import RunHead
    from mltrack.store import Store

__all__ = ["Selection"]


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
        heads = store.heads()
        if self.runs:
            named = {store.resolve(text) for text in self.runs}
            for run_id in named - heads.keys():
                raise NotFoundError(f"no run {run_id!r} in {store.path}", hint="see: mltrack ls")
            heads = {run_id: head for run_id, head in heads.items() if run_id in named}
        if self.experiments or self.filter:
            found = set(self._search(store))
            heads = {run_id: head for run_id, head in heads.items() if run_id in found}
        return heads

    def _search(self, store: Store) -> Iterator[str]:
        token: str | None = None
        while True:
            page = store.search_runs(
                filter_string=self.filter,
                run_view_type="ALL",
                page_token=token,
                experiment_names=self.experiments or None,
            )
            yield from (run.info.run_id for run in page)
            token = page.token
            if token is None:
                return
