"""A cache of runs as last read, so that repeated reads of a live run read only what is new."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING

from mltrack.disk.layout import is_run_id
from mltrack.errors import NotFoundError
from mltrack.process.forks import Stage, after_fork_in_child
from mltrack.storage.runs.stored_run import StoredRun

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mltrack.disk.layout import Layout

__all__ = ["RunCache"]

RUNS_MAX = 256


class _Held:
    """A run, with the lock held while it is read, and the folder that it was read from."""

    __slots__ = ("folder", "lock", "run")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.run: StoredRun | None = None
        self.folder = 0


class RunCache:
    """The most recently read runs. Threads that read different runs don't wait for each other."""

    def __init__(self, layout: Layout, *, runs_max: int = RUNS_MAX) -> None:
        self._layout = layout
        self._runs_max = runs_max
        self._forget()
        _ALIVE.add(self)

    def _forget(self) -> None:
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def reading(self, run_id: str) -> Iterator[StoredRun]:
        """The run as it is now, for this thread only while the body runs.

        Raises:
            NotFoundError: there is no such run.
        """
        if not is_run_id(run_id):
            raise _no_run(run_id)
        with self._lock:
            held = self._held.setdefault(run_id, _Held())
            self._held.move_to_end(run_id)
            while len(self._held) > self._runs_max:
                self._held.popitem(last=False)
        with held.lock:
            yield self._up_to_date(run_id, held)

    def _up_to_date(self, run_id: str, held: _Held) -> StoredRun:
        folder = self._layout.run(run_id)
        try:
            inode = os.stat(folder.events).st_ino
        except FileNotFoundError:
            held.run = None
            raise _no_run(run_id) from None
        if held.run is None or inode != held.folder:
            try:
                held.run, held.folder = StoredRun(folder), inode
            except NotFoundError:
                raise _no_run(run_id) from None
        else:
            held.run.refresh()
        return held.run


def _no_run(run_id: str) -> NotFoundError:
    return NotFoundError(f"Run with id={run_id} not found")  # and no hint: MLflow's pages look how it ends


_ALIVE: weakref.WeakSet[RunCache] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    """Renew the locks: a thread that the child does not have may have held one."""
    for cache in list(_ALIVE):
        cache._forget()


after_fork_in_child(Stage.PLUGIN, _after_fork_in_child)
