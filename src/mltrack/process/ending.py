"""The end of a process: calls a function before it, however it exits, with the status that its runs end with.

An ordinary process calls the handlers of ``atexit``. A child of multiprocessing leaves by ``os._exit`` and calls its
finalizers only, while the exception of its work is handled. One that is killed, or calls ``os._exit``, calls nothing.
"""

from __future__ import annotations

import atexit
import os
import sys
from typing import TYPE_CHECKING, Any

from mltrack.process import exit_code
from mltrack.process.forks import Stage, after_fork_in_child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

__all__ = ["AtEnd", "after_fork_of_child", "finalize", "is_child", "status_at_exit", "status_of", "status_of_child"]

_LAUNCHERS = ("popen_fork", "forkserver")  # their modules whose functions end a child with the local ``code``
_PACKAGES = ("multiprocessing", "multiprocess")  # the latter is a copy of the former that pickles by dill


def status_of(error: BaseException | None) -> str:
    """The status of a run whose work ``error`` ended: FINISHED, FAILED, or KILLED where it was interrupted."""
    if error is None:
        return "FINISHED"
    if isinstance(error, SystemExit):
        return "FINISHED" if exit_code.as_number(error.code) == 0 else "FAILED"
    asyncio = sys.modules.get("asyncio.exceptions")
    stopped = isinstance(error, KeyboardInterrupt) or (asyncio and isinstance(error, asyncio.CancelledError))
    return "KILLED" if stopped else "FAILED"


def status_at_exit() -> str:
    """The status of runs that are open while the interpreter exits: what its exit code says.

    Python keeps the last uncaught error until there is another; an interactive session may have recovered from it.
    """
    code = exit_code.seen()
    ended_well = "FINISHED" if not code else "FAILED"
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is not None or hasattr(sys, "ps1"):
        if shell is None or shell.last_execution_succeeded:
            return ended_well
    elif code is not None:
        return ended_well
    return status_of(getattr(sys, "last_exc", None) or getattr(sys, "last_value", None))


def status_of_child() -> str:
    """The status of runs that are open while a child of multiprocessing is about to exit.

    Up to Python 3.12 its finalizers run while the exception of its work is handled. From 3.13 on they run later, called
    by the function that holds the exit code; a child that was spawned exits as any program does.
    """
    error = sys.exc_info()[1]
    if error is not None:
        return status_of(error)
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        module, _, name = str(frame.f_globals.get("__name__", "")).rpartition(".")
        if module in _PACKAGES and name == "process":
            return "FINISHED"  # up to 3.12: its work is done, and raised nothing
        if module in _PACKAGES and name in _LAUNCHERS:
            code = frame.f_locals.get("code")
            if isinstance(code, int):
                return "FINISHED" if exit_code.as_number(code) == 0 else "FAILED"
        frame = frame.f_back
    return status_at_exit()


class AtEnd:
    """Calls a function once, with a status, when this process ends; a forked child's end counts separately."""

    def __init__(self, call: Callable[[str], None]) -> None:
        self._call = call
        self._held_by = 0
        self._finalizers: list[Any] = []
        after_fork_in_child(Stage.RECORDING, self._after_fork)

    def hold(self) -> None:
        """Register it; does nothing when it is registered already. The last registered is called first."""
        if self._held_by == 0:
            exit_code.watch()
            atexit.register(self._at_exit)
        if self._held_by != os.getpid():
            self._held_by = os.getpid()
            self._finalizers = finalize(self._in_child)

    def release(self) -> None:
        """Unregister it."""
        self._held_by = 0
        atexit.unregister(self._at_exit)
        for finalizer in self._finalizers:
            finalizer.cancel()
        self._finalizers = []

    def _after_fork(self) -> None:
        self._finalizers = []
        if self._held_by:
            after_fork_of_child(self, AtEnd.hold)

    def _at_exit(self) -> None:
        self._call(status_of_child() if is_child() else status_at_exit())

    def _in_child(self) -> None:
        self._call(status_of_child())


def _utils_of_children() -> Iterator[Any]:
    """The modules with finalizers of the packages that this process is a child of."""
    for package in _PACKAGES:
        process, util = sys.modules.get(f"{package}.process"), sys.modules.get(f"{package}.util")
        if process is not None and util is not None and process.parent_process() is not None:
            yield util


def is_child() -> bool:
    """Whether multiprocessing started this process, so that it does not call ``atexit``."""
    return any(True for _ in _utils_of_children())


def finalize(call: Callable[[], None], priority: int = 100) -> list[Any]:
    """In a child of multiprocessing: call it at the end, before finalizers of lower priority."""
    return [util.Finalize(None, call, exitpriority=priority) for util in _utils_of_children()]


def after_fork_of_child(held: Any, prepare: Callable[[Any], None]) -> None:
    """In a forked child: call ``prepare(held)`` once multiprocessing has forgotten its parent's finalizers."""
    for package in _PACKAGES:
        util = sys.modules.get(f"{package}.util")
        if util is not None:
            util.register_after_fork(held, prepare)
