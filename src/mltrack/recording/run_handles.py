"""Runs by the key that pickled copies of them carry, and the handles that arrived in this process.

In the process that records it, in a forked child too, a copy is the very same object. Elsewhere the handle is a writer
of its own from its first call on. It never ends the run: its ``end``, or a ``with`` around it, closes its own part
only, and so does the end of its process. ``start_run(run_id=)`` is for whoever is to decide how the run ends.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING, Protocol, TypeVar

from mltrack.process.ending import AtEnd

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["arrive", "keep"]


class Handle(Protocol):
    """What is asked of a run here."""

    @property
    def ended(self) -> bool:
        """Whether it has ended."""

    def end(self, status: str = "FINISHED") -> None:
        """End it."""


H = TypeVar("H", bound=Handle)

_here: weakref.WeakValueDictionary[str, Handle] = weakref.WeakValueDictionary()  # by the writer a run had at first
_arrived: dict[str, Handle] = {}  # the handles among them: kept, so that a worker's next task finds its writer again
_lock = threading.RLock()


def keep(run: Handle, key: str) -> None:
    """Let copies of a run find it in this process."""
    with _lock:
        _here[key] = run


def arrive(kind: type[H], key: str, ended: bool, make: Callable[[], H]) -> H:
    """The run that a copy with this key stands for in this process; ``make`` makes a handle where it has none."""
    with _lock:
        run = _here.get(key)
        if isinstance(run, kind) and (ended or not run.ended or key not in _arrived):
            return run
        made = _arrived[key] = make()
        AT_END.hold()
        return made


def _close_all(status: str) -> None:
    for run in list(_arrived.values()):
        run.end()


AT_END = AtEnd(_close_all)


def _after_fork() -> None:
    global _lock
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)
