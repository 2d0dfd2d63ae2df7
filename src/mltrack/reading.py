"""The public reading API: a store opened for looking at, searching, and asking in SQL."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from mltrack.entities import Experiment
from mltrack.errors import NotFoundError, UsageError
from mltrack.fs import LOCAL, FileSystem
from mltrack.store.layout import Layout, find_store, is_run_id
from mltrack.store.stored_run import StoredRun
from mltrack.store.workspace import Workspace

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["Store"]


class Store:
    """A store, open for reading. It holds no file or lock open between calls, so any number of readers may have one."""

    def __init__(self, layout: Layout, *, clock: Callable[[], int] = time.time_ns, fs: FileSystem = LOCAL) -> None:
        """Use ``Store.open``. ``clock`` gives ns since the epoch."""
        self.layout = layout
        self.workspace = Workspace(layout, clock=clock, fs=fs)
        self._fs = fs

    @classmethod
    def open(cls, path: str | os.PathLike[str] | None = None) -> Store:
        """The store at ``path``; without it ``$MLTRACK_STORE``, else the nearest .mltrack upward from here.

        Raises:
            NotFoundError: there is none.
            StoreVersionError: a newer mltrack made it.
            StoreError: its store.json can't be read.
        """
        return cls(Layout.open(find_store(path)))

    @classmethod
    def create(cls, path: str | os.PathLike[str] | None = None) -> Store:
        """The same, made where there is none.

        Raises:
            StoreError: it can't be made there, or is in no shape to be used.
        """
        return cls(Layout.open_or_create(find_store(path), now_ns=time.time_ns()))

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r})"

    @property
    def path(self) -> Path:
        """The store's folder."""
        return self.layout.root

    @property
    def store_id(self) -> str:
        """32 hex digits that stay with the store when it is moved."""
        return self.layout.store_id

    def experiments(self, *, deleted: bool = False) -> list[Experiment]:
        """Experiments, the default one first, then by age; ``deleted`` ones too if asked for."""
        return [e for e in self.workspace.experiments().values() if deleted or e.lifecycle_stage == "active"]

    def run_ids(self) -> list[str]:
        """The ids of all run folders, sorted."""
        import os

        try:
            return sorted(name for name in os.listdir(self.layout.runs) if is_run_id(name))
        except FileNotFoundError:
            return []

    def run(self, run_id: str) -> StoredRun:
        """One run, by its id, by the first digits of it, or by its name where that is unique.

        Raises:
            NotFoundError: there is no such run.
            UsageError: several runs begin so, or have that name.
        """
        return StoredRun(self.layout.run(self.resolve(run_id)), experiment_name=self._experiment_names())

    def resolve(self, text: str) -> str:
        """The run id that ``text`` stands for: the id itself, its first digits, or a run's name.

        Raises:
            NotFoundError, UsageError: as run.
        """
        ids = [text] if is_run_id(text) else [i for i in self.run_ids() if text and i.startswith(text)]
        if not ids:
            ids = [run.run_id for run in self.runs() if run.info.run_name == text]
        if len(ids) > 1:
            raise UsageError(
                f"{len(ids)} runs match {text!r}", hint="give more digits of the id: " + ", ".join(ids[:4])
            )
        if not ids:
            raise NotFoundError(f"no run {text!r} in {self.path}", hint="see: mltrack ls")
        return ids[0]

    def runs(self) -> Iterator[StoredRun]:
        """All runs, read from their folders one by one. To look for some, search_runs is faster."""
        names = self._experiment_names()
        for run_id in self.run_ids():
            try:
                yield StoredRun(self.layout.run(run_id), experiment_name=names)
            except NotFoundError:
                continue  # a folder whose start was never written: no run yet

    def _experiment_names(self) -> Callable[[str], str | None]:
        names = {e.experiment_id: e.name for e in self.workspace.experiments().values()}
        return names.get
