"""The end of a process: calls a function before it, however it exits (see exits.py), with the status of its runs."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from mltrack.process import exit_code, exits, forks

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["AtEnd", "status_at_exit", "status_of", "status_of_child"]

_LAUNCHERS = ("popen_fork", "forkserver")  # their modules whose functions end a child with the local ``code``


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
        if module in exits.PACKAGES and name == "process":
            return "FINISHED"  # up to 3.12: its work is done, and raised nothing
        if module in exits.PACKAGES and name in _LAUNCHERS:
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
        forks.after_fork_in_child(forks.Stage.RECORDING, self._after_fork)

    def hold(self) -> None:
        """Register it; does nothing when it is registered already. The last registered is called first."""
        if self._held_by == 0:
            exit_code.watch()
            exits.at_exit(exits.Stage.RECORDING, self._at_exit)
        if self._held_by != os.getpid():
            self._held_by = os.getpid()
            self._finalizers = exits.on_end_of_child(exits.Stage.RECORDING, self._in_child)

    def release(self) -> None:
        """Unregister it."""
        self._held_by = 0
        exits.not_at_exit(self._at_exit)
        for finalizer in self._finalizers:
            finalizer.cancel()
        self._finalizers = []

    def _after_fork(self) -> None:
        self._finalizers = []
        if self._held_by:
            exits.after_fork_of_child(self, AtEnd.hold)

    def _at_exit(self) -> None:
        self._call(status_of_child() if exits.is_child() else status_at_exit())

    def _in_child(self) -> None:
        self._call(status_of_child())
