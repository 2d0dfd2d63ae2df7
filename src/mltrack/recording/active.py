"""Which run is active: a stack of runs in each context, so that threads and asyncio's tasks have their own.

Code in a copy of a context (a task, ``asyncio.to_thread``) has the runs that were active where the copy was made; runs
that it starts are active in the copy alone. A thread with a new context logs to the main thread's run; without one, the
process has one run for all code that logs without a run. Runs that have ended are skipped everywhere.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, SupportsFloat, SupportsIndex, TypeVar

import mltrack.journal.recorder  # noqa: F401  # its fork hook gives the child its own points, and must run before ours
from mltrack.errors import RunStateError
from mltrack.process.ending import AtEnd
from mltrack.process.exits import is_child
from mltrack.process.forks import Stage, after_fork_in_child
from mltrack.recording.spawned import inherited_run, offer_to_children

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from mltrack.process.ending import Ending
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
    home: list[Active]  # the list of the thread it was made active in, or the process's
    task: weakref.ref[Any] | None  # the asyncio task it was made active in, if any
    pid: int

    @property
    def is_own(self) -> bool:
        """Whether this thread and process made it active; an inherited one does not prevent a new run."""
        return self.home is _home() and self.pid == os.getpid()


_stack: ContextVar[tuple[Active, ...]] = ContextVar("mltrack_active", default=())
_local = threading.local()  # .home: runs made active in this thread; .for_all: a run started now is the process's
_main: list[Active] = []  # the main thread's
_process: list[Active] = []  # runs started for code that logs without one
_open: list[Active] = []  # all of them, oldest first
_lock = threading.RLock()
_starting = threading.RLock()
_last: Run | None = None  # the one that ended last
_exiting = False
_is_inherited = False  # whether the run of the process that spawned this one was looked for
_start: Callable[[], Run]


def _log_to_active(key: str, value: SupportsFloat, step: SupportsIndex | None) -> None:
    on_active(lambda run: run.points.log(key, value, step))


_log_point: ContextVar[Callable[[str, SupportsFloat, SupportsIndex | None], None]] = ContextVar(
    "mltrack_log", default=_log_to_active
)
log_point = _log_point.get
"""Returns this context's function for logging a point: looking the run up would double the cost of a call."""


# --- finding the active run ---


def top() -> Active | None:
    """The active run of this context, or one that this thread left open in a context that has ended."""
    if not _is_inherited:
        _inherit()
    for active in reversed(_stack.get()):
        if not active.run.ended:
            return active
    for active in reversed(_home()):
        if not active.run.ended and not _is_other_task(active.task):
            return active
    return None


def active_run() -> Run | None:
    """The run that module-level calls log to: this context's, the main thread's or the process's; else None."""
    active = top()
    if active is None and _home() is not _main:
        active = _innermost(_main)
    active = active or _innermost(_process)
    return None if active is None else active.run


def _inherit() -> None:
    """In a child of multiprocessing that was not forked: have its parent's run active, as in a forked child."""
    global _is_inherited
    with _lock:
        if _is_inherited:
            return
        _is_inherited = True
        run = inherited_run()
        if run is not None:
            _main.append(Active(run, _main, None, 0))
        offer_to_children(active_run)
    if run is not None:
        _remember()


def last_run() -> Run | None:
    """The last run that ended in this process."""
    return _last


def open_runs() -> list[Run]:
    """Every run that is active anywhere in this process, oldest first."""
    return [active.run for active in list(_open)]


def _innermost(actives: list[Active]) -> Active | None:
    """The innermost of a thread's runs; with several tasks, that of the task whose run is the oldest."""
    open_ones = [active for active in list(actives) if not active.run.ended]
    return [active for active in open_ones if active.task is open_ones[0].task][-1] if open_ones else None


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


def _is_other_task(reference: weakref.ref[Any] | None) -> bool:
    """Whether it is another task, and still running."""
    task = None if reference is None else reference()
    return task is not None and not task.done() and reference is not _task()


# --- entering and leaving ---


def start_by(start: Callable[[], Run]) -> None:
    """Call ``start`` when something is logged and no run is active; it makes one active by ``enter``."""
    global _start
    _start = start


def enter(run: Run) -> None:
    """Make a run active here; for all code without a run, if a log call in a thread or task has started it."""
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
        run = active_run()  # another thread may have started one
        if run is None:
            _local.for_all = True
            try:
                run = _start()
            finally:
                _local.for_all = False
        return run


def current() -> Run:
    """The active run; one is started if there is none, but not once the program has ended."""
    return active_run() or (_ended_at_exit() if _exiting else None) or _start_for_all()


def _ended_at_exit() -> Run | None:
    """The run that the end of the program has ended, or is about to: logging to it raises once it has ended."""
    with _lock:
        return _open[-1].run if _open else _last


def on_active(call: Callable[[Run], T]) -> T:
    """Call with the active run, started if there is none; again if another thread ends it meanwhile."""
    while True:
        run = current()
        try:
            return call(run)
        except RunStateError:
            if not run.ended or _exiting:
                raise


def log_again(key: str, value: SupportsFloat, step: SupportsIndex | None) -> None:
    """Log a point that this context's run refused because another thread has ended it."""
    _remember()
    _log_to_active(key, value, step)


# --- the process ---


def _end_all(ending: Ending) -> None:
    """End what is still active. In a child of multiprocessing the recorders close its parent's runs themselves."""
    global _exiting
    _exiting = True
    only_own = is_child()
    for active in reversed(list(_open)):
        if active.pid == os.getpid() or not only_own:
            active.run._end(*ending)


AT_END = AtEnd(_end_all)


def _after_fork() -> None:
    """A forked child inherits the active run: it logs to it, and may start another."""
    global _lock, _starting, _main
    _lock, _starting = threading.RLock(), threading.RLock()
    found = top() or _innermost(_main) or _innermost(_process)
    _main = _local.home = [] if found is None else [replace(found, home=[], task=None)]
    _remember()  # the child has its own journal of points


after_fork_in_child(Stage.RECORDING, _after_fork)
