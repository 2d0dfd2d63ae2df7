"""The end of a process: calls a function before it, however it exits (see exits.py), with how its runs end by that."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from mltrack.process import exit_code, exits, forks

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["AtEnd", "Ending", "ending_of_child", "status_of"]

_LAUNCHERS = ("popen_fork", "forkserver")  # their modules whose functions end a child with the local ``code``


class Ending(NamedTuple):
    """How runs end with their process, and by which error, if Python kept it."""

    status: str
    error: BaseException | None = None


def status_of(error: BaseException | None) -> str:
    """The status of a run whose work ``error`` ended: FINISHED, FAILED, or KILLED where it was interrupted."""
    if error is None:
        return "FINISHED"
    if isinstance(error, SystemExit):
        return "FINISHED" if exit_code.as_number(error.code) == 0 else "FAILED"
    asyncio = sys.modules.get("asyncio.exceptions")
    stopped = isinstance(error, KeyboardInterrupt) or (asyncio and isinstance(error, asyncio.CancelledError))
    return "KILLED" if stopped else "FAILED"


def _ending_at_exit() -> Ending:
    """How runs end that are open while the interpreter exits: as its exit code says.

    Python keeps the last uncaught error until there is another; an interactive session may have recovered from it.
    """
    error: BaseException | None = exit_code.seen()
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is not None or hasattr(sys, "ps1"):
        recovered = shell is None or shell.last_execution_succeeded
    else:
        recovered = error is not None
    if not recovered:
        error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    return Ending(status_of(error), error)


def ending_of_child() -> Ending:
    """How runs end that are open while a child of multiprocessing is about to exit.

    Up to Python 3.12 its finalizers run while the exception of its work is handled. From 3.13 on they run later, called
    by the function that holds the exit code; a child that was spawned exits as any program does.
    """
    error = sys.exc_info()[1]
    if error is not None:
        return Ending(status_of(error), error)
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        module, _, name = str(frame.f_globals.get("__name__", "")).rpartition(".")
        if module in exits.PACKAGES and name == "process":
            return Ending("FINISHED")  # up to 3.12: its work is done, and raised nothing
        if module in exits.PACKAGES and name in _LAUNCHERS:
            code = frame.f_locals.get("code")
            if isinstance(code, int):
                return Ending("FINISHED" if exit_code.as_number(code) == 0 else "FAILED")
        frame = frame.f_back
    return Ending(_ending_at_exit().status)  # the error was printed; the code that follows from it says less


class AtEnd:
    """Calls a function once, with how runs end, when this process ends; a forked child's end counts separately."""

    def __init__(self, call: Callable[[Ending], None]) -> None:
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
        self._call(ending_of_child() if exits.is_child() else _ending_at_exit())

    def _in_child(self) -> None:
        self._call(ending_of_child())
