"""Runs by the key in their pickled copies, and the handles that were unpickled in this process.

In the process that records a run, or a forked child, a copy is the same object. In others the handle becomes a writer
with its first call. It never ends the run: its ``end``, or a ``with`` around it, closes only its own part, and so does
the end of its process. Use ``start_run(run_id=)`` to decide how the run ends.
"""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Protocol, TypeVar

from mltrack.process.ending import AtEnd
from mltrack.process.forks import Stage, after_fork_in_child

if TYPE_CHECKING:
    from collections.abc import Callable

    from mltrack.process.ending import Ending

__all__ = ["arrive", "keep"]


class Handle(Protocol):
    """What is needed of a run here."""

    @property
    def ended(self) -> bool:
        """Whether it has ended."""

    def end(self, status: str = "FINISHED") -> None:
        """End it."""


H = TypeVar("H", bound=Handle)

_here: weakref.WeakValueDictionary[str, Handle] = weakref.WeakValueDictionary()  # by a run's first writer
_arrived: dict[str, Handle] = {}  # those made by pickle: kept, so that a worker's next task finds its writer again
_lock = threading.RLock()


def keep(run: Handle, key: str) -> None:
    """Let copies of a run be resolved to it in this process."""
    with _lock:
        _here[key] = run


def arrive(kind: type[H], key: str, ended: bool, make: Callable[[], H]) -> H:
    """The run that a copy with this key means in this process; ``make`` makes a handle if it has none.

    Args:
        kind: the run's class.
        key: the copy's key.
        ended: whether the copy has ended.
        make: makes a handle.
    """
    with _lock:
        run = _here.get(key)
        if isinstance(run, kind) and (ended or not run.ended or key not in _arrived):
            return run
        made = _arrived[key] = make()
        AT_END.hold()
        return made


def _close_all(ending: Ending) -> None:
    for run in list(_arrived.values()):
        run.end()


AT_END = AtEnd(_close_all)


def _after_fork() -> None:
    global _lock
    _lock = threading.RLock()


after_fork_in_child(Stage.RECORDING, _after_fork)
