"""The runs of one store that this process has open for writing, each with a recorder kept open between calls."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, Any

from mltrack.disk.flusher import FLUSHER
from mltrack.disk.layout import is_run_id, new_run_id
from mltrack.entities import ACTIVE
from mltrack.errors import MltrackError, NotFoundError, RunStateError
from mltrack.journal.recorder import Recorder
from mltrack.mlflow_plugin import exit_hook  # closes what is open when the process ends
from mltrack.mlflow_plugin.pooled_run import OpenRun
from mltrack.process.exits import after_fork_of_child
from mltrack.process.forks import Stage, after_fork_in_child
from mltrack.storage.runs.state import RunState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mltrack.disk.layout import Layout
    from mltrack.journal.points import PointJournal
    from mltrack.store import Store

__all__ = ["OpenRun", "RunPool", "are_open", "close_all", "exit_hook", "of"]

OPEN_RUNS_MAX = 128
"""How many runs are kept open; beyond that the least recently used one is closed."""

Event = dict[str, Any]


class RunPool:
    """All runs of one store that this process writes to. Any thread may call; a forked child has its own writers.

    What was written survives ``kill -9`` once the call has returned; power loss costs at most the last second.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        clock: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
        runs_max: int = OPEN_RUNS_MAX,
    ) -> None:
        """Use ``of``. ``clock`` returns ns since the epoch, ``monotonic`` seconds."""
        self._layout = layout
        self._clock = clock
        self._monotonic = monotonic
        self._runs_max = runs_max
        self._runs: dict[str, OpenRun] = {}
        self._watched = False
        self._lock = threading.RLock()

    # --- writing ---

    def create(self, start: Event, *events: Event) -> str:
        """Create a run and keep it open; ``start`` has the fields of its start event. Returns its id.

        Raises:
            StoreError: the store can't be written to.
        """
        folder = self._layout.run(new_run_id())
        recorder = Recorder(self._layout, folder, "create")
        recorder.start([{"type": "start", **start}, *events])
        state = RunState(folder)
        state.update()
        self._keep(folder.run_id, OpenRun(recorder, state))
        self._make_room()
        return folder.run_id

    def active(self, run_id: str) -> OpenRun:
        """The run, which is opened if it is not.

        Raises:
            NotFoundError: there is no such run.
            RunStateError: it is deleted.
            StoreError: the store can't be written to.
        """
        held = self._runs.get(run_id) or self._open(run_id)
        held.used = now = self._monotonic()
        try:
            held.catch_up(now)
        except FileNotFoundError:
            self._drop(run_id, held)
            raise _no_run(run_id) from None
        if held.stage != ACTIVE:
            self._drop(run_id, held)
            raise _not_active(run_id, held.stage)
        return held

    def emit(self, run_id: str, *events: Event, deleted_too: bool = False) -> None:
        """Add events to a run; with ``deleted_too`` also to a deleted one.

        Raises:
            NotFoundError, RunStateError, StoreError: as active.
        """
        while True:
            try:
                held = self.active(run_id)
            except RunStateError:
                if not deleted_too:
                    raise
                recorder = Recorder(self._layout, self._layout.run(run_id), "edit", not_before=self._clock())
                try:
                    recorder.start(events)
                finally:
                    recorder.close()
                return
            if held.emit(events):
                return

    def points(self, run_id: str) -> PointJournal:
        """The run's point journal; valid for this call only, as the run may be closed.

        Raises:
            NotFoundError, RunStateError, StoreError: as active.
        """
        return self.active(run_id).recorder.points

    def log(self, run_id: str, points: Sequence[tuple[str, float, int, int]]) -> None:
        """Log points: key, value, step and time (ns) each.

        Raises:
            InvalidMetricError: a point is invalid; the points before it are logged.
            NotFoundError, RunStateError, StoreError: as active.
        """
        done = 0
        while done < len(points):
            held = self.active(run_id)
            log = held.recorder.points.log
            try:
                for point in points[done:] if done else points:
                    log(*point)
                    done += 1
            except RunStateError:
                if not held.closed:
                    raise  # else another thread has closed the run: open it again

    # --- the state of a run ---

    def resume(self, run_id: str) -> None:
        """Open a run as one that this process runs, so that it is RUNNING until it is ended or the process dies.

        Raises:
            NotFoundError, RunStateError, StoreError: as active.
        """
        if run_id not in self._runs:
            self._open(run_id, "resume")
            return
        held = self.active(run_id)
        with held.lock:
            held.state.update()
            mine = held.state.writers.get(held.recorder.writer)
        if mine is None or mine.role not in ("create", "resume") or held.state.ended_at > mine.opened:
            self._drop(run_id, held)
            self._open(run_id, "resume")

    def end(self, run_id: str, status: str, end_time: int | None) -> None:
        """Set a status that ends the run, with its time in ns, and close it: its points are sealed.

        Raises:
            NotFoundError, RunStateError, StoreError: as active.
        """
        while True:
            held = self.active(run_id)
            self._forget(run_id, held)
            if held.close(status_event(status, end_time)):
                return

    def close(self, run_id: str) -> None:
        """Close a run; one that was not ended stays RUNNING. Does nothing for one that is not open here."""
        held = self._runs.get(run_id)
        if held is not None:
            self._drop(run_id, held)

    def close_all(self) -> None:
        """Close all runs."""
        for run_id in list(self._runs):
            self.close(run_id)

    def _open(self, run_id: str, role: str = "") -> OpenRun:
        if not is_run_id(run_id):
            raise _no_run(run_id)
        with self._lock:
            held = self._runs.get(run_id)
            if held is not None:
                return held
            folder = self._layout.run(run_id)
            state = RunState(folder)
            state.update()
            if not state.exists:
                raise _no_run(run_id)
            if state.stage != ACTIVE:
                raise _not_active(run_id, state.stage)
            # a process that joins a run of another one must not hide its death
            runs_it = state.outcome()[0] == "RUNNING" and not state.live
            recorder = Recorder(
                self._layout, folder, role or ("resume" if runs_it else "edit"), not_before=state.last_time
            )
            recorder.start([])
            held = OpenRun(recorder, state)
            self._keep(run_id, held)
        self._make_room()
        return held

    def _keep(self, run_id: str, held: OpenRun) -> None:
        held.used = self._monotonic()
        with self._lock:
            self._runs[run_id] = held
            if not self._watched:
                self._watched = True
                FLUSHER.add(self)

    def _make_room(self) -> None:
        """Close the least recently used runs; not under the lock, as the holder of a run's lock may wait for it."""
        with self._lock:
            by_use = sorted(self._runs.items(), key=lambda item: item[1].used)
            oldest = by_use[: max(0, len(by_use) - self._runs_max)]
        for run_id, held in oldest:
            self._drop(run_id, held)

    def _forget(self, run_id: str, held: OpenRun) -> None:
        with self._lock:
            if self._runs.get(run_id) is held:
                del self._runs[run_id]

    def _drop(self, run_id: str, held: OpenRun) -> None:
        """Close a run. One that only this process ran, and that was not ended, is set to RUNNING: it did not crash."""
        self._forget(run_id, held)
        with held.lock:
            if held.closed:
                return
            recorder, state = held.recorder, held.state
            try:
                state.update()
            except OSError:  # a failing disk, no descriptors: the other writers of the run can't be found
                held.close()
                return
            mine = state.writers.get(recorder.writer)
            if recorder.role not in ("create", "resume") or mine is None or state.ended_at > mine.opened:
                held.close()
            elif not any(
                w.alive and not w.ended and w.role != "edit" and w is not mine for w in state.writers.values()
            ):
                held.close(status_event("RUNNING", None))
            else:
                held.close()
                self._restate_running(run_id, state)

    def _restate_running(self, run_id: str, state: RunState) -> None:
        """If two processes closed a run at once, each assuming the other has it: set it to RUNNING for both."""
        state.update()
        if not state.live and state.outcome()[2] and os.path.isdir(state.folder.events):
            recorder = Recorder(self._layout, self._layout.run(run_id), "edit", not_before=state.last_time)
            recorder.start([status_event("RUNNING", None)])
            recorder.close()

    # --- watching: the flusher's calls ---

    def sync(self) -> None:
        """Close runs that others have just deleted or ended, so that they can be removed; called twice a second.

        The recorders sync themselves.
        """
        for run_id, held in list(self._runs.items()):
            with contextlib.suppress(MltrackError, OSError):
                if held.has_new_writer():
                    self._drop_if_ended(run_id, held)

    def pulse(self) -> None:
        """Close what `sync` missed because the clock ticks coarsely; called several times a minute."""
        for run_id, held in list(self._runs.items()):
            with contextlib.suppress(MltrackError, OSError):
                self._drop_if_ended(run_id, held)

    def _drop_if_ended(self, run_id: str, held: OpenRun) -> None:
        state = held.state
        with held.lock:
            state.update()
            mine = state.writers.get(held.recorder.writer)
        if state.stage != ACTIVE or (mine is not None and state.ended_at > mine.opened):
            self._drop(run_id, held)

    def after_fork(self) -> None:
        """In a forked child: no thread holds a lock, and nothing is watched yet."""
        self._lock = threading.RLock()
        self._watched = False
        for held in self._runs.values():
            held.lock = threading.RLock()
        after_fork_of_child(self, exit_hook.prepare_child)

    def holds(self, run_id: str) -> bool:
        """Whether a run is open here."""
        return run_id in self._runs


def status_event(status: str, end_time: int | None) -> Event:
    """The event that sets a run's status, and its end in ns if it has one."""
    return {"type": "status", "status": status} | ({} if end_time is None else {"end_time": end_time})


def _no_run(run_id: str) -> NotFoundError:
    return NotFoundError(f"Run with id={run_id} not found")  # and no hint: MLflow's pages look how it ends


def _not_active(run_id: str, stage: str) -> RunStateError:
    return RunStateError(f"The run {run_id} must be in the 'active' state. Current state is {stage}.")


# --- one pool per store and process ---

_POOLS: dict[tuple[str, str], RunPool] = {}  # by path and store id: another store may be moved to a path
_POOLS_LOCK = threading.Lock()


def of(store: Store) -> RunPool:
    """This process's pool for a store, the same for every ``Store`` object of it."""
    place = (os.path.realpath(store.path), store.store_id)
    with _POOLS_LOCK:
        if place not in _POOLS:
            _POOLS[place] = RunPool(store.layout)
            exit_hook.prepare_child()
        return _POOLS[place]


def are_open(run_id: str) -> bool:
    """Whether this process has a run open in any store."""
    return any(pool.holds(run_id) for pool in list(_POOLS.values()))


def close_all() -> None:
    """Close all runs of all stores; those that were not ended stay RUNNING."""
    for pool in list(_POOLS.values()):
        pool.close_all()


def _after_fork_in_child() -> None:
    global _POOLS_LOCK
    _POOLS_LOCK = threading.Lock()
    for pool in _POOLS.values():
        pool.after_fork()


after_fork_in_child(Stage.PLUGIN, _after_fork_in_child)
