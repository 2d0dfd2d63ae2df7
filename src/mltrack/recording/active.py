"""Which run is active: a stack of runs in each context, so that threads and asyncio's tasks have their own.

What starts in a copy of a context (a task, ``asyncio.to_thread``) has the runs that were active where it was started,
and what it starts itself is active there alone. A thread with a context of its own logs to the main thread's run; where
there is none, the process has one run for all that log without. Runs that have ended are passed over everywhere.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import mltrack.journal.recorder  # noqa: F401  # its hook at a fork, which gives the child points of its own, comes before ours
from mltrack.errors import RunStateError
from mltrack.process.ending import AtEnd, is_child

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from mltrack.recording.run import Run

__all__ = [
    "Active",
    "active_run",
    "current",
    "enter",
    "last_run",
    "log_again",
    "log_point",
    "on_active",
    "open_runs",
    "start_by",
    "top",
]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Active:
    """A run that was made active, and where."""

    run: Run
    home: list[Active]  # of the thread it was made active in; the process's where it is no thread's
    task: weakref.ref[Any] | None  # of asyncio, where it was made active in one
    pid: int

    @property
    def is_own(self) -> bool:
        """Whether this very thread and process made it active; else it only came along, and is in nobody's way."""
        return self.home is _home() and self.pid == os.getpid()


_stack: ContextVar[tuple[Active, ...]] = ContextVar("mltrack_active", default=())
_local = threading.local()  # .home: what was made active in this thread; .for_all: what starts is the process's
_main: list[Active] = []  # the main thread's
_process: list[Active] = []  # what was started for whoever logs without a run
_open: list[Active] = []  # all of them, oldest first
_lock = threading.RLock()
_starting = threading.RLock()
_last: Run | None = None  # the one that ended last
_exiting = False
_start: Callable[[], Run]


def _log_to_active(key: str, value: float, step: int | None) -> None:
    on_active(lambda run: run.points.log(key, value, step))


_log_point: ContextVar[Callable[[str, float, int | None], None]] = ContextVar("mltrack_log", default=_log_to_active)
log_point = _log_point.get
"""Gives this context's way to the active run's points: looking the run up would double what a call costs."""


# --- looking ---


def top() -> Active | None:
    """What is active here: in this context, or left open by this thread in another one that is over."""
    for active in reversed(_stack.get()):
        if not active.run.ended:
            return active
    for active in reversed(_home()):
        if not active.run.ended and not _is_at_work(active.task):
            return active
    return None


def active_run() -> Run | None:
    """The run that calls without one go to: this context's, the main thread's, or the process's; None without any."""
    active = top()
    if active is None and _home() is not _main:
        active = _innermost(_main)
    active = active or _innermost(_process)
    return None if active is None else active.run


def last_run() -> Run | None:
    """The run that ended last in this process."""
    return _last


def open_runs() -> list[Run]:
    """Every run that is active anywhere in this process, oldest first."""
    return [active.run for active in list(_open)]


def _innermost(actives: list[Active]) -> Active | None:
    """The innermost of a thread's runs; of several tasks at work there, of the one that has the oldest."""
    still = [active for active in list(actives) if not active.run.ended]
    return [active for active in still if active.task is still[0].task][-1] if still else None


def _home() -> list[Active]:
    try:
        home: list[Active] = _local.home
    except AttributeError:
        is_main = threading.current_thread() is threading.main_thread()
        home = _local.home = _main if is_main else []
    return home


def _task() -> weakref.ref[Any] | None:
    asyncio = sys.modules.get("asyncio")
    try:
        task = asyncio.current_task() if asyncio is not None else None
    except RuntimeError:
        task = None
    return None if task is None else weakref.ref(task)


def _is_at_work(reference: weakref.ref[Any] | None) -> bool:
    """Whether a task that is another one goes on."""
    task = None if reference is None else reference()
    return task is not None and not task.done() and reference is not _task()


# --- coming and going ---


def start_by(start: Callable[[], Run]) -> None:
    """Have ``start`` called where somebody logs and no run is active; it makes one active by ``enter``."""
    global _start
    _start = start


def enter(run: Run) -> None:
    """Make a run active here; one that is started for a log call in a thread or task: for all that have none."""
    task = _task()
    is_process = getattr(_local, "for_all", False) and (_home() is not _main or task is not None)
    active = Active(run, _process if is_process else _home(), task, os.getpid())
    with _lock:
        AT_END.hold()
        _open.append(active)
        active.home.append(active)
    run.on_end = _leave
    if not is_process:
        _stack.set((*(held for held in _stack.get() if not held.run.ended), active))
        _remember()


def _leave(run: Run) -> None:
    global _last
    with _lock:
        for place in (_open, *[active.home for active in _open if active.run is run]):
            place[:] = [active for active in place if active.run is not run]
        if not _open:
            AT_END.release()
        _last = run
    _remember()


def _remember() -> None:
    active = top()
    _log_point.set(_log_to_active if active is None else active.run.points.log)


def _start_for_all() -> Run:
    with _starting:
        run = active_run()  # another thread may have been here
        if run is None:
            _local.for_all = True
            try:
                run = _start()
            finally:
                _local.for_all = False
        return run


def current() -> Run:
    """The active run, started where there is none; not for a thread that outlives the program's own end."""
    run = active_run()
    if run is None and _exiting and _last is not None:
        return _last  # which has ended, and says so
    return run or _start_for_all()


def on_active(call: Callable[[Run], T]) -> T:
    """Call with the active run, started where there is none; again, where it is ended by others meanwhile."""
    while True:
        run = current()
        try:
            return call(run)
        except RunStateError:
            if not run.ended or _exiting:
                raise


def log_again(key: str, value: float, step: int | None) -> None:
    """Log a point that this context's run did not take, as others have ended it."""
    _remember()
    _log_to_active(key, value, step)


# --- the process ---


def _end_all(status: str) -> None:
    """End what is still active. In a child of multiprocessing the recorders let go of its parent's runs themselves."""
    global _exiting
    _exiting = True
    own_alone = is_child()
    for active in reversed(list(_open)):
        if active.pid == os.getpid() or not own_alone:
            active.run.end(status)


AT_END = AtEnd(_end_all)


def _after_fork() -> None:
    """In a forked child what is active came along: it takes what is logged, and stands in no run's way."""
    global _lock, _starting, _main
    _lock, _starting = threading.RLock(), threading.RLock()
    found = top() or _innermost(_main) or _innermost(_process)
    _main = _local.home = [] if found is None else [replace(found, home=[], task=None)]
    _remember()  # the child's points are another journal


os.register_at_fork(after_in_child=_after_fork)
