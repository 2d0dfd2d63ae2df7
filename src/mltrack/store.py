"""The public reading API: a store opened for reading, searching and SQL."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from mltrack.catalog.store_queries import StoreQueries
from mltrack.disk.filesystem import LOCAL, FileSystem
from mltrack.disk.layout import Layout, find_store, is_run_id
from mltrack.entities import ACTIVE, DELETED, Experiment
from mltrack.errors import CorruptionError, NotFoundError, UsageError
from mltrack.storage.models.models import LoggedModels
from mltrack.storage.registry.registry import Registry
from mltrack.storage.runs.stored_run import StoredRun
from mltrack.storage.traces.traces import Traces
from mltrack.text.counting import plural
from mltrack.values.arguments import list_argument

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from mltrack.diff.run_diff import RunDiff
    from mltrack.notebook.plots import Plot

__all__ = ["Store"]

__path__: list[str] = []
"""Empty: modules that had their path below this name are found by moved.py."""

_LAST = re.compile(r"@last(?:~([0-9]{1,4}))?")

STAGE_THREADS = 8
"""How many runs of an experiment are deleted or restored at a time: each change waits for the disk."""


class Store(StoreQueries):
    """A store, open for reading. It holds no file or lock open between calls, so any number of readers may have one.

    What can't be read or verified is left out of an answer and reported: ``damage`` has each such place, by file and
    offset, and ``on_damage`` is called when one is met for the first time. It warns by logging ("mltrack").
    """

    def __init__(
        self,
        layout: Layout | str | os.PathLike[str],
        *,
        clock: Callable[[], int] = time.time_ns,
        fs: FileSystem = LOCAL,
    ) -> None:
        """``Store(path)`` is ``Store.open(path)`` and raises what it raises. ``clock`` gives ns since the epoch."""
        if not isinstance(layout, Layout):
            layout = Layout.open(find_store(layout))
        super().__init__(layout, clock=clock, fs=fs)
        self.registry = Registry(layout, clock=clock, fs=fs)
        self.traces = Traces(layout, clock=clock, fs=fs)
        self.logged_models = LoggedModels(layout, clock=clock, fs=fs)

    def __reduce__(self) -> tuple[type[Store], tuple[Layout]]:
        return Store, (self.layout,)  # the other process has its own locks and catalog

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
        """The same, created if it does not exist.

        Raises:
            StoreError: it can't be created, or can't be used as it is.
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
            CorruptionError: its files can't be read.
        """
        return self._stored(self.resolve(run_id), self._experiment_names())

    def resolve(self, text: str) -> str:
        """The run id that ``text`` stands for: the id itself, its first digits, a run's name, or ``@last``.

        ``@last`` is the run that was started last, ``@last~2`` the second before it; deleted ones do not count.

        Raises:
            NotFoundError, UsageError: as run.
        """
        if not isinstance(text, str):
            raise UsageError(f"a run is named by text, not {type(text).__name__}", hint="give its id or its name")
        if (last := _LAST.fullmatch(text)) is not None:
            return self._started_last(int(last[1] or 0))
        ids = [text] if is_run_id(text) else [i for i in self.run_ids() if text and i.startswith(text)]
        if not ids:
            from mltrack.catalog.search import find_named

            ids = self._ask(lambda con: find_named(con, text), lambda ids: ids)
        if len(ids) > 1:
            raise UsageError(
                f"{len(ids)} runs match {text!r}", hint="give more digits of the id: " + ", ".join(ids[:4])
            )
        if not ids:
            raise NotFoundError(f"no run {text!r} in {self.path}", hint=self._meant(text))
        return ids[0]

    def _meant(self, name: str) -> str:
        from mltrack.catalog.near_names import names_like

        if name.startswith("@"):
            return "the run that was started last is @last, the one before it @last~1"
        near = self._ask(lambda con: names_like(con, name), lambda _: [])
        return f"did you mean {' or '.join(near)}?" if near else "see: mltrack ls"

    def _started_last(self, before: int) -> str:
        found = self.search_runs(max_results=before + 1)
        if not found:
            raise NotFoundError(f"no runs in {self.path}", hint="record one: mltrack run -- python train.py")
        if len(found) <= before:
            raise NotFoundError(
                f"no run is {before} before the last: {self.path} has {plural(len(found), 'run')}",
                hint="see: mltrack ls",
            )
        return found[before].info.run_id

    def runs(self) -> Iterator[StoredRun]:
        """All runs, read from their folders one by one. To look for some, search_runs is faster.

        Those that can't be read are left out and reported to ``on_damage``.
        """
        names = self._experiment_names()
        for run_id in self.run_ids():
            try:
                run = self._stored(run_id, names)
            except NotFoundError:
                continue  # a folder whose start was never written: no run yet
            except CorruptionError as error:
                self._report(error)
                continue
            yield run

    def diff(self, a: str, b: str, *, context: int = 3, new_files: bool = False) -> RunDiff:
        """What differs from run ``a`` to run ``b``: code, packages, params, command, environment, host, data, metrics.

        Args:
            a: a run, as for run().
            b: the run to compare with it.
            context: how many equal lines are shown around lines of code that differ.
            new_files: whether the lines of files are given that only one run has.

        Raises:
            NotFoundError, UsageError, CorruptionError: as run.
        """
        from mltrack.diff.run_diff import diff_runs

        return diff_runs(self.path, self.run(a), self.run(b), context=context, new_files=new_files)

    # --- in a notebook ---

    def plot(
        self,
        *metrics: str,
        runs: Sequence[str] | None = None,
        filter_string: str = "",
        experiment_names: Sequence[str] | None = None,
        max_results: int = 20,
    ) -> Plot:
        """Charts of several runs laid over each other, which a notebook shows, to zoom in.

        Args:
            metrics: names or regular expressions: ``store.plot("loss", "val/.*")``; by default all but the system's.
            runs: runs as for run(); by default the newest that match.
            filter_string: as in search_runs.
            experiment_names: as in search_runs.
            max_results: how many runs at most.

        Raises:
            UsageError: a metric's pattern is not a regular expression.
            NotFoundError: there are no such runs, or no metric matches one of the patterns.
            FilterError: as search_runs.
        """
        from mltrack.notebook.plots import plot_runs

        if runs is None:
            found = self.search_runs(
                filter_string=filter_string, experiment_names=experiment_names, max_results=max_results
            )
            runs = [run.run_id for run in found]
        return plot_runs([self.run(run) for run in list_argument("runs", runs)], metrics)

    def _repr_html_(self) -> str:
        from mltrack.notebook.tables import store_html

        newest = self.search_runs(max_results=10)
        return store_html(str(self.path), len(self.experiments()), len(self.run_ids()), newest)

    # --- changing ---

    def delete_run(self, run_id: str) -> None:
        """Mark a run as deleted; ``restore_run`` brings it back. On return it survives power loss.

        Raises:
            NotFoundError, UsageError: as run.
            StoreError: it can't be written.
        """
        from mltrack.storage.runs.edit import set_stage

        set_stage(self.layout, self.resolve(run_id), DELETED)

    def restore_run(self, run_id: str) -> None:
        """Bring a deleted run back. On return it survives power loss.

        Raises:
            NotFoundError, UsageError, StoreError: as delete_run.
        """
        from mltrack.storage.runs.edit import set_stage

        set_stage(self.layout, self.resolve(run_id), ACTIVE)

    def rewind_run(self, run_id: str, step: int) -> None:
        """Let all that a run has logged so far with a greater step no longer count; see ``Run.rewind``.

        A process may be recording into it. On return it survives power loss.

        Raises:
            NotFoundError, UsageError, StoreError: as delete_run.
            InvalidMetricError: the step is not a 64-bit integer.
        """
        from mltrack.storage.runs.rewinding import rewind_run

        rewind_run(self.layout, self.resolve(run_id), step)

    def undo_rewind(self, run_id: str) -> int:
        """Undo the last rewind of a run that is in force. On return that survives power loss.

        Returns:
            The step that the run had been rewound to.

        Raises:
            NotFoundError, StoreError: as delete_run.
            UsageError: no rewind of it is in force; several runs match.
        """
        from mltrack.storage.runs.rewinding import undo_rewind

        return undo_rewind(self.layout, self.resolve(run_id)).step

    def stop_run(self, run_id: str, reason: str = "it was asked to stop") -> None:
        """Ask a live run to stop: ``mltrack run`` ends the program, ``Run.should_stop`` is true in it.

        Raises:
            NotFoundError, StoreError: as delete_run.
            UsageError: it is not being recorded here; several runs match.
        """
        from mltrack.storage.runs.alerts import request_stop

        request_stop(self.layout, self.resolve(run_id), reason)

    def forks(self, run_id: str) -> list[str]:
        """The ids of the runs that were forked from a run, or from forks of it: they need its files.

        Raises:
            NotFoundError, UsageError: as run.
        """
        from mltrack.catalog.search import find_forks

        run_id = self.resolve(run_id)
        return self._ask(lambda con: find_forks(con, run_id), lambda found: found)

    def fork_sources(self, run_ids: Sequence[str]) -> list[str]:
        """The ids of the runs whose files these runs need, as they were forked from them."""
        from mltrack.catalog.search import find_fork_sources

        return self._ask(lambda con: find_fork_sources(con, run_ids), lambda _: [])

    def purge_run(self, run_id: str) -> None:
        """Remove a run for good, with all its files and what it assessed.

        Raises:
            NotFoundError, UsageError: as run.
            RunStateError: a process is recording into it, or another run was forked from it.
            StoreError: it can't be removed.
        """
        from mltrack.storage.runs.edit import purge_run

        run_id = self.resolve(run_id)
        purge_run(self.layout, run_id, forks=lambda: self.forks(run_id))
        self.traces.remove_assessments(run_id)

    def delete_experiment(self, experiment_id: str, *, first: Callable[[str], object] | None = None) -> None:
        """Mark an experiment and all its runs as deleted, as MLflow does: nothing more is recorded into it.

        ``first`` is called with the id of each run before it is marked. On return all survives power loss.

        Raises:
            NotFoundError: there is no such experiment.
            UsageError: it is the default one.
            StoreError: it can't be written.
        """
        self._set_experiment_stage(experiment_id, DELETED, first)

    def restore_experiment(self, experiment_id: str, *, first: Callable[[str], object] | None = None) -> None:
        """Bring a deleted experiment back, and all its runs, as MLflow does.

        Raises:
            NotFoundError, StoreError: as delete_experiment.
        """
        self._set_experiment_stage(experiment_id, ACTIVE, first)

    def _set_experiment_stage(self, experiment_id: str, stage: str, first: Callable[[str], object] | None) -> None:
        from concurrent.futures import ThreadPoolExecutor

        from mltrack.storage.runs.edit import set_stage

        self.workspace.set_stage(experiment_id, stage)
        run_ids = self._run_ids_of(experiment_id, "ACTIVE_ONLY" if stage == DELETED else "DELETED_ONLY")

        def mark(run_id: str) -> None:
            if first is not None:
                first(run_id)
            set_stage(self.layout, run_id, stage)

        with ThreadPoolExecutor(STAGE_THREADS) as pool:
            list(pool.map(mark, run_ids))

    def _run_ids_of(self, experiment_id: str, view: str) -> list[str]:
        found: list[str] = []
        token = None
        while True:
            page = self.search_runs([experiment_id], "", view, 10_000, None, token)
            found += [record.run_id for record in page]
            token = page.token
            if token is None:
                return found

    def finish_series(self, run_id: str) -> bool:
        """Write a crashed run's histograms, tables and texts as artifacts, as the end of the run would have.

        Returns:
            False if nothing was left to do, or the run is live.

        Raises:
            NotFoundError, UsageError, StoreError: as delete_run.
        """
        from mltrack.storage.runs.series_artifacts import finish_series

        return finish_series(self.layout, self.resolve(run_id))

    def record_found_files(self, run_id: str) -> int:
        """Record files that a program wrote directly into a run's artifact folder, as the end of the run does.

        Returns:
            How many files were recorded; 0 for a live run.

        Raises:
            NotFoundError, UsageError, StoreError: as delete_run.
        """
        from mltrack.storage.runs.unrecorded_files import record_found_files

        return record_found_files(self.layout, self.resolve(run_id))

    def _experiment_names(self) -> Callable[[str], str | None]:
        names = {e.experiment_id: e.name for e in self.workspace.experiments().values()}
        return names.get
